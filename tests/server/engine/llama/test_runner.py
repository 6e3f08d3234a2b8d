"""Batches and the KV cache: everything shared or cut must equal a fresh computation, bit by bit.

That holds for batches below 64 tokens: from there on the CPU's flash attention takes a kernel that
rounds differently, so the same prompt in other chunks gives slightly other logits.
"""

import numpy as np
import pytest

from gguf_server.engine.llama import binding
from gguf_server.engine.llama.model import LlamaModel
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.engine.runner import Chunk, EngineFatal, KvCacheFull
from gguf_server.errors import InvalidRequest
from gguf_server.wire.messages import SamplingParams

GREEDY = SamplingParams(temperature=0)
HEAD = list(range(300, 332))  # a shared beginning
TAILS = [list(range(400, 409)), list(range(500, 512)), list(range(600, 603))]


def put(runner: LlamaRunner, *chunks: Chunk) -> list[np.ndarray]:
    """Compute one batch; the logits of the chunks that want output."""
    rows = runner.fill(chunks)
    runner.decode()
    return [runner.logits(row) for row in rows]


def fresh(runner: LlamaRunner, tokens: list[int]) -> np.ndarray:
    """What slot 0 of an empty cache computes for these tokens, all at once."""
    runner._context.clear()
    [logits] = put(runner, Chunk(0, 0, tokens, num_outputs=1))
    runner._context.clear()
    return logits


def encode(model: LlamaModel, text: str) -> list[int]:
    return model.vocabulary.tokenize(text, add_special=True, parse_special=True)


def generate(runner: LlamaRunner, prompts: dict[int, list[int]], count: int) -> dict[int, str]:
    """Greedy text of all prompts together, one slot each."""
    samplers = {slot: runner.new_sampler(GREEDY, prompt, None) for slot, prompt in prompts.items()}
    chunks = [Chunk(slot, 0, prompt, num_outputs=1) for slot, prompt in prompts.items()]
    texts = dict.fromkeys(prompts, b"")
    for _ in range(count):
        rows = runner.fill(chunks)
        runner.decode()
        after = []
        for chunk, row in zip(chunks, rows, strict=True):
            token = runner.sample(row, samplers[chunk.slot])
            texts[chunk.slot] += runner._vocabulary.piece(token)
            start = chunk.start + len(chunk.tokens)
            after.append(Chunk(chunk.slot, start, [token], num_outputs=1))
        chunks = after
    return {slot: text.decode(errors="replace") for slot, text in texts.items()}


def test_batched_text_is_what_each_prompt_gives_alone_in_a_fresh_context(runner, any_layout):
    questions = ["The capital of France is", "Water boils at", "Once upon a time, a cat"]
    prompts = {slot: encode(any_layout, text) for slot, text in enumerate(questions)}

    together = generate(runner, prompts, 8)

    assert "Paris" in together[0]
    for slot, prompt in prompts.items():
        runner._context.clear()
        assert generate(runner, {slot: prompt}, 8)[slot] == together[slot]


def test_chunked_prefill_equals_the_whole_prompt(runner):
    whole = fresh(runner, HEAD)
    assert put(runner, Chunk(1, 0, HEAD[:20], num_outputs=0)) == []
    [logits] = put(runner, Chunk(1, 20, HEAD[20:], num_outputs=1))
    assert np.array_equal(logits, whole)


def test_a_copied_prefix_equals_a_fresh_computation(runner):
    expected = [fresh(runner, HEAD + tail) for tail in TAILS[:2]]
    put(runner, Chunk(0, 0, HEAD + TAILS[2], num_outputs=0))  # longer than what is shared
    runner.copy_prefix(0, 1, len(HEAD))
    runner.copy_prefix(0, 2, len(HEAD))
    assert runner._context.last_position(1) == len(HEAD) - 1
    logits = put(
        runner,
        Chunk(1, len(HEAD), TAILS[0], num_outputs=1),
        Chunk(2, len(HEAD), TAILS[1], num_outputs=1),
    )
    for ours, theirs in zip(logits, expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_prefix_of_a_running_slot_is_copied_while_it_goes_on(runner):
    running = fresh(runner, [*HEAD, 700])
    joining = fresh(runner, HEAD[:25] + TAILS[0])
    put(runner, Chunk(0, 0, HEAD, num_outputs=1))
    runner.copy_prefix(0, 1, 25)
    one, two = put(
        runner,
        Chunk(0, len(HEAD), [700], num_outputs=1),
        Chunk(1, 25, TAILS[0], num_outputs=1),
    )
    assert np.array_equal(one, running)
    assert np.array_equal(two, joining)


def test_copies_before_one_batch_happen_in_the_order_of_the_calls(runner):
    """A retained prefix moves on (0 to 3), its slot takes another one (1 to 0), at once."""
    first = fresh(runner, HEAD + TAILS[0])
    second = fresh(runner, TAILS[1] + TAILS[0])
    put(
        runner,
        Chunk(0, 0, HEAD, num_outputs=0),
        Chunk(1, 0, TAILS[1], num_outputs=0),
    )
    runner.copy_prefix(0, 3, len(HEAD))
    runner.copy_prefix(1, 0, len(TAILS[1]))
    runner.truncate(1, 0)
    runner.copy_prefix(3, 2, len(HEAD))
    new, old = put(
        runner,
        Chunk(0, len(TAILS[1]), TAILS[0], num_outputs=1),
        Chunk(2, len(HEAD), TAILS[0], num_outputs=1),
    )
    assert np.array_equal(new, second)
    assert np.array_equal(old, first)


def test_a_copy_replaces_what_the_target_held(runner):
    expected = fresh(runner, HEAD + TAILS[0])
    put(
        runner,
        Chunk(0, 0, HEAD, num_outputs=0),
        Chunk(1, 0, TAILS[1] * 2, num_outputs=0),
    )
    runner.copy_prefix(0, 1, len(HEAD))
    [logits] = put(runner, Chunk(1, len(HEAD), TAILS[0], num_outputs=1))
    assert np.array_equal(logits, expected)


def test_copying_nothing_empties_the_target_and_a_slot_onto_itself_truncates(runner):
    put(runner, Chunk(0, 0, HEAD, num_outputs=0), Chunk(1, 0, TAILS[0], num_outputs=0))
    runner.copy_prefix(0, 1, 0)
    runner.copy_prefix(0, 0, 10)
    assert runner._context.last_position(1) == -1
    assert runner._context.last_position(0) == 9


def test_a_truncated_slot_goes_on_as_if_the_rest_had_never_been(runner):
    expected = fresh(runner, HEAD + TAILS[0])
    put(runner, Chunk(2, 0, HEAD + TAILS[1], num_outputs=0))
    runner.truncate(2, len(HEAD))
    [logits] = put(runner, Chunk(2, len(HEAD), TAILS[0], num_outputs=1))
    assert np.array_equal(logits, expected)
    runner.truncate(2, 0)
    assert runner._context.last_position(2) == -1


def test_a_saved_slot_comes_back_elsewhere_and_can_be_cut(runner):
    expected = fresh(runner, HEAD + TAILS[0])
    put(runner, Chunk(0, 0, HEAD + TAILS[1], num_outputs=0))
    state = runner.save(0)
    assert state.nbytes == runner.state_bytes(0) > 0
    runner.truncate(0, 0)
    put(runner, Chunk(2, 0, TAILS[2] * 5, num_outputs=0))  # what it replaces
    assert runner.restore(2, state, len(HEAD))
    [logits] = put(runner, Chunk(2, len(HEAD), TAILS[0], num_outputs=1))
    assert np.array_equal(logits, expected)


def test_a_state_that_does_not_come_back_leaves_an_empty_slot(runner):
    expected = fresh(runner, HEAD)
    put(runner, Chunk(1, 0, HEAD, num_outputs=0))
    state = runner.save(1)
    assert state is not None
    assert not runner.restore(1, state[: state.nbytes // 2], len(HEAD))
    assert runner._context.last_position(1) == -1
    assert not runner.restore(1, state, len(HEAD) + 1), "more than was saved"
    assert runner._context.last_position(1) == -1
    [logits] = put(runner, Chunk(1, 0, HEAD, num_outputs=1))
    assert np.array_equal(logits, expected)


def test_a_copy_that_is_still_to_come_reads_what_the_source_held_when_it_was_made(load_model):
    runner = LlamaRunner(load_model(kv_layout="split", retained_prefixes=1))
    expected = fresh(runner, HEAD + TAILS[0])
    put(runner, Chunk(0, 0, HEAD, num_outputs=0), Chunk(2, 0, TAILS[1] * 3, num_outputs=0))
    other = runner.save(2)
    assert other is not None
    assert runner.copy_prefix(0, 1, len(HEAD))
    assert not runner.restore(0, other, 20), "it would be written first"
    assert runner.save(1) is None, "it would be read first"
    [logits] = put(runner, Chunk(1, len(HEAD), TAILS[0], num_outputs=1))
    assert np.array_equal(logits, expected)
    assert runner.restore(0, other, 20), "the copy has been made"


def test_a_copy_of_what_is_not_there_leaves_an_empty_slot(runner):
    put(runner, Chunk(0, 0, HEAD[:10], num_outputs=0), Chunk(1, 0, HEAD, num_outputs=0))
    assert not runner.copy_prefix(0, 1, 20)
    assert runner._context.last_position(1) == -1


def test_the_cache_may_run_full_and_is_usable_afterwards(load_model):
    runner = LlamaRunner(load_model(kv_layout="unified", kv_cells=256, max_batch_tokens=256))
    expected = fresh(runner, HEAD + TAILS[0])
    put(runner, Chunk(0, 0, HEAD, num_outputs=0))
    put(runner, Chunk(1, 0, list(range(300, 518)), num_outputs=0))
    with pytest.raises(KvCacheFull):
        put(runner, Chunk(0, len(HEAD), TAILS[0], num_outputs=1))
    assert runner._context.last_position(0) == len(HEAD) - 1
    runner.truncate(1, 0)
    [logits] = put(runner, Chunk(0, len(HEAD), TAILS[0], num_outputs=1))
    assert np.array_equal(logits, expected)


def test_positions_with_a_hole_are_fatal_and_name_the_reason(runner):
    put(runner, Chunk(0, 0, HEAD, num_outputs=0))
    with pytest.raises(EngineFatal, match=r"code -1.*consecutive"):
        put(runner, Chunk(0, len(HEAD) + 5, [7], num_outputs=1))


def test_rows_count_the_outputs_only(runner):
    rows = runner.fill(
        [
            Chunk(0, 0, HEAD[:5], num_outputs=1),
            Chunk(1, 0, HEAD[:9], num_outputs=0),
            Chunk(2, 0, HEAD[:7], num_outputs=1),
        ]
    )
    runner.decode()
    assert rows == [0, 1]
    expected = [runner.logits(row) for row in rows]
    assert np.array_equal(expected[0], fresh(runner, HEAD[:5]))
    assert np.array_equal(expected[1], fresh(runner, HEAD[:7]))


def test_a_sampler_of_the_runner_bans_the_model_s_own_end_tokens(runner, any_layout):
    [end] = any_layout.vocabulary.tokenize("<|im_end|>", add_special=False, parse_special=True)
    prompt = encode(any_layout, "The capital of France is")
    forced = SamplingParams(temperature=0, logit_bias={end: 100.0})
    for ignore, matches in ((False, True), (True, False)):
        params = SamplingParams(temperature=0, logit_bias=forced.logit_bias, ignore_eos=ignore)
        runner._context.clear()
        [row] = runner.fill([Chunk(0, 0, prompt, num_outputs=1)])
        runner.decode()
        token = runner.sample(row, runner.new_sampler(params, prompt, None))
        assert (token == end) is matches


@pytest.mark.parametrize("token", [-1, 49152])
def test_a_bias_outside_the_vocabulary_is_refused(runner, token: int):
    with pytest.raises(InvalidRequest, match="0 to 49151") as caught:
        runner.new_sampler(SamplingParams(logit_bias={token: 1.0}), [], None)
    assert caught.value.param == "logit_bias"


def test_warming_up_is_short_and_leaves_the_cache_empty(runner):
    seconds, num_tokens = runner.warm_up()
    assert 0 < seconds < 10
    assert num_tokens in (3, 16)
    assert [runner._context.last_position(slot) for slot in range(4)] == [-1] * 4


def test_a_gpu_is_warm_for_prompts_too(runner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binding, "can_offload", lambda: True)
    assert runner.warm_up()[1] in (3, 32)

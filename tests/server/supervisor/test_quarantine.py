"""One request that crashes the engine costs two engines and nobody else anything but time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.errors import CrashingRequest
from gguf_server.supervisor.quarantine import Quarantine, fingerprint
from gguf_server.wire.messages import Constraint, Embed, SamplingParams, Submit

WINDOW = 600.0


def ask(number: int, prompt: str = "poison") -> Submit:
    return Submit(id=number, prompt=prompt)


def lose(quarantine: Quarantine, *prompts: str, now: float = 0.0) -> None:
    """Send these together and lose the engine."""
    for number, prompt in enumerate(prompts):
        assert quarantine.admits(ask(number, prompt), now)
    quarantine.lost(set(range(len(prompts))), now)


def test_a_request_that_was_there_at_two_losses_is_refused_the_third_time() -> None:
    quarantine = Quarantine(WINDOW)
    lose(quarantine, "poison")
    lose(quarantine, "poison")
    with pytest.raises(CrashingRequest) as caught:
        quarantine.admits(ask(9), 1.0)
    assert "lost 2 times" in caught.value.message
    assert quarantine.admits(ask(10, "something else"), 1.0)


def test_suspects_are_let_in_one_at_a_time_and_others_at_once() -> None:
    quarantine = Quarantine(WINDOW)
    lose(quarantine, "a", "b", "c")
    assert quarantine.admits(ask(1, "a"), 0)
    assert not quarantine.admits(ask(2, "b"), 0)
    assert not quarantine.admits(ask(3, "c"), 0)
    assert quarantine.admits(ask(4, "new"), 0)
    assert quarantine.left(4) is None
    assert quarantine.left(1) == ask(2, "b")
    assert quarantine.left(2) == ask(3, "c")
    assert quarantine.left(3) is None
    assert quarantine.admits(ask(5, "b"), 0)


def test_a_held_suspect_whose_caller_left_is_not_let_in() -> None:
    quarantine = Quarantine(WINDOW)
    lose(quarantine, "a", "b", "c")
    for number, prompt in enumerate("abc"):
        quarantine.admits(ask(number, prompt), 0)
    assert quarantine.holds(1)
    assert quarantine.left(1) is None
    assert not quarantine.holds(1)
    assert quarantine.left(0) == ask(2, "c")


def test_a_suspect_that_finishes_is_cleared() -> None:
    quarantine = Quarantine(WINDOW)
    lose(quarantine, "poison")
    assert quarantine.admits(ask(1), 0)
    quarantine.finished(1)
    quarantine.left(1)
    lose(quarantine, "poison")
    assert quarantine.admits(ask(2), 0), "that was its first loss again"


def test_a_loss_is_forgotten_after_the_window() -> None:
    quarantine = Quarantine(WINDOW)
    lose(quarantine, "poison", now=0)
    lose(quarantine, "poison", now=WINDOW)
    with pytest.raises(CrashingRequest):
        quarantine.admits(ask(1), 2 * WINDOW)
    assert quarantine.admits(ask(1), 2 * WINDOW + 1)


def test_what_is_remembered_is_bounded() -> None:
    quarantine = Quarantine(WINDOW)
    for number in range(2000):
        lose(quarantine, f"prompt {number}")
    assert len(quarantine._suspicions) == 1024


def test_requests_are_known_by_what_they_ask_and_not_by_their_ids() -> None:
    base = Submit(id=1, prompt="x")
    different: list[Submit | Embed] = [
        Submit(id=1, prompt="y"),
        Submit(id=1, prompt=(1, 2)),
        Submit(id=1, prompt="x", max_tokens=3),
        Submit(id=1, prompt="x", stop=("a",)),
        Submit(id=1, prompt="x", sampling=SamplingParams(top_k=3)),
        Submit(id=1, prompt="x", constraint=Constraint("gbnf", 'root ::= "a"', "grammar")),
        Embed(id=1, input="x"),
    ]
    assert fingerprint(base) == fingerprint(Submit(id=2, prompt="x"))
    assert len({fingerprint(each) for each in [base, *different]}) == len(different) + 1


@given(st.lists(st.tuples(st.sampled_from(["send", "finish", "leave"]), st.integers(0, 7))))
def test_one_poison_costs_two_engines_and_no_bystander_is_ever_refused(
    events: list[tuple[str, int]],
) -> None:
    """Prompt 0 crashes the engine; all are sent again and again, finish or leave at any time."""
    quarantine = Quarantine(WINDOW)
    in_engine: dict[int, int] = {}
    waiting: dict[int, int] = {}
    num_losses = 0
    for number, (event, prompt) in enumerate(events):
        if event == "send":
            try:
                sent = quarantine.admits(ask(number, str(prompt)), 0)
            except CrashingRequest:
                assert prompt == 0, "a bystander was refused"
                continue
            (in_engine if sent else waiting)[number] = prompt
        else:
            work_id = next((each for each, asked in in_engine.items() if asked == prompt), None)
            if work_id is None:
                continue
            if event == "finish":
                quarantine.finished(work_id)
            del in_engine[work_id]
            if following := quarantine.left(work_id):
                in_engine[following.id] = waiting.pop(following.id)
        if 0 in in_engine.values():
            quarantine.lost(set(in_engine), 0)
            num_losses += 1
            in_engine, waiting = {}, {}
    assert num_losses <= 2

"""`python -m tests.gpu.limit`: what llama.cpp alone does at each number of streams.

`llama-batched-bench` in a few lines, in the same library: a server cannot be faster. Reads JSON,
prints tokens a second by number of streams.
"""

import sys
from time import perf_counter

import msgspec
import numpy as np

from gguf_server.engine.llama.binding import Batch
from gguf_server.engine.llama.model import LlamaModel, load
from tests.gpu.engine import LimitQuestion


def main() -> None:
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=LimitQuestion)
    model = load(question.config, lambda _stage, _fraction: None)
    found = {str(count): decode_rate(model, question, count) for count in question.streams}
    model.close()
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


def decode_rate(model: LlamaModel, question: LimitQuestion, num_streams: int) -> float:
    """Output tokens a second, prompts not counted; the first round warms up."""
    first, last = question.num_prompt_tokens, question.num_output_tokens
    batch = Batch(max(num_streams, first))
    rng = np.random.default_rng(num_streams)
    model.context.clear()
    for stream in range(num_streams):
        _compute(model, batch, rng, stream=np.full(first, stream), position=np.arange(first))
    every = np.arange(num_streams)
    _compute(model, batch, rng, stream=every, position=np.full(num_streams, first))
    begin = perf_counter()
    for step in range(1, last):
        _compute(model, batch, rng, stream=every, position=np.full(num_streams, first + step))
    return num_streams * (last - 1) / (perf_counter() - begin)


def _compute(
    model: LlamaModel,
    batch: Batch,
    rng: np.random.Generator,
    *,
    stream: np.typing.NDArray[np.int64],
    position: np.typing.NDArray[np.int64],
) -> None:
    """One token of each stream with its logits, or a whole prompt with those of its last."""
    count = len(stream)
    batch.token[:count] = rng.integers(0, len(model.vocabulary), count)
    batch.seq_id[:count] = stream
    batch.pos[:count] = position
    is_prompt = count > 1 and stream[0] == stream[-1]
    batch.output[:count] = not is_prompt
    batch.output[count - 1] = 1
    batch.resize(count)
    code = model.context.decode(batch)
    assert code == 0, code
    model.context.logits(1 if is_prompt else count)  # waits for the device


if __name__ == "__main__":
    main()

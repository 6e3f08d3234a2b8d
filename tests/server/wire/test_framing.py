"""Frames: any messages, cut anywhere, arrive whole and in order; anything else is an error."""

from itertools import pairwise
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_server.knobs import Adapter
from gguf_server.wire.framing import MAX_FRAME_BYTES, FrameReader, FramingError, encode
from gguf_server.wire.messages import (
    PROTOCOL_VERSION,
    Accepted,
    Cancel,
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    EngineConfig,
    Failed,
    Finished,
    FromEngine,
    Heartbeat,
    Load,
    LoadFailed,
    LoadProgress,
    ModelFacts,
    Ready,
    Rejected,
    SamplingParams,
    Started,
    StepOutput,
    StepStats,
    Submit,
    TextDelta,
    ToEngine,
    Tokenize,
    Tokenized,
)

CONFIG = EngineConfig(
    model_path="/models/ä.gguf",
    context_tokens=8192,
    slots=3,
    retained_prefixes=2,
    kv_layout="unified",
    kv_cells=9999,
    cache_type_k="q8_0",
    cache_type_v="q4_0",
    memory_check=False,
    device="cpu",
    planned_bytes=(1, 2),
    flash_attention="on",
    n_gpu_layers=12,
    n_cpu_moe=7,
    tensor_split=(3.0, 1.0),
    load_mode="mlock",
    rope_scaling="yarn",
    rope_freq_base=10_000.0,
    rope_freq_scale=0.5,
    yarn_orig_ctx=4096,
    lora=(Adapter("a.gguf", 0.25), Adapter("b.gguf", 1.0)),
    threads=5,
    threads_batch=6,
    max_batch_tokens=256,
    step_target_seconds=0.125,
    output_reservation_tokens=64,
    embeddings=True,
    host_cache_bytes=2**33,
    log_level="debug",
)
SAMPLING = SamplingParams(
    temperature=0.5,
    top_k=11,
    top_p=0.9,
    min_p=0.1,
    typical_p=0.8,
    seed=0,
    repeat_penalty=1.5,
    repeat_last_n=32,
    presence_penalty=-1.0,
    frequency_penalty=2.0,
    logit_bias={5: -100.0, 250: 1.5},
    ignore_eos=True,
    num_logprobs=3,
)
FACTS = ModelFacts(
    architecture="llama",
    description="a model",
    num_params=10**10,
    size_bytes=2**40,
    vocab_size=49152,
    train_context_tokens=8192,
    context_tokens=4096,
    slots=8,
    kv_layout="unified",
    num_kv_cells=32768,
    bos_token="<s>",
    eos_token="</s>",
    chat_template="{{ messages }}",
    prefix_reuse="The model is odd.",
    memory_kind="unknown",
    stall_seconds=12.5,
    devices=("CPU", "CUDA0"),
    load_seconds={"weights": 1.5, "warmup": 0.25},
)
STATS = StepStats(
    step=1,
    decode_tokens=2,
    prefill_tokens=3,
    left_out=4,
    running=5,
    waiting=6,
    kv_cells_used=7,
    preempted=8,
    evicted=9,
    schedule_seconds=0.5,
    fill_seconds=0.25,
    decode_seconds=0.125,
    sample_seconds=2.0,
    text_seconds=4.0,
)
TO_ENGINE = [
    Load(PROTOCOL_VERSION, CONFIG),
    Submit(id=1, prompt="hällo", max_tokens=5, stop=("a", "𝄞"), sampling=SAMPLING),
    Submit(id=2**40, prompt=(1, 2, 3), max_tokens=0, sampling=SAMPLING),
    Submit(id=3, prompt=""),
    Embed(id=4, input="hällo", dimensions=64),
    Embed(id=5, input=(1, 2, 3)),
    Cancel(7),
    Tokenize(8, "text", add_special=False, parse_special=False),
    Detokenize(9, (1, 2)),
]
FROM_ENGINE = [
    LoadProgress("weights", 0.5),
    Ready(PROTOCOL_VERSION, FACTS),
    LoadFailed("no such file", "load_failed"),
    Accepted(1, 100),
    Rejected(2, "invalid_request", "no"),
    Tokenized(3, (1, 2, 3)),
    Detokenized(4, "é"),
    Embedded(5, 3, b"\x00\x00\x80\x3f"),
    StepOutput(
        STATS,
        [Started(1, 17)],
        [TextDelta(1, "text", 2), TextDelta(2, "", 1)],
        [Finished(1, "stop"), Finished(2, "length")],
        [Failed(3, "internal_error", "bad logits")],
    ),
    StepOutput(STATS, [], [], [], []),
    Heartbeat(),
]


def reader_of(union: object) -> FrameReader[Any]:
    return FrameReader(union)  # type: ignore[arg-type]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize(("union", "messages"), [(ToEngine, TO_ENGINE), (FromEngine, FROM_ENGINE)])
def test_every_message_of_a_union_survives_the_way(
    union: object, messages: list[msgspec.Struct]
) -> None:
    assert {type(message) for message in messages} == set(get_args(union)), "one is not tested"
    for message in messages:
        assert reader_of(union).feed(encode(message)) == [message]


@pytest.mark.parametrize("value", [CONFIG, SAMPLING])
def test_the_round_trip_leaves_no_field_at_its_default(value: msgspec.Struct) -> None:
    at_default = [
        each.name
        for each in msgspec.structs.fields(value)
        if not each.required and getattr(value, each.name) == each.default
    ]
    assert at_default == []


@settings(deadline=None)
@given(
    messages=st.lists(st.sampled_from(FROM_ENGINE), max_size=8),
    places=st.lists(st.integers(0, 4000), max_size=20),
)
def test_messages_cut_at_any_byte_arrive_in_order(
    messages: list[msgspec.Struct], places: list[int]
) -> None:
    reader = reader_of(FromEngine)
    arrived = []
    for piece in cut(b"".join(encode(message) for message in messages), places):
        arrived += reader.feed(piece)
    assert arrived == messages


def test_messages_that_arrive_byte_by_byte_arrive() -> None:
    reader = reader_of(ToEngine)
    data = b"".join(encode(message) for message in TO_ENGINE)
    arrived = [message for byte in data for message in reader.feed(bytes([byte]))]
    assert arrived == TO_ENGINE


def test_a_message_is_given_out_with_its_last_byte_and_not_before() -> None:
    reader = reader_of(FromEngine)
    frame = encode(Heartbeat())
    assert reader.feed(frame[:-1]) == []
    assert reader.feed(frame[-1:]) == [Heartbeat()]
    assert reader.feed(b"") == []


def test_a_length_over_the_limit_is_refused_before_its_bytes_arrive() -> None:
    with pytest.raises(FramingError, match=str(MAX_FRAME_BYTES + 1)):
        reader_of(FromEngine).feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_a_message_over_the_limit_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gguf_server.wire.framing.MAX_FRAME_BYTES", 100)
    assert encode(Tokenize(1, "x" * 10))
    with pytest.raises(FramingError, match="over the limit of 100"):
        encode(Tokenize(1, "x" * 100))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode("a string"),
        msgspec.msgpack.encode({"type": "Unheard", "id": 1}),
        msgspec.msgpack.encode({"type": "Accepted", "id": "one", "num_prompt_tokens": 1}),
        msgspec.msgpack.encode({"type": "Accepted", "id": 1}),
        encode(Heartbeat())[4:] + b"\x00",
        encode(Cancel(1))[4:],
    ],
)
def test_a_frame_that_is_no_message_of_the_union_is_an_error(payload: bytes) -> None:
    with pytest.raises(FramingError, match="cannot be read"):
        reader_of(FromEngine).feed(len(payload).to_bytes(4, "big") + payload)


@settings(max_examples=300, deadline=None)
@given(
    message=st.sampled_from(FROM_ENGINE),
    damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    tail=st.binary(max_size=20),
)
def test_damaged_bytes_give_messages_or_a_framing_error_and_nothing_else(
    message: msgspec.Struct, damage: list[tuple[int, int]], tail: bytes
) -> None:
    data = bytearray(encode(message) + tail)
    for place, value in damage:
        data[place % len(data)] = value
    try:
        arrived = reader_of(FromEngine).feed(bytes(data))
    except FramingError:
        return
    assert all(isinstance(each, get_args(FromEngine)) for each in arrived)

"""What an engine says about a small model, for tests that need some."""

from gguf_server.supervisor.status import State, Status
from gguf_server.wire.messages import ModelFacts, StepStats

FACTS = ModelFacts(
    architecture="llama",
    description="a small model",
    num_params=1000,
    size_bytes=2000,
    vocab_size=256,
    train_context_tokens=64,
    context_tokens=64,
    slots=2,
    kv_layout="unified",
    num_kv_cells=200,
    bos_token="",
    eos_token="",
    chat_template=None,
    prefix_reuse="",
    memory_kind="attention",
    stall_seconds=0.0,
    devices=("CPU",),
    load_seconds={"weights": 1.5, "warmup": 0.5},
)
STATS = StepStats(
    step=1,
    decode_tokens=2,
    prefill_tokens=30,
    left_out=0,
    running=2,
    waiting=1,
    kv_cells_used=50,
    preempted=0,
    evicted=0,
    schedule_seconds=0.5,
    fill_seconds=0.25,
    decode_seconds=4.0,
    sample_seconds=2.0,
    text_seconds=1.0,
)
READY = Status(
    state=State.READY,
    ever_ready=True,
    draining=False,
    stage="ready",
    fraction=1.0,
    detail="",
    elapsed_seconds=1.0,
    remaining_seconds=None,
    restarts=0,
    reason="",
    facts=FACTS,
)

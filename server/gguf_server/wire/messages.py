"""The messages between the API process and the engine process. Pure data.

Text travels, not token ids: the engine tokenizes with the model's own vocabulary, so the API
process never loads llama.cpp. Ids are chosen by the API process and never used twice.
"""

from typing import Literal

from msgspec import Struct

from gguf_server.knobs import Knobs, KvLayout

PROTOCOL_VERSION = 3
# What a request may hold when nobody says: models announce contexts that no memory holds.
DEFAULT_CONTEXT_TOKENS = 4096

LogLevel = Literal["debug", "info", "warning", "error"]
Device = Literal["auto", "gpu", "cpu"]
LoadMode = Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"]
RopeScaling = Literal["model", "none", "linear", "yarn"]
FinishReason = Literal["stop", "length"]
MemoryKind = Literal["attention", "window", "recurrent", "hybrid", "unknown", "none"]
ConstraintKind = Literal["json_schema", "gbnf", "lark"]
LoadStage = Literal["start", "weights", "context", "warmup"]


class EngineConfig(Knobs, frozen=True, kw_only=True):
    """Everything the engine must know to load a model; it reads no environment.

    ``context_tokens`` 0 takes the model's training context, at most ``DEFAULT_CONTEXT_TOKENS``.
    ``device`` "gpu" refuses to go without one, "cpu" leaves those alone that are there.
    ``host_cache_bytes`` bounds what is kept of evicted prefixes in host memory; -1 takes a share
    of what the cgroup leaves. ``memory_check`` asks llama.cpp before the weights are read whether
    there is room; ``planned_bytes`` are what a plan counted for each GPU.
    """

    model_path: str
    device: Device = "auto"
    load_mode: LoadMode = "auto"
    rope_scaling: RopeScaling = "model"
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    yarn_orig_ctx: int = 0
    threads: int = 1
    threads_batch: int = 1
    step_target_seconds: float = 0.4
    output_reservation_tokens: int = 256
    host_cache_bytes: int = -1
    memory_check: bool = True
    planned_bytes: tuple[int, ...] = ()
    log_level: LogLevel = "info"


class SamplingParams(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tokens are chosen. The defaults switch every sampler off except the temperature.

    ``seed`` None draws a random one; 0 is a seed like any other. ``num_logprobs`` asks for the
    log-probability of each token and of so many of the likeliest ones; None for none of that.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    seed: int | None = None
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    ignore_eos: bool = False
    num_logprobs: int | None = None


class Constraint(Struct, frozen=True):
    """What the output must look like: a JSON schema, or a grammar in GBNF or llguidance's Lark.

    ``param`` is the request's field that it came from, for error messages.
    """

    kind: ConstraintKind
    text: str
    param: str


# --- to the engine ---------------------------------------------------------------------------


class Load(Struct, frozen=True, tag=True):
    """The first message: load this model."""

    protocol_version: int
    config: EngineConfig


class Submit(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Generate one sequence. Answered by ``Accepted`` or ``Rejected``.

    ``prompt`` is text (special tokens in it are recognised, BOS is added where the vocabulary
    wants it and it is not there yet) or token ids as they are. ``max_tokens`` None means until
    the model stops or the context is full; 0 only looks at the prompt. ``prompt_logprobs`` asks
    for ``PromptPart`` messages, with as many alternatives as ``sampling.num_logprobs``.
    ``show_special`` keeps the text of control tokens in the output: a parser needs them.
    """

    id: int
    prompt: str | tuple[int, ...]
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: SamplingParams = SamplingParams()
    constraint: Constraint | None = None
    prompt_logprobs: bool = False
    show_special: bool = False


class Embed(Struct, frozen=True, kw_only=True, tag=True):
    """Answered by ``Embedded`` or ``Rejected``. ``dimensions`` None means all that there are."""

    id: int
    input: str | tuple[int, ...]
    dimensions: int | None = None


class Cancel(Struct, frozen=True, tag=True):
    """Stop computing this sequence before the next step. No answer; unknown ids are ignored."""

    id: int


class Tokenize(Struct, frozen=True, tag=True):
    """Answered by ``Tokenized``."""

    id: int
    text: str
    add_special: bool = True
    parse_special: bool = True


class Detokenize(Struct, frozen=True, tag=True):
    """Answered by ``Detokenized``, or by ``Rejected`` for ids outside the vocabulary."""

    id: int
    tokens: tuple[int, ...]


ToEngine = Load | Submit | Embed | Cancel | Tokenize | Detokenize


# --- from the engine -------------------------------------------------------------------------


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What the engine knows once the model is loaded.

    ``prefix_reuse`` is empty when prefixes are shared and kept, else the reason why not;
    ``memory_kind`` is what decides that.
    ``stall_seconds`` is how long one step may take before the engine must be called stuck,
    from the longest step of the warm-up. ``generates`` is false for a model that can only embed:
    ``context_tokens`` is what one of its inputs may hold, and it has no KV cells.
    ``embedding_size`` is 0 where embeddings are not served, else the length of a vector.
    ``special_tokens`` are the ids, by text, of those tokens that a ``Constraint`` in Lark must
    name as tokens, because text does not match them.
    """

    architecture: str
    description: str
    num_params: int
    size_bytes: int
    vocab_size: int
    train_context_tokens: int
    context_tokens: int
    slots: int
    kv_layout: KvLayout
    num_kv_cells: int
    bos_token: str
    eos_token: str
    chat_template: str | None
    prefix_reuse: str
    stall_seconds: float
    devices: tuple[str, ...]
    load_seconds: dict[str, float]
    generates: bool = True
    embedding_size: int = 0
    memory_kind: MemoryKind = "unknown"
    special_tokens: dict[str, int] = {}


class LoadProgress(Struct, frozen=True, tag=True):
    """``fraction`` is 0 to 1 within the stage."""

    stage: LoadStage
    fraction: float


class Ready(Struct, frozen=True, tag=True):
    """The model is loaded and warm."""

    protocol_version: int
    facts: ModelFacts


class LoadFailed(Struct, frozen=True, tag=True):
    """The model cannot be loaded, and trying again will not help. The engine exits.

    ``code`` is that of a ``StartupError``.
    """

    message: str
    code: str


class Accepted(Struct, frozen=True, tag=True):
    """The request is valid and waits for a slot."""

    id: int
    num_prompt_tokens: int


class Rejected(Struct, frozen=True, tag=True):
    """The request will not run. Terminal."""

    id: int
    code: str
    message: str
    param: str | None = None


class Tokenized(Struct, frozen=True, tag=True):
    id: int
    tokens: tuple[int, ...]


class Detokenized(Struct, frozen=True, tag=True):
    id: int
    text: str


class Embedded(Struct, frozen=True, tag=True):
    """The normalised vector of one input, as little-endian 32-bit floats."""

    id: int
    num_tokens: int
    vector: bytes


class LikelyToken(Struct, frozen=True, array_like=True):
    """One of the likeliest tokens at some position. ``piece`` are its bytes."""

    token: int
    piece: bytes
    logprob: float


class TokenLogprob(Struct, frozen=True, array_like=True):
    """A token of a text, how likely the model found it, and the likeliest ones, likeliest first.

    Natural logarithm, before temperature, penalties and constraints. ``logprob`` is None for the
    first token of a prompt, which nothing precedes.
    """

    token: int
    piece: bytes
    logprob: float | None
    likeliest: tuple[LikelyToken, ...]


class PromptPart(Struct, frozen=True, array_like=True):
    """The next tokens of a prompt whose log-probabilities were asked for."""

    id: int
    tokens: tuple[TokenLogprob, ...]


class Started(Struct, frozen=True, array_like=True):
    """A sequence got its slot for the first time; this many prompt tokens came from the cache."""

    id: int
    num_cached_tokens: int


class TextDelta(Struct, frozen=True, array_like=True):
    """New text of one sequence and the tokens generated since the last delta (text may be "").

    ``logprobs`` are those of these tokens, where asked for; a token that ends the answer has them
    only after a prompt that was scored.
    """

    id: int
    text: str
    num_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Finished(Struct, frozen=True, array_like=True):
    """A sequence ended. Terminal."""

    id: int
    reason: FinishReason


class Failed(Struct, frozen=True, array_like=True):
    """A running sequence failed; the others go on. Terminal."""

    id: int
    code: str
    message: str


PHASES = ("schedule", "fill", "decode", "sample", "text")


class StepStats(Struct, frozen=True, kw_only=True, array_like=True):
    """What one step did. ``left_out`` counts running streams it decoded nothing for: always 0.

    Seconds by phase: ``schedule`` and ``fill`` before, ``decode`` inside llama.cpp, ``sample``
    in its samplers, ``text`` after. ``host_`` fields tell of the prefixes kept in host memory.
    """

    step: int
    decode_tokens: int
    prefill_tokens: int
    left_out: int
    running: int
    waiting: int
    kv_cells_used: int
    preempted: int
    evicted: int
    schedule_seconds: float
    fill_seconds: float
    decode_seconds: float
    sample_seconds: float
    text_seconds: float
    host_bytes: int = 0
    host_limit_bytes: int = 0
    host_entries: int = 0
    host_restored_tokens: int = 0
    host_failed_restores: int = 0

    @property
    def phase_seconds(self) -> tuple[float, ...]:
        """In the order of ``PHASES``."""
        return (
            self.schedule_seconds,
            self.fill_seconds,
            self.decode_seconds,
            self.sample_seconds,
            self.text_seconds,
        )


class StepOutput(Struct, frozen=True, tag=True):
    """Everything that one step produced, for all sequences. Doubles as the heartbeat."""

    stats: StepStats
    started: list[Started]
    deltas: list[TextDelta]
    finished: list[Finished]
    failed: list[Failed]
    prompts: list[PromptPart] = []


class Heartbeat(Struct, frozen=True, tag=True):
    """Sent by the step loop itself, about once a second, while there is nothing to compute."""


FromEngine = (
    LoadProgress
    | Ready
    | LoadFailed
    | Accepted
    | Rejected
    | Tokenized
    | Detokenized
    | Embedded
    | StepOutput
    | Heartbeat
)

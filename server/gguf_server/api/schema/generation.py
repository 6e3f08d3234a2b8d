"""What chat and text completions have in common: how to choose tokens, and when to stop.

Where a sampling parameter is absent llama.cpp's default applies, not OpenAI's:
temperature 0.8, top_k 40, top_p 0.95, min_p 0.05.
"""

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, model_validator

from gguf_server.api.schema.common import MAX_INT32, Neutral, RequestModel, SomeText
from gguf_server.api.schema.constraints import Grammar, ResponseFormat, constraint_of
from gguf_server.api.validation import invalid
from gguf_server.wire.messages import Constraint, SamplingParams

MAX_SEQUENCES = 128
MAX_STOPS = 16
MAX_LOGPROBS = 20
_MAX_ID_DIGITS = 10
_MAX_PENALIZED_TOKENS = 1 << 20  # the sampler allocates its window at once


def _stops(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _token_id(key: str) -> str:
    is_number = key.isascii() and key.isdigit() and len(key) <= _MAX_ID_DIGITS
    if not (is_number and int(key) <= MAX_INT32):
        raise invalid("keys must be token ids, as strings of digits")
    return key


Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Stops = Annotated[
    list[SomeText],
    FailFast(),
    Field(max_length=MAX_STOPS),
    BeforeValidator(
        _stops,
        json_schema_input_type=SomeText | Annotated[list[SomeText], Field(max_length=MAX_STOPS)],
    ),
]
TokenBias = Annotated[
    dict[Annotated[str, AfterValidator(_token_id)], Annotated[float, Field(ge=-100, le=100)]],
    Field(json_schema_extra={"propertyNames": {"pattern": f"^[0-9]{{1,{_MAX_ID_DIGITS}}}$"}}),
]


class StreamOptions(RequestModel):
    NOT_SUPPORTED: ClassVar[Neutral] = {"include_obfuscation": (False,)}

    include_usage: bool = False


class GenerationRequest(RequestModel):
    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"user", "cache_prompt"})

    model: str | None = None
    n: int = Field(1, ge=1, le=MAX_SEQUENCES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_INT32)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_INT32)
    stop: Stops = Field([])
    temperature: float = Field(0.8, ge=0, le=2)
    top_k: int = Field(40, ge=-1, le=MAX_INT32)
    top_p: Probability = 0.95
    min_p: Probability = 0.05
    typical_p: Probability = 1.0
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    repeat_penalty: float = Field(1.0, ge=0.01, le=100)
    repeat_last_n: int = Field(64, ge=-1, le=_MAX_PENALIZED_TOKENS)
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    logit_bias: TokenBias = Field({})
    ignore_eos: bool = False
    response_format: ResponseFormat | None = None
    grammar: Grammar | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            reason = "differs from max_completion_tokens; send only one of them"
            raise invalid(reason, param="max_tokens")
        if self.stream_options is not None and not self.stream:
            raise invalid("needs stream: true", param="stream_options")
        constraint_of(self.response_format, self.grammar)
        return self

    @property
    def token_limit(self) -> int | None:
        """At most so many tokens; None means until the model stops or the context is full."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with an event that carries the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must look like."""
        return constraint_of(self.response_format, self.grammar)

    @property
    def num_logprobs(self) -> int | None:
        """How many of the likeliest tokens to tell at each position; None for no logprobs."""
        return None

    def sampling(self, index: int) -> SamplingParams:
        """For one of the ``n`` sequences. Each gets a seed of its own, or all would be the same."""
        return SamplingParams(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            typical_p=self.typical_p,
            seed=None if self.seed is None else self.seed + index,
            repeat_penalty=self.repeat_penalty,
            repeat_last_n=self.repeat_last_n,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias={int(token): bias for token, bias in self.logit_bias.items()},
            ignore_eos=self.ignore_eos,
            num_logprobs=self.num_logprobs,
        )

"""The requests we accept: OpenAI's names and limits, and llama.cpp's further sampling parameters.

Nothing is dropped silently. A parameter is used, or it is known to have no effect on the answer, or
it is refused by name. What OpenAI defines and we lack is accepted at its neutral values.

Where a sampling parameter is absent llama.cpp's default applies, not OpenAI's:
temperature 0.8, top_k 40, top_p 0.95, min_p 0.05.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    model_validator,
)

from gguf_server.api.validation import invalid, unsupported
from gguf_server.wire.messages import SamplingParams

MAX_SEQUENCES = 128
MAX_STOPS = 16
MAX_MESSAGES = 4096
_MAX_INT32 = 2**31 - 1
_MAX_ID_DIGITS = 10
_MAX_PENALIZED_TOKENS = 1 << 20  # the sampler allocates its window at once

Neutral = Mapping[str, tuple[object, ...]]


class RequestModel(BaseModel):
    """Strict, closed, and ``null`` means that the parameter is absent."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    # Known, not supported yet: the values that ask for nothing.
    NOT_SUPPORTED: ClassVar[Neutral] = {}
    # Without effect on the answer by OpenAI's own definition.
    NO_EFFECT: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _only_what_we_support(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kept = {}
        for name, value in data.items():
            if name in cls.NOT_SUPPORTED:
                _require_neutral(name, value, cls.NOT_SUPPORTED[name])
            elif name in cls.model_fields:
                if value is not None:
                    kept[name] = value
            elif name not in cls.NO_EFFECT:
                kept[name] = value  # refused by name as an extra
        return kept


def _require_neutral(name: str, value: object, neutral: tuple[object, ...]) -> None:
    if value is None or any(type(value) is type(same) and value == same for same in neutral):
        return
    raise unsupported("not supported by this server; leave it out", param=name)


def _writable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise invalid(f"half a character (a lone surrogate) at position {exc.start}") from None
    return text


def _stops(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _token_id(key: str) -> str:
    is_number = key.isascii() and key.isdigit() and len(key) <= _MAX_ID_DIGITS
    if not (is_number and int(key) <= _MAX_INT32):
        raise invalid("keys must be token ids, as strings of digits")
    return key


Text = Annotated[str, AfterValidator(_writable)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Stops = Annotated[
    list[Annotated[str, Field(min_length=1), AfterValidator(_writable)]],
    FailFast(),
    Field(max_length=MAX_STOPS),
    BeforeValidator(_stops, json_schema_input_type=str | list[str]),
]
TokenBias = dict[
    Annotated[str, AfterValidator(_token_id)], Annotated[float, Field(ge=-100, le=100)]
]


class StreamOptions(RequestModel):
    NOT_SUPPORTED: ClassVar[Neutral] = {"include_obfuscation": (False,)}

    include_usage: bool = False


class GenerationRequest(RequestModel):
    """What chat and text completions have in common."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"user"})

    model: str | None = None
    n: int = Field(1, ge=1, le=MAX_SEQUENCES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=_MAX_INT32)
    max_completion_tokens: int | None = Field(None, ge=1, le=_MAX_INT32)
    stop: Stops = []
    temperature: float = Field(0.8, ge=0, le=2)
    top_k: int = Field(40, ge=0, le=_MAX_INT32)
    top_p: Probability = 0.95
    min_p: Probability = 0.05
    typical_p: Probability = 1.0
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    repeat_penalty: float = Field(1.0, ge=0.01, le=100)
    repeat_last_n: int = Field(64, ge=-1, le=_MAX_PENALIZED_TOKENS)
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    logit_bias: TokenBias = {}
    ignore_eos: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            reason = "differs from max_completion_tokens; send only one of them"
            raise invalid(reason, param="max_tokens")
        if self.stream_options is not None and not self.stream:
            raise invalid("needs stream: true", param="stream_options")
        return self

    @property
    def token_limit(self) -> int | None:
        """At most so many tokens; None means until the model stops or the context is full."""
        return self.max_tokens or self.max_completion_tokens

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with an event that carries the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

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
        )


# --- chat --------------------------------------------------------------------------------------


def _content(value: object) -> object:
    """Parts of text become one text, as most templates know nothing else."""
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid('must be a string or a list of {"type": "text", "text": ...}')
        if part["type"] != "text":
            raise unsupported(f"content of type {part['type']!r} is not supported, only 'text'")
        if set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise invalid('a text part must be {"type": "text", "text": STRING} and no more')
        texts.append(part["text"])
    return "\n".join(texts)


class Message(RequestModel):
    # A message that we sent may come back as the client's library dumps it.
    NOT_SUPPORTED: ClassVar[Neutral] = {
        "tool_calls": ([],),
        "function_call": (),
        "audio": (),
        "refusal": (),
        "annotations": ([],),
    }

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        Text, BeforeValidator(_content, json_schema_input_type=str | list[dict[str, str]])
    ]
    name: Text | None = None
    tool_call_id: Text | None = None

    def as_data(self) -> dict[str, Any]:
        """As templates see it: what is absent is undefined."""
        return self.model_dump(exclude_none=True)


class ChatRequest(GenerationRequest):
    NOT_SUPPORTED: ClassVar[Neutral] = {
        "audio": (),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logprobs": (False,),
        "modalities": (["text"],),
        "moderation": (),
        "parallel_tool_calls": (True, False),
        "prediction": (),
        "reasoning_effort": ("none",),
        "response_format": ({"type": "text"},),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    NO_EFFECT: ClassVar[frozenset[str]] = GenerationRequest.NO_EFFECT | {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
    }

    messages: Annotated[list[Message], FailFast()] = Field(min_length=1, max_length=MAX_MESSAGES)


# --- text --------------------------------------------------------------------------------------


def _prompt(value: object) -> object:
    """A text, or token ids; OpenAI's list of several prompts only with one in it."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    if isinstance(value, str):
        return _writable(value)
    if isinstance(value, list) and any(isinstance(item, str | list) for item in value):
        raise unsupported("several prompts in one request are not supported; send one each")
    if isinstance(value, list) and value and all(is_token_id(item) for item in value):
        return tuple(value)
    raise invalid("must be a string, a list with one string, or a list of token ids")


def is_token_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INT32


class CompletionRequest(GenerationRequest):
    NOT_SUPPORTED: ClassVar[Neutral] = {
        "best_of": (1,),
        "echo": (False,),
        "logprobs": (),
        "suffix": ("",),
    }

    prompt: Annotated[
        str | tuple[int, ...],
        BeforeValidator(_prompt, json_schema_input_type=str | list[str] | list[int]),
    ]


# --- tokens ------------------------------------------------------------------------------------


class TokenizeRequest(RequestModel):
    content: Text
    add_special: bool = False
    parse_special: bool = True


class DetokenizeRequest(RequestModel):
    # One wrong item is enough: an error for each of a million would keep the event loop busy.
    tokens: Annotated[list[Annotated[int, Field(ge=0, le=_MAX_INT32)]], FailFast()]

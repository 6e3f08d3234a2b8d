"""``/v1/completions``."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from gguf_server.api.schema.common import MAX_INT32, Neutral
from gguf_server.api.schema.generation import MAX_LOGPROBS, GenerationRequest
from gguf_server.api.schema.prompts import Prompts
from gguf_server.api.validation import invalid


class CompletionRequest(GenerationRequest):
    NOT_SUPPORTED: ClassVar[Neutral] = {"best_of": (1,), "suffix": ("",)}

    prompt: Prompts
    max_tokens: int | None = Field(None, ge=0, le=MAX_INT32)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise invalid("0 needs echo: true", param="max_tokens")
        return self

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

"""``/tokenize`` and ``/detokenize``."""

from typing import Annotated, Self

from pydantic import FailFast, model_validator

from gguf_server.api.schema.common import RequestModel, Text, TokenId
from gguf_server.api.validation import invalid


class TokenizeRequest(RequestModel):
    """llama-server's ``content`` and what goes with it, or vLLM's ``prompt``."""

    content: Text | None = None
    add_special: bool = False
    parse_special: bool = True
    prompt: Text | None = None
    add_special_tokens: bool = True
    model: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.content is None and self.prompt is None:
            raise invalid("missing", param="content")
        if self.content is not None and self.prompt is not None:
            raise invalid("cannot be combined with content; send one", param="prompt")
        return self

    @property
    def text(self) -> str:
        text = self.content if self.prompt is None else self.prompt
        assert text is not None
        return text

    @property
    def adds_special(self) -> bool:
        return self.add_special if self.prompt is None else self.add_special_tokens


class DetokenizeRequest(RequestModel):
    # One wrong item is enough: an error for each of a million would keep the event loop busy.
    tokens: Annotated[list[TokenId], FailFast()]
    model: str | None = None

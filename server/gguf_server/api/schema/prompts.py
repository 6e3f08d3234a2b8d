"""One text or several, as strings or as token ids: what is completed, and what is embedded."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from gguf_server.api.schema.common import Text, TokenId, is_token_id, writable
from gguf_server.api.validation import invalid

Prompt = str | tuple[int, ...]

MAX_PROMPTS = 2048

_Tokens = Annotated[list[TokenId], Field(min_length=1)]
_Written = (
    Text
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]
    | _Tokens
    | Annotated[list[_Tokens], Field(min_length=1, max_length=MAX_PROMPTS)]
)


def _prompts(value: object) -> tuple[Prompt, ...]:
    """All forms become a list of prompts."""
    if isinstance(value, str):
        return (writable(value),)
    if isinstance(value, list) and value:
        if isinstance(value[0], int):
            return (_tokens(value),)
        if len(value) > MAX_PROMPTS:
            raise invalid(f"must not have more than {MAX_PROMPTS} items")
        if all(isinstance(item, str) for item in value):
            return tuple(writable(item) for item in value)
        if all(isinstance(item, list) for item in value):
            return tuple(_tokens(item) for item in value)
    raise invalid(
        "must be a string, a list of strings, a list of token ids, or a list of lists of token ids"
    )


def _tokens(value: list[object]) -> tuple[int, ...]:
    if not value or not all(is_token_id(item) for item in value):
        raise invalid("token ids must be whole numbers from 0, at least one of them")
    return tuple(value)  # type: ignore[arg-type]


Prompts = Annotated[tuple[Prompt, ...], BeforeValidator(_prompts, json_schema_input_type=_Written)]

"""What an answer must look like: ``response_format`` and ``grammar``."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, model_validator

from gguf_server.api.schema.common import Name, RequestModel, SomeText, Text
from gguf_server.api.schema.json_values import JsonObject, enforceable
from gguf_server.api.validation import invalid
from gguf_server.wire.messages import Constraint

_ANY_OBJECT = {"type": "object"}

# What reads them takes quadratic time: a third of a second for so many rules.
_MAX_GRAMMAR_BYTES = 16 * 1024

Grammar = Annotated[SomeText, Field(max_length=_MAX_GRAMMAR_BYTES)]


class JsonSchema(RequestModel):
    """``strict``: keywords that cannot be enforced are refused; otherwise they are ignored."""

    name: Name
    description: Text | None = None
    schema_: JsonObject = Field(_ANY_OBJECT, alias="schema")
    strict: bool = False


class ResponseFormat(RequestModel):
    """OpenAI's, and the ``schema`` of a json_object that llama-cpp-python's users send."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: JsonObject | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _consistent(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise invalid("missing", param="json_schema")
        if self.type != "json_schema" and self.json_schema is not None:
            raise invalid("needs type json_schema", param="json_schema")
        if self.type != "json_object" and self.schema_ is not None:
            raise invalid("belongs into json_schema", param="schema")
        return self

    @property
    def constraint(self) -> Constraint | None:
        match self.type:
            case "text":
                return None
            case "json_object":
                return _json(self.schema_ or _ANY_OBJECT, strict=False)
            case "json_schema":
                assert self.json_schema is not None
                given = self.json_schema
                return _json(given.schema_, strict=given.strict)


def _json(schema: dict[str, Any], *, strict: bool) -> Constraint:
    text = msgspec.json.encode(enforceable(schema, strict=strict)).decode()
    return Constraint("json_schema", text, "response_format")


def constraint_of(response_format: ResponseFormat | None, grammar: str | None) -> Constraint | None:
    """Raises where both ask for something."""
    wanted = response_format.constraint if response_format else None
    if grammar is None:
        return wanted
    if wanted is not None:
        raise invalid("cannot be combined with response_format; send one", param="grammar")
    return Constraint("gbnf", grammar, "grammar")

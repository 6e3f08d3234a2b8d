"""The messages of a conversation."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, FailFast, Field, model_validator

from gguf_server.api.schema.common import Neutral, RequestModel, Text
from gguf_server.api.schema.tools import MAX_TOOLS
from gguf_server.api.validation import invalid, unsupported

MAX_MESSAGES = 4096


class TextPart(RequestModel):
    type: Literal["text"]
    text: Text


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


# Messages that we sent come back as the client's library dumps them: what it adds is nothing new.


class CalledFunction(RequestModel):
    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"parsed_arguments"})

    name: Text
    arguments: Text


class MadeCall(RequestModel):
    """A call that the model has made before."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"index"})

    id: Text
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(RequestModel):
    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"parsed"})
    NOT_SUPPORTED: ClassVar[Neutral] = {
        "function_call": (),
        "audio": (),
        "refusal": (),
        "annotations": ([],),
        "type": ("text", "message"),  # of other APIs
    }

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        Annotated[Text, BeforeValidator(_content, json_schema_input_type=Text | list[TextPart])]
        | None
    ) = None
    name: Text | None = None
    reasoning_content: Text | None = None
    tool_calls: Annotated[list[MadeCall], FailFast(), Field(max_length=MAX_TOOLS)] = Field([])
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.role != "assistant":
            if self.tool_calls:
                raise invalid("only an assistant calls tools", param="tool_calls")
            if self.reasoning_content is not None:
                raise invalid("only an assistant has it", param="reasoning_content")
        if self.role == "tool" and self.tool_call_id is None:
            raise invalid("missing: the id of the call that this answers", param="tool_call_id")
        if self.content is None and not self.tool_calls and self.reasoning_content is None:
            raise invalid("missing", param="content")
        return self

    def as_data(self) -> dict[str, Any]:
        """As templates see it: what is absent is undefined."""
        data = self.model_dump(exclude_none=True)
        if not self.tool_calls:
            del data["tool_calls"]
        return data

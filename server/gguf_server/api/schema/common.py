"""What all requests have in common: strict, closed, and their OpenAPI document says so."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gguf_server.api.validation import invalid, unsupported

MAX_INT32 = 2**31 - 1
NULL = {"type": "null"}

Neutral = Mapping[str, tuple[object, ...]]


def _document(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """What pydantic cannot know: that null is absence, and what ``RequestModel`` lets through."""
    assert issubclass(model, RequestModel)
    properties = schema.setdefault("properties", {})
    for name in set(properties) - set(schema.get("required", ())):
        own = properties[name]
        if NULL not in own.get("anyOf", ()):
            properties[name] = {"anyOf": [own, NULL]}
    for name, values in model.NOT_SUPPORTED.items():
        properties[name] = {
            "description": "Not supported; accepted where it asks for nothing.",
            "enum": [*values, None],
        }
    for name in sorted(model.NO_EFFECT):
        properties[name] = {"description": "Without effect on the answer."}


class RequestModel(BaseModel):
    """Strict, closed, and ``null`` means that the parameter is absent."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra=_document,
    )

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
            elif value is None and _is_field(cls, name):
                continue
            elif name not in cls.NO_EFFECT:
                kept[name] = value  # what is unknown is refused by name as an extra
        return kept


def _is_field(model: type[BaseModel], name: str) -> bool:
    return any(name == (field.alias or own) for own, field in model.model_fields.items())


def _require_neutral(name: str, value: object, neutral: tuple[object, ...]) -> None:
    if value is None or any(type(value) is type(same) and value == same for same in neutral):
        return
    raise unsupported("not supported by this server; leave it out", param=name)


def writable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise invalid(f"half a character (a lone surrogate) at position {exc.start}") from None
    return text


def is_token_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_INT32


Text = Annotated[str, AfterValidator(writable)]
SomeText = Annotated[str, Field(min_length=1), AfterValidator(writable)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
TokenId = Annotated[int, Field(ge=0, le=MAX_INT32)]

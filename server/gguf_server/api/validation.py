"""What pydantic found wrong with a request, as one line that names the field."""

import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic_core import PydanticCustomError

from gguf_server.errors import InvalidRequest, RequestError, UnsupportedParameter

_UNSUPPORTED = "unsupported_parameter"
_INVALID = "invalid_value"
_MAX_PATH_CHARACTERS = 100
_MAX_SHOWN_CHARACTERS = 120


def unsupported(message: str, *, param: str = "") -> PydanticCustomError:
    """For validators: known to OpenAI, not to us. ``param`` is below what is being validated."""
    return PydanticCustomError(_UNSUPPORTED, "{reason}", {"reason": message, "param": param})


def invalid(message: str, *, param: str = "") -> PydanticCustomError:
    """For validators: what the value must be."""
    return PydanticCustomError(_INVALID, "{reason}", {"reason": message, "param": param})


def explain(errors: Sequence[Any]) -> RequestError:
    """The first of pydantic's findings."""
    error = errors[0]
    kind, reason = error["type"], error["msg"]
    if kind == "json_invalid":
        where = f"{error['ctx']['error']} at character {error['loc'][-1]}"
        return InvalidRequest(f"the body is not valid JSON: {where}")
    own = error["ctx"]["param"] if kind in (_UNSUPPORTED, _INVALID) else ""
    param = _path((*error["loc"], own) if own else error["loc"])
    if not param:
        return InvalidRequest(
            "the body must be a JSON object, sent as Content-Type: application/json"
        )
    match kind:
        case "unsupported_parameter":
            return UnsupportedParameter(f"{param}: {reason}", param=param)
        case "invalid_value":
            return InvalidRequest(f"{param}: {reason}", param=param)
        case "extra_forbidden":
            return InvalidRequest(f"{param}: this parameter is unknown", param=param)
        case "missing":
            return InvalidRequest(f"{param}: missing", param=param)
        case _:
            reason = (reason[:1].lower() + reason[1:]).replace(" after validation", "")
            return InvalidRequest(f"{param}: {reason}, got {_shown(error['input'])}", param=param)


def _path(location: Sequence[str | int]) -> str:
    """``("body", "messages", 0, "role")`` becomes ``messages[0].role``."""
    path = ""
    for part in location:
        if part in ("body", "[key]"):
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return " ".join(path.split())[:_MAX_PATH_CHARACTERS]  # names come from the client


def _shown(value: object) -> str:
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)[:_MAX_SHOWN_CHARACTERS]

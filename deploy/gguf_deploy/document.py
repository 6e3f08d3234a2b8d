"""A ``Placement`` as a file: JSON with a version."""

import msgspec

from gguf_server.errors import InvalidPlan
from gguf_server.models.placement import VERSION, Placement

_AGAIN = "make it anew: gguf-deploy plan MODEL --format json"


class _Versioned(msgspec.Struct):
    version: int


def dumps(placement: Placement) -> str:
    """For people to read, too. ``loads`` gives the same placement back."""
    return msgspec.json.format(msgspec.json.encode(placement), indent=2).decode() + "\n"


def loads(text: str) -> Placement:
    """Raises ``InvalidPlan``, one line. Fields that it does not know are for somebody else."""
    try:
        version = msgspec.json.decode(text, type=_Versioned).version
        if version == VERSION:
            return msgspec.json.decode(text, type=Placement)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        reason = " ".join(str(exc).split())
        msg = f"this is no plan ({reason}); {_AGAIN}"
        raise InvalidPlan(msg) from None
    msg = f"the plan is of version {version}, and this gguf-deploy knows {VERSION}; {_AGAIN}"
    raise InvalidPlan(msg)

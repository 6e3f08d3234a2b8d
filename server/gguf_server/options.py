"""How an option is declared, and how its text is read; a text that is no good is a ValueError."""

import re
from collections.abc import Callable
from dataclasses import field
from typing import Any, get_args

from gguf_server.knobs import Adapter

Parser = Callable[[str], Any]


def option(
    default: object,
    parse: Parser,
    help_text: str,
    metavar: str = "",
    *,
    flag: str = "",
    is_positional: bool = False,
) -> Any:
    """``flag`` is for the one that is not named as its field is, or has a short form as well:
    ``-n/--namespace``.
    """
    return field(
        default=default,
        metadata={
            "parse": parse,
            "help": help_text,
            "metavar": metavar,
            "flag": flag,
            "is_positional": is_positional,
            "is_switch": False,
            "has_variable": True,
        },
    )


def switch(help_text: str, *, has_variable: bool = False) -> Any:
    """A flag without a value. Most are for one call and have no variable."""
    return field(
        default=False,
        metadata={
            "parse": on_off,
            "help": help_text,
            "flag": "",
            "is_positional": False,
            "is_switch": True,
            "has_variable": has_variable,
        },
    )


def _number(kind: type[int] | type[float], minimum: float, maximum: float) -> Parser:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not minimum <= value <= maximum:
            limits = f"from {minimum:g}" + ("" if maximum == _NO_LIMIT else f" to {maximum:g}")
            noun = "a whole number" if kind is int else "a number"
            msg = f"needs {noun} {limits}, not {text!r}"
            raise ValueError(msg)
        return value

    return parse


_NO_LIMIT = 1e18  # nobody means more, and it fits into a message; "inf" is refused


def whole(minimum: int, maximum: float = _NO_LIMIT) -> Parser:
    return _number(int, minimum, maximum)


def real(minimum: float, maximum: float = _NO_LIMIT) -> Parser:
    return _number(float, minimum, maximum)


def choice(literal: object) -> Parser:
    values = get_args(literal)

    def parse(text: str) -> str:
        if text not in values:
            msg = f"needs one of {', '.join(values)}, not {text!r}"
            raise ValueError(msg)
        return text

    return parse


def on_off(text: str) -> bool:
    meanings = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
    if text.lower() not in meanings:
        msg = f"needs on or off, not {text!r}"
        raise ValueError(msg)
    return meanings[text.lower()]


def word(default: str, literal: object, help_text: str) -> Any:
    words = ", ".join(get_args(literal))
    return option(default, choice(literal), f"{help_text}: {words}", "WORD")


def texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def keys(text: str) -> tuple[str, ...]:
    found = texts(text)
    if not found:
        msg = "has no key in it; leave it out to serve without keys"
        raise ValueError(msg)
    return found


def reals(text: str) -> tuple[float, ...]:
    return tuple(real(0)(part) for part in texts(text))


def adapters(text: str) -> tuple[Adapter, ...]:
    """``a.gguf,b.gguf:0.5``"""
    found = []
    for part in texts(text):
        path, separator, scale = part.rpartition(":")
        found.append(Adapter(path, real(-100, 100)(scale)) if separator else Adapter(part))
    return tuple(found)


_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?)(?P<binary>i?)b?", re.IGNORECASE)
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def size(text: str) -> int:
    """``24GB``, ``22GiB``, ``1000000``: bytes."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        msg = f"needs a number of bytes, such as 24GB or 22GiB, not {text!r}"
        raise ValueError(msg)
    thousand = 1024 if found["binary"] else 1000
    power = " kmgt".index(found["unit"].lower() or " ")
    return int(float(found["number"]) * thousand**power)


def duration(text: str) -> float:
    """``30d``, ``12h``: seconds. Without a unit everybody means another one."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        msg = f"needs a time, such as 30d or 12h, not {text!r}"
        raise ValueError(msg)
    return float(found["number"]) * _SECONDS[found["unit"]]

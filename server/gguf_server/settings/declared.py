"""From text to options: flags, then the environment, then the default.

``--kv-layout`` is ``GGUF_KV_LAYOUT``. The model alone is ``MODEL_NAME``, kept from the system that
this replaces. A switch is a flag without a value.
"""

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, Self

from gguf_server.errors import SettingsError
from gguf_server.options import Parser

_NOT_OPTIONS = ("GGUF_WHEEL_", "GGUF_IMAGE")  # for the build, and for Compose


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Base of a verb's options; each is declared once, by ``options.option``."""

    has_variables: ClassVar[bool] = True

    @classmethod
    def read(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Self:
        """From command-line flags and the environment, as text; raises ``SettingsError``."""
        values: dict[str, Any] = {}
        for each in fields(cls):
            variable = cls.variable_of(each)
            if each.name in flags:
                values[each.name] = _parse(each, shown_name(each), flags[each.name])
            elif variable and variable in environ:
                values[each.name] = _parse(each, variable, environ[variable])
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """What no single option can know; raises ``SettingsError``."""

    @classmethod
    def variable_of(cls, each: "Field[Any]") -> str:
        """The option's name in the environment; empty if it has none."""
        if not (cls.has_variables and each.metadata["has_variable"]):
            return ""
        return environment_name(each.name)

    @classmethod
    def variables(cls) -> set[str]:
        """All names in the environment that mean something to this verb."""
        return {cls.variable_of(each) for each in fields(cls)} - {""}

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Declare every option as a flag whose value stays text; ``read`` parses it."""
        for each in fields(cls):
            arguments: dict[str, Any] = {
                "default": argparse.SUPPRESS,
                "help": _help(each, cls.variable_of(each)),
            }
            if each.metadata["is_switch"]:
                arguments |= {"dest": each.name, "action": "store_const", "const": "on"}
            elif each.metadata["is_positional"]:
                arguments |= {"nargs": "?", "metavar": each.metadata["metavar"]}
            else:
                metavar = each.metadata["metavar"] or "TEXT"
                arguments |= {"dest": each.name, "metavar": metavar}
            is_positional = each.metadata["is_positional"]
            names = (each.name,) if is_positional else (*_short(each), flag_name(each))
            parser.add_argument(*names, **arguments)


def unknown_variables(
    verbs: Iterable[type[Declared]], environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Variables that look like options and are none: a misspelling has no other sign."""
    known = set().union(*(verb.variables() for verb in verbs))
    ours = (name for name in environ if name.startswith("GGUF_") and name not in known)
    return sorted(name for name in ours if not name.startswith(_NOT_OPTIONS))


def flag_name(each: "Field[Any]") -> str:
    """``--kv-layout``"""
    return each.metadata["flag"].rpartition("/")[2] or "--" + each.name.replace("_", "-")


def _short(each: "Field[Any]") -> tuple[str, ...]:
    """``-n``, if it has such a form."""
    return tuple(each.metadata["flag"].split("/")[:-1])


def shown_name(each: "Field[Any]") -> str:
    """What an error calls it."""
    return each.name.upper() if each.metadata["is_positional"] else flag_name(each)


def environment_name(name: str) -> str:
    return "MODEL_NAME" if name == "model" else "GGUF_" + name.upper()


def _help(each: "Field[Any]", variable: str) -> str:
    text: str = each.metadata["help"]
    if each.metadata["is_positional"]:
        return f"{text} [{variable}]" if variable else text
    if "default:" in text or each.metadata["is_switch"] or each.default in ("", (), None):
        return text
    return f"{text} (default: {'off' if each.default is False else each.default})"


def _parse(each: "Field[Any]", name: str, text: str) -> object:
    parse: Parser = each.metadata["parse"]
    try:
        return parse(text)
    except ValueError as exc:
        msg = f"{name} {exc}"
        raise SettingsError(msg) from None

"""A YAML file that carries a ``Placement`` out, with a heading that says where it is from."""

import re
from collections.abc import Sequence

import yaml

from gguf_server.models.placement import Placement
from gguf_server.models.sizes import human_bytes

_SURELY_TEXT = re.compile(r"[A-Za-z/]\S")  # PyYAML itself quotes true, on, null


class Instead(list[object]):
    """A sequence that Compose takes instead of the one in the file below, not after it."""


class Block(str):
    """Text that keeps its lines."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # has no types
    """Quotes more: 1e9 and y are text to PyYAML, and a number and a yes to Go's parsers."""


def plan_file(
    placement: Placement, command: str, how: Sequence[str], document: dict[str, object]
) -> str:
    """``command`` made it; ``how`` says what to do with it, a line each."""
    return yaml_file([f"Made by: {command}", *_about(placement), *how], document)


def yaml_file(heading: Sequence[str], document: dict[str, object]) -> str:
    """``heading`` becomes comments, a line each."""
    comments = [f"# {_printable(line)}\n" for line in heading]
    body: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False)
    return "".join([*comments, "\n", body])


def _about(placement: Placement) -> list[str]:
    model, gpu = placement.model, placement.gpu
    commit = f"commit {model.commit}" if model.commit else "a file, which can change: no commit"
    place = f"{gpu.count} x {gpu.name}" if gpu else "a CPU"
    needs = [*placement.devices, placement.host] if gpu else [placement.host]
    memory = ", ".join(
        f"{need.name} {human_bytes(need.num_bytes)} of {human_bytes(need.there_bytes)}"
        for need in needs
    )
    return [
        f"Model: {model.reference} ({human_bytes(model.size_bytes)}; {commit})",
        f"For {place}; llama.cpp {placement.llama_cpp} counts: {memory}",
        *placement.changes,
    ]


def _printable(line: str) -> str:
    """A name with a line break in it would go on outside the comment."""
    return "".join(letter for letter in line if letter.isprintable())


def _text(dumper: _Dumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None if _SURELY_TEXT.match(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _block(dumper: _Dumper, value: Block) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")


def _instead(dumper: _Dumper, value: Instead) -> yaml.Node:
    return dumper.represent_sequence("!override", value)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Block, _block)
_Dumper.add_representer(Instead, _instead)

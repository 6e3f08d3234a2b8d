"""Rules of llguidance's grammars, for one vocabulary.

Its variant of Lark: rules are in lower case, a ``[lazy]`` one ends as early as it can, which is
what finds the first mark in free text. A control token is no text: it is written ``<[id]>``.
"""

import json
import re
from collections.abc import Mapping

from gguf_server.prompt.dialect import Tool
from gguf_server.wire.messages import Constraint

# As the engine has it for a schema alone: indentation, but no blanks without an end.
_JSON_OPTIONS = {"whitespace_pattern": r"( |\n[ \t]{0,20})?"}
_TERMINALS = "TEXT: /(.|\\n)*/\nSPACE: /[ \\n]{1,8}/\n"


def quoted(text: str) -> str:
    """A string literal."""
    return json.dumps(text, ensure_ascii=False)


class Grammar:
    """Rules as they are added, for a vocabulary with these tokens."""

    def __init__(self, special_tokens: Mapping[str, int]) -> None:
        self._special_tokens = special_tokens
        self._rules: dict[str, str] = {}

    def rule(self, name: str, body: str, *, lazy: bool = False) -> str:
        self._rules[f"{name}[lazy]" if lazy else name] = body
        return name

    def mark(self, text: str) -> str:
        token = self._special_tokens.get(text)
        return quoted(text) if token is None else f"<[{token}]>"

    def opening(self, name: str, text: str) -> str:
        """A mark at a place where any other text may stand too."""
        return self.rule(name, self.mark(text), lazy=text not in self._special_tokens)

    def until(self, name: str, text: str) -> str:
        """Anything, up to and with the first mark ``text``."""
        if text in self._special_tokens:
            return self.rule(name, f"TEXT {self.mark(text)}")
        pattern = re.escape(text).replace("/", r"\/")
        return self.rule(name, rf"/(.|\n)*{pattern}/", lazy=True)

    def arguments(self, tool: Tool, index: int) -> str:
        schema = json.dumps({**tool.parameters, "type": "object"})
        return self.rule(f"arguments_{index}", f"%json {_with_options(schema)}")

    def content(self, response: Constraint | None) -> str:
        if response is None:
            return "TEXT"
        return self.rule("content", f"%json {_with_options(response.text)}")

    def constraint(self, start: str, param: str) -> Constraint:
        rules = "".join(f"{name}: {body}\n" for name, body in self._rules.items())
        return Constraint("lark", f"%llguidance {{}}\nstart: {start}\n{rules}{_TERMINALS}", param)


def _with_options(schema: str) -> str:
    try:
        value = json.loads(schema)
    except (ValueError, RecursionError):
        value = schema  # a string is no schema: the engine refuses it
    if isinstance(value, dict):
        value["x-guidance"] = {**_JSON_OPTIONS, **value.get("x-guidance", {})}
    return json.dumps(value)

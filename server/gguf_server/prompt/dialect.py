"""How a family of models writes its reasoning and its tool calls."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gguf_server.prompt.output import OutputParser
from gguf_server.wire.messages import Constraint


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; ``parameters`` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a request says about tools. ``choice`` "named" means that ``tools`` holds just that one.

    With ``parallel`` there may be several calls in an answer. Without it only the first one
    counts; what follows it is content, though the constraint keeps a model from writing more.
    """

    tools: tuple[Tool, ...] = ()
    choice: Literal["none", "auto", "required", "named"] = "none"
    parallel: bool = True


class Dialect(Protocol):
    """Made for a template by ``families.dialect_of``."""

    @property
    def name(self) -> str: ...

    @property
    def show_special(self) -> bool:
        """Whether the parser must see the text of control tokens."""
        ...

    def parser(self, prompt: str, use: ToolUse) -> OutputParser:
        """For the answer to ``prompt``, which may end inside of a block of reasoning."""
        ...

    def constraint(
        self, prompt: str, use: ToolUse, response: Constraint | None
    ) -> Constraint | None:
        """What the whole output must look like, so that its calls can be read, and its content (if
        it has any) fulfils ``response``. None where everything is allowed."""
        ...

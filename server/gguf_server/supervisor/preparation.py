"""What must be had before the first engine starts: the model's file, fetched if need be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from gguf_server.wire.messages import EngineConfig, ModelFacts


@dataclass(frozen=True, slots=True)
class Prepared:
    """``chat_template`` takes precedence over the model's own."""

    config: EngineConfig
    chat_template: str | None = None

    def facts(self, facts: ModelFacts) -> ModelFacts:
        """What the engine found, with the template that takes precedence."""
        if self.chat_template is None:
            return facts
        return replace(facts, chat_template=self.chat_template)


@dataclass(frozen=True, slots=True)
class Stage:
    """How far it is: ``fraction`` from 0 to 1, ``detail`` a few words for people."""

    name: str
    fraction: float = 0.0
    detail: str = ""
    remaining_seconds: float | None = None


class Preparation(Protocol):
    """Done once; raises ``StartupError`` where there is nothing to serve."""

    async def __call__(self, report: Callable[[Stage], None]) -> Prepared: ...

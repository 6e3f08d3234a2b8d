"""Preparations without a fetch."""

from collections.abc import Callable

from gguf_server.supervisor.preparation import Preparation, Prepared, Stage
from gguf_server.wire.messages import EngineConfig


def prepared(config: EngineConfig, chat_template: str | None = None) -> Preparation:
    """The file is there."""

    async def prepare(report: Callable[[Stage], None]) -> Prepared:
        return Prepared(config, chat_template)

    return prepare

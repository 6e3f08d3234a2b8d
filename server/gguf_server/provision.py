"""From what was asked for to a file to serve: it is there, or it is fetched first."""

from collections.abc import Callable
from pathlib import Path

from gguf_server.models.files import check_model_file
from gguf_server.settings.serve import Settings
from gguf_server.supervisor.preparation import Prepared, Stage


class Provision:
    """Prepares the engine's model. Raises ``StartupError`` at once for a file that is no good."""

    def __init__(self, settings: Settings, chat_template: str | None) -> None:
        self._settings = settings
        self._chat_template = chat_template
        self._source = settings.source
        if isinstance(self._source, Path):
            check_model_file(self._source)

    async def __call__(self, report: Callable[[Stage], None]) -> Prepared:
        assert isinstance(self._source, Path)
        report(Stage("start"))
        return Prepared(self._settings.engine_config(self._source), self._chat_template)

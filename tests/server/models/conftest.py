"""Our hub, and the library told to use it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from gguf_server.models.hub import client
from gguf_server.models.store.store import Store
from tests.hub.server import Hub
from tests.server.models.shop import Shop

UseHub = Callable[[Hub], None]


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UseHub]:
    """What ``HF_ENDPOINT`` would have done, had it been set before the import. Nobody's token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(client, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))

    def use(hub: Hub) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    yield use
    huggingface_hub.close_session()


@pytest.fixture
def hub(use_hub: UseHub) -> Iterator[Hub]:
    with Hub() as hub:
        use_hub(hub)
        yield hub


@pytest.fixture
def shop(hub: Hub, tmp_path: Path) -> Shop:
    root = tmp_path / "shop"
    root.mkdir()
    return Shop(hub, root)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")

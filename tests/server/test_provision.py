"""From what was asked for to a file to serve."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gguf_server import provision
from gguf_server.errors import ModelFileError, NotFetched
from gguf_server.models.progress import Progress
from gguf_server.models.store import store
from gguf_server.models.store.layout import USED_NAME
from gguf_server.provision import Provision
from gguf_server.settings.serve import Settings
from gguf_server.supervisor.fetching import Answer
from gguf_server.supervisor.preparation import Prepared, Stage
from tests.gguf_files import least_model
from tests.server.models.store.shelf import Shelf

CONTENTS = {"m-Q8_0.gguf": b"GGUF eight" * 10, "m-Q4_K_M.gguf": b"GGUF four" * 10}
TEMPLATE = "{{ messages }}"
HANG_SECONDS = 60.0

Fetch = Callable[[list[str], Callable[[Progress], None]], Answer]


class Place:
    """A model directory, and the fetch that a server would start."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.shelf = Shelf(root)
        self.asked: list[list[str]] = []
        self.stages: list[Stage] = []
        self.fetch: Fetch = lambda *_: pytest.fail("nothing should be fetched")

        async def fetch(arguments: list[str], report: Callable[[Progress], None]) -> Answer:
            self.asked.append(arguments)
            return self.fetch(arguments, report)

        monkeypatch.setattr(provision, "fetch", fetch)

    def prepare(
        self,
        chat_template: str | None = None,
        until: Callable[[], bool] = lambda: True,
        **options: Any,
    ) -> Prepared:
        """``until`` is waited for: the stamp is a task of its own."""
        settings = Settings(**{"model": "org/repo", "models_dir": str(self.root)} | options)

        async def prepared() -> Prepared:
            provision = Provision(settings, chat_template)
            found = await provision(self.stages.append)
            await asyncio.to_thread(wait_for, until)
            return found

        return asyncio.run(prepared())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path / "models", monkeypatch)


def test_a_model_that_is_here_is_served_and_its_use_is_noted(place: Place) -> None:
    directory = place.shelf.put(CONTENTS)
    prepared = place.prepare(until=(directory / USED_NAME).exists)
    assert prepared.config.model_path == str(directory / "m-Q8_0.gguf")
    assert prepared.chat_template is None


def test_a_directory_that_cannot_be_written_to_will_do(place: Place, monkeypatch) -> None:
    place.shelf.put(CONTENTS)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(store, "touch", refused)
    assert place.prepare().config.model_path.endswith("m-Q8_0.gguf")


@pytest.mark.parametrize(("ours", "expected"), [(None, TEMPLATE), ("mine", "mine")])
def test_a_template_of_the_users_own_comes_before_the_fetched_one(
    place: Place, ours: str | None, expected: str
) -> None:
    place.shelf.put(CONTENTS, chat_template=TEMPLATE.encode())
    assert place.prepare(ours).chat_template == expected


def test_what_is_missing_is_fetched_with_the_same_wishes_and_shown(place: Place) -> None:
    def fetch(_: list[str], report: Callable[[Progress], None]) -> Answer:
        report(Progress("download", "m-Q4_K_M.gguf", 20_000_000, 80_000_000, 2_000_000))
        place.shelf.put(CONTENTS, present=("m-Q4_K_M.gguf",))
        return Answer(reason="Q4_K_M: fits")

    place.fetch = fetch
    prepared = place.prepare(
        model="org/repo", quant=("Q4_K_M",), max_bytes=100, tokenizer="never", revision="main"
    )
    assert prepared.config.model_path.endswith("m-Q4_K_M.gguf")
    assert place.asked == [
        ["org/repo@main", "--to", str(place.root), "--tokenizer", "never", "--quant", "Q4_K_M",
         "--max-bytes", "100"]
    ]  # fmt: skip
    assert place.stages[-1] == Stage(
        "fetch", 0.25, "download m-Q4_K_M.gguf, 20.0 MB of 80.0 MB", 30.0
    )


def test_a_server_that_must_not_ask_says_so_to_its_fetch(place: Place) -> None:
    place.fetch = lambda *_: Answer()
    with pytest.raises(NotFetched, match="org/repo was never fetched into"):
        place.prepare(offline=True)
    assert "--offline" in place.asked[0]


def test_a_file_that_is_no_model_is_refused_before_anything_starts(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(ModelFileError, match="does not exist"):
        place.prepare(model=str(path))
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelFileError, match="of GGUF version 0"):
        place.prepare(model=str(path))
    least_model(path)
    assert place.prepare(model=str(path)).config.model_path == str(path)

"""The real model, loaded once per KV layout for the whole session."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gguf_server.engine.llama.model import LlamaModel, load
from gguf_server.engine.llama.runner import LlamaRunner
from gguf_server.wire.messages import EngineConfig
from tests.server.engine.llama import tiny_models

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
Load = Callable[..., LlamaModel]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "gguf-server" / "models" / FILE
    if not path.exists():
        pytest.skip(f"{path} is missing; `make test` fetches it")
    return path


@pytest.fixture
def load_model(smollm2: Path) -> Iterator[Load]:
    """Load SmolLM2, or another ``model_path``, with a small context; closed after the test."""
    loaded: list[LlamaModel] = []

    def load_it(**options) -> LlamaModel:
        given = {"model_path": str(smollm2), "context_tokens": 256, "slots": 3}
        sink = options.pop("sink", lambda _level, _line: None)
        config = EngineConfig(**{**given, **options})
        loaded.append(load(config, lambda _stage, _fraction: None, sink=sink))
        return loaded[-1]

    yield load_it
    for model in loaded:
        model.close()


@pytest.fixture(scope="session", params=["split", "unified"])
def any_layout(request: pytest.FixtureRequest, smollm2: Path) -> Iterator[LlamaModel]:
    config = EngineConfig(
        model_path=str(smollm2),
        context_tokens=256,
        slots=3,
        retained_prefixes=1,
        kv_layout=request.param,
        max_batch_tokens=128,
    )
    model = load(config, lambda _stage, _fraction: None, sink=lambda _level, _line: None)
    yield model
    model.close()


@pytest.fixture
def runner(any_layout: LlamaModel) -> LlamaRunner:
    """An empty KV cache of either layout."""
    any_layout.context.clear()
    return LlamaRunner(any_layout)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A model of this architecture with random weights, a few hundred kilobytes large."""
    folder = tmp_path_factory.mktemp("tiny")

    def write(architecture: str, **options: bool) -> Path:
        path = folder / f"{architecture}-{options}.gguf"
        if not path.exists():
            tiny_models.WRITERS[architecture](path, **options)
        return path

    return write

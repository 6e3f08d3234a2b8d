"""The command ``gguf-server``. An error is one line on stderr and an exit code."""

import contextlib
import logging
import sys
from collections.abc import Mapping

from gguf_server import logs
from gguf_server.errors import StartupError
from gguf_server.settings.clients import BenchSettings, ChatSettings
from gguf_server.settings.declared import unknown_variables
from gguf_server.settings.models import CleanSettings, FetchSettings, InfoSettings, LsSettings
from gguf_server.settings.serve import Settings, termination_log
from gguf_server.verbs import Flags, Program, Verb

_EXIT_CODES = """\
Exit codes: 0 done, 1 a bug, 2 a bad option, 3 not a model file, 4 llama.cpp cannot load it,
5 the engine kept crashing, 6 it cannot listen there, 7 the server of chat or bench is not there,
refuses, or failed a request, 8 no such model, or not for you, 9 it could not be fetched this time,
10 the model directory is full or unusable, 11 the model does not fit, 130 interrupted,
143 terminated (not serve)."""

_log = logging.getLogger(__name__)

# Each verb imports what it needs late, so that --help waits for nothing.


def _serve(flags: Flags) -> None:
    settings = None
    try:
        settings = Settings.read(flags)
        _serve_until_stopped(settings)
    except StartupError as exc:
        _leave_reason(flags, exc.message)
        if settings and settings.log_format == "json":  # whoever reads JSON reads nothing else
            _log.critical("%s", exc.message)
            sys.exit(exc.exit_code)
        raise


def _serve_until_stopped(settings: Settings) -> None:
    logs.configure(settings.log_level, settings.log_format)
    for name in unknown_variables(each.settings for each in _VERBS.values()):
        _log.warning("%s is no option and is ignored; see gguf-server serve --help", name)
    import uvloop  # noqa: PLC0415

    from gguf_server.serve import serve  # noqa: PLC0415

    uvloop.run(serve(settings))


def _chat(flags: Flags) -> None:
    settings = ChatSettings.read(flags)
    from gguf_server.chat.command import chat  # noqa: PLC0415

    chat(settings)


def _bench(flags: Flags) -> None:
    settings = BenchSettings.read(flags)
    from gguf_server.bench.command import bench  # noqa: PLC0415

    bench(settings)


def _fetch(flags: Flags) -> None:
    settings = FetchSettings.read(flags)
    from gguf_server.commands.fetch import fetch  # noqa: PLC0415

    fetch(settings)


def _ls(flags: Flags) -> None:
    settings = LsSettings.read(flags)
    from gguf_server.commands.ls import ls  # noqa: PLC0415

    ls(settings)


def _info(flags: Flags) -> None:
    settings = InfoSettings.read(flags)
    from gguf_server.commands.info import info  # noqa: PLC0415

    info(settings)


def _clean(flags: Flags) -> None:
    settings = CleanSettings.read(flags)
    from gguf_server.commands.clean import clean  # noqa: PLC0415

    clean(settings)


_VERBS: Mapping[str, Verb] = {
    "serve": Verb(
        "serve a model",
        "Every option is also an environment variable: --kv-layout is GGUF_KV_LAYOUT.",
        Settings,
        _serve,
        is_service=True,
        on_bad_flags=lambda message: _leave_reason({}, message),
    ),
    "fetch": Verb(
        "get a model from the hub",
        "The hub is HF_ENDPOINT, default https://huggingface.co; private and gated models need "
        "HF_TOKEN. Every option with a value is also a variable: --quant is GGUF_QUANT; --to is "
        "GGUF_MODELS_DIR.",
        FetchSettings,
        _fetch,
    ),
    "ls": Verb("list the models that are here", "", LsSettings, _ls),
    "info": Verb(
        "describe a model, here or on the hub",
        "Of a model on the hub only the header is read.",
        InfoSettings,
        _info,
    ),
    "clean": Verb(
        "remove models",
        "Without --yes it only says what would go. What was used in the last 24 hours stays, and "
        "so does everything that no fetch put there.",
        CleanSettings,
        _clean,
    ),
    "chat": Verb(
        "talk to an OpenAI-compatible server",
        "Standard input that is no terminal is one question: echo hi | gguf-server chat. "
        "So it is with --json.",
        ChatSettings,
        _chat,
    ),
    "bench": Verb(
        "measure an OpenAI-compatible server",
        "Workloads: single, eight, sixteen, shared, mixed; by name also turns, structured, crowd. "
        "Nothing else should use the server.",
        BenchSettings,
        _bench,
    ),
}


_PROGRAM = Program("gguf-server", "Serve GGUF models.", _EXIT_CODES, _VERBS)


def main() -> None:
    """Entry point."""
    _PROGRAM.main()


def _leave_reason(flags: Flags, reason: str) -> None:
    """For `kubectl describe pod`: Kubernetes makes the file, elsewhere there is none."""
    path = termination_log(flags)
    with contextlib.suppress(OSError):
        if path.exists():
            path.write_text(reason + "\n", encoding="utf-8")

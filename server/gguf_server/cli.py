"""The command ``gguf-server``. An error is one line on stderr and an exit code."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from gguf_server import __version__, logs
from gguf_server.errors import SettingsError, StartupError
from gguf_server.models.foreign import printable
from gguf_server.settings.clients import BenchSettings, ChatSettings
from gguf_server.settings.declared import Declared, unknown_variables
from gguf_server.settings.models import CleanSettings, FetchSettings, InfoSettings, LsSettings
from gguf_server.settings.serve import Settings, termination_log

_INTERRUPTED = 130  # as a shell says it
_NOBODY_READS = 141  # likewise, of SIGPIPE
_TERMINATED = 143  # of SIGTERM: half a fetch is no success to whoever waits for it

_EXIT_CODES = """\
Exit codes: 0 done, 1 a bug, 2 a bad option, 3 not a model file, 4 llama.cpp cannot load it,
5 the engine kept crashing, 6 it cannot listen there, 7 the server of chat or bench is not there,
refuses, or failed a request, 8 no such model, or not for you, 9 it could not be fetched this time,
10 the model directory is full or unusable, 130 interrupted, 143 terminated (not serve)."""

_log = logging.getLogger(__name__)

Flags = Mapping[str, str]


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Nothing may stay unknown to a verb: only its own --help can say what there is."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        msg = f"{message}; see {self.prog} --help"
        raise SettingsError(msg)


def main() -> None:
    """Entry point."""
    is_server = sys.argv[1:2] == ["serve"]  # it ends well, and has handlers of its own soon
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if is_server else _TERMINATED))
    try:
        _run(sys.argv[1:])
    except StartupError as exc:
        if "--json" in sys.argv[1:]:
            print(json.dumps({"error": {"code": exc.code, "message": exc.message}}))
        print(f"gguf-server: {printable(exc.message)}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at its end
        sys.exit(_NOBODY_READS)
    except Exception as exc:  # noqa: BLE001  (a bug must not greet users with a traceback)
        _log.debug("this should not happen", exc_info=True)
        hint = "; --log-level debug shows where" if is_server else ""
        print(f"gguf-server: internal error, {type(exc).__name__}: {exc}{hint}", file=sys.stderr)
        sys.exit(1)


def _run(argv: list[str]) -> None:
    try:
        flags = vars(_parser().parse_args(argv))
    except SettingsError as exc:
        if argv[:1] == ["serve"]:
            _leave_reason({}, exc.message)
        raise
    _VERBS[flags.pop("verb")].run(flags)


# --- the verbs; each imports what it needs late, so that --help waits for nothing --------------


@dataclass(frozen=True, slots=True)
class _Verb:
    help: str
    epilog: str
    settings: type[Declared]
    run: Callable[[Flags], None]


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


_VERBS: Mapping[str, _Verb] = {
    "serve": _Verb(
        "serve a model",
        "Every option is also an environment variable: --kv-layout is GGUF_KV_LAYOUT.",
        Settings,
        _serve,
    ),
    "fetch": _Verb(
        "get a model from the hub",
        "The hub is HF_ENDPOINT, default https://huggingface.co; private and gated models need "
        "HF_TOKEN. Every option with a value is also a variable: --quant is GGUF_QUANT; --to is "
        "GGUF_MODELS_DIR.",
        FetchSettings,
        _fetch,
    ),
    "ls": _Verb("list the models that are here", "", LsSettings, _ls),
    "info": _Verb(
        "describe a model, here or on the hub",
        "Of a model on the hub only the header is read.",
        InfoSettings,
        _info,
    ),
    "clean": _Verb(
        "remove models",
        "Without --yes it only says what would go. What was used in the last 24 hours stays, and "
        "so does everything that no fetch put there.",
        CleanSettings,
        _clean,
    ),
    "chat": _Verb(
        "talk to an OpenAI-compatible server",
        "Standard input that is no terminal is one question: echo hi | gguf-server chat. "
        "So it is with --json.",
        ChatSettings,
        _chat,
    ),
    "bench": _Verb(
        "measure an OpenAI-compatible server",
        "Workloads: single, eight, sixteen, shared, mixed. Nothing else should use the server.",
        BenchSettings,
        _bench,
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gguf-server",
        description="Serve GGUF models.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in _VERBS.items():
        verb.settings.add_flags(
            verbs.add_parser(name, help=verb.help, epilog=verb.epilog, allow_abbrev=False)
        )
    return parser


def _leave_reason(flags: Flags, reason: str) -> None:
    """For `kubectl describe pod`: Kubernetes makes the file, elsewhere there is none."""
    path = termination_log(flags)
    with contextlib.suppress(OSError):
        if path.exists():
            path.write_text(reason + "\n", encoding="utf-8")

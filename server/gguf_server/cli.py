"""The command ``gguf-server``. An error is one line on stderr and an exit code."""

import argparse
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import NoReturn

from gguf_server import __version__, logs
from gguf_server.errors import SettingsError, StartupError
from gguf_server.settings import Settings, add_flags, unknown_variables

_EPILOG = "Every option is also an environment variable: --kv-layout is GGUF_KV_LAYOUT."


_INTERRUPTED = 130  # as a shell says it

_log = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        msg = f"{message}; see {self.prog} --help"
        raise SettingsError(msg)


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until serve has handlers of its own
    try:
        _run(sys.argv[1:])
    except StartupError as exc:
        print(f"gguf-server: {exc.message}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as exc:  # noqa: BLE001  (a bug must not greet users with a traceback)
        _log.debug("this should not happen", exc_info=True)
        print(
            f"gguf-server: internal error, {type(exc).__name__}: {exc}; "
            "--log-level debug shows where",
            file=sys.stderr,
        )
        sys.exit(1)


def _run(argv: list[str]) -> None:
    parser = _Parser(prog="gguf-server", description="Serve GGUF models.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    serve = verbs.add_parser("serve", help="serve a model", epilog=_EPILOG, allow_abbrev=False)
    add_flags(serve)
    flags = vars(parser.parse_args(argv))
    del flags["verb"]
    _serve(Settings.read(flags))


def _serve(settings: Settings) -> None:
    logs.configure(settings.log_level, settings.log_format)
    for name in unknown_variables():
        _log.warning("%s is no option and is ignored; see gguf-server serve --help", name)
    # Late, so that --help and errors in flags do not wait for a web framework.
    import uvloop  # noqa: PLC0415

    from gguf_server.serve import serve  # noqa: PLC0415

    try:
        uvloop.run(serve(settings))
    except StartupError as exc:
        _leave_reason(Path(settings.termination_log), exc.message)
        if settings.log_format == "json":  # whoever reads JSON reads nothing else
            _log.critical("%s", exc.message)
            sys.exit(exc.exit_code)
        raise


def _leave_reason(path: Path, reason: str) -> None:
    """For `kubectl describe pod`: Kubernetes makes the file, elsewhere there is none."""
    if path.exists():
        with contextlib.suppress(OSError):
            path.write_text(reason + "\n", encoding="utf-8")

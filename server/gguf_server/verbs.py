"""A command made of verbs. Whatever goes wrong is one line on stderr and an exit code."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from gguf_server import __version__
from gguf_server.errors import SettingsError, StartupError
from gguf_server.models.foreign import printable
from gguf_server.settings.declared import Declared

_INTERRUPTED = 130  # as a shell says it
_NOBODY_READS = 141  # likewise, of SIGPIPE
_TERMINATED = 143  # of SIGTERM: half a fetch is no success to whoever waits for it

_log = logging.getLogger(__name__)

Flags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verb:
    """``run`` imports what it needs late, so that --help waits for nothing.

    A service ends well by SIGTERM. ``on_bad_flags`` is told why the flags were refused.
    """

    help: str
    epilog: str
    settings: type[Declared]
    run: Callable[[Flags], None]
    is_service: bool = False
    on_bad_flags: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Program:
    """``gguf-server`` or ``gguf-deploy``."""

    name: str
    description: str
    epilog: str
    verbs: Mapping[str, Verb]

    def main(self) -> None:
        """Does not return."""
        argv = sys.argv[1:]
        verb = self.verbs.get(argv[0]) if argv else None
        ends_well = verb is not None and verb.is_service  # and has handlers of its own soon
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if ends_well else _TERMINATED))
        sys.exit(self._ended(argv))

    def _ended(self, argv: list[str]) -> int:
        try:
            self._run(argv)
        except StartupError as exc:
            if _wants_json(argv):
                print(json.dumps({"error": {"code": exc.code, "message": exc.message}}))
            self._say(exc.message)
            return exc.exit_code
        except KeyboardInterrupt:
            return _INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes last
            return _NOBODY_READS
        except Exception as exc:  # noqa: BLE001  (a bug must not greet users with a traceback)
            _log.debug("this should not happen", exc_info=True)
            hint = "; --log-level debug shows where" if argv[:1] == ["serve"] else ""
            self._say(f"internal error, {type(exc).__name__}: {exc}{hint}")
            return 1
        return 0

    def _say(self, message: str) -> None:
        print(f"{self.name}: {printable(message)}", file=sys.stderr)

    def _run(self, argv: list[str]) -> None:
        try:
            flags = vars(self._parser().parse_args(argv))
        except SettingsError as exc:
            if argv and argv[0] in self.verbs:
                self.verbs[argv[0]].on_bad_flags(exc.message)
            raise
        self.verbs[flags.pop("verb")].run(flags)

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(
            prog=self.name,
            description=self.description,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("--version", action="version", version=__version__)
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, verb in self.verbs.items():
            verb.settings.add_flags(
                verbs.add_parser(name, help=verb.help, epilog=verb.epilog, allow_abbrev=False)
            )
        return parser


def _wants_json(argv: Sequence[str]) -> bool:
    return "--json" in argv or "--format=json" in argv or ("--format", "json") in pairwise(argv)


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

"""Constraints compiled off the reader thread: a hostile one delays only others of its kind."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gguf_server.engine.runner import Grammar, Grammars
from gguf_server.errors import InternalError, RequestError
from gguf_server.wire.messages import Constraint

OnCompiled = Callable[[Grammar], None]
OnRefused = Callable[[RequestError], None]


class Compiler:
    """Compiles one constraint after another, in a thread of its own."""

    def __init__(self, grammars: Grammars) -> None:
        self._grammars = grammars
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="constraints")
        self._open: set[int] = set()
        self._ending = threading.Lock()

    def start(
        self, request_id: int, constraint: Constraint, compiled: OnCompiled, refused: OnRefused
    ) -> None:
        """One of the two will be called, unless the request is cancelled before."""
        self._open.add(request_id)
        self._thread.submit(self._compile, request_id, constraint, compiled, refused)

    def cancel(self, request_id: int) -> bool:
        """Whether it was here; then nothing more will be heard of it."""
        with self._ending:
            was_open = request_id in self._open
            self._open.discard(request_id)
            return was_open

    def _compile(
        self, request_id: int, constraint: Constraint, compiled: OnCompiled, refused: OnRefused
    ) -> None:
        if request_id not in self._open:
            return
        grammar, error = self._outcome(constraint)
        with self._ending:  # a cancel comes before, or finds it passed on
            if request_id not in self._open:
                return
            self._open.remove(request_id)
            if grammar is not None:
                compiled(grammar)
            elif error is not None:
                refused(error)

    def _outcome(self, constraint: Constraint) -> tuple[Grammar | None, RequestError | None]:
        try:
            return self._grammars.compile(constraint), None
        except RequestError as exc:
            return None, exc
        except BaseException as exc:  # noqa: BLE001  (a panic in Rust is no Exception)
            msg = f"the constraint could not be compiled: {type(exc).__name__}"
            return None, InternalError(msg, param=constraint.param)

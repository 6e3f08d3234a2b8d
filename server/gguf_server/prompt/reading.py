"""A family's reader, a generator, as an ``OutputParser``."""

from collections.abc import Callable, Generator

from gguf_server.prompt.output import Piece
from gguf_server.prompt.pieces import PieceWriter
from gguf_server.prompt.scanner import Scanner

Reader = Callable[[Scanner, PieceWriter], Generator[None]]


class ReaderParser:
    """Implements ``OutputParser``."""

    def __init__(self, reader: Reader, *, verbatim: bool = False) -> None:
        self._scanner = Scanner()
        self._out = PieceWriter(verbatim=verbatim)
        self._reading = reader(self._scanner, self._out)

    def push(self, text: str) -> list[Piece]:
        self._scanner.feed(text)
        next(self._reading, None)
        return self._out.take()

    def finish(self) -> list[Piece]:
        self._scanner.end()
        next(self._reading, None)
        self._out.end()
        return self._out.take()

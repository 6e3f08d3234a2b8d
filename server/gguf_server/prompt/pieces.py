"""The pieces of one answer on their way out."""

from gguf_server.prompt.output import Content, Piece, Reasoning, ToolCall

Kind = type[Content] | type[Reasoning]


class PieceWriter:
    """Collects pieces, neighbours of a kind joined.

    White space around notation belongs to the notation, unless text is ``verbatim``. So the white
    space at the end of a text is held back until something follows.
    """

    def __init__(self, *, verbatim: bool = False) -> None:
        self._verbatim = verbatim
        self._pieces: list[Piece] = []
        self._kind: Kind = Content
        self._text: list[str] = []
        self._space: list[str] = []
        self._after_notation = False

    def content(self, text: str) -> None:
        self._write(Content, text)

    def reasoning(self, text: str) -> None:
        self._write(Reasoning, text)

    def call(self, call: ToolCall) -> None:
        self.notation()
        self._join()
        self._pieces.append(call)

    def notation(self) -> None:
        """Here was a mark of the notation."""
        self._space.clear()
        self._after_notation = True

    def end(self) -> None:
        if not self._after_notation:
            self._text.extend(self._space)
        self._space.clear()

    def take(self) -> list[Piece]:
        """The pieces since the last time."""
        self._join()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _write(self, kind: Kind, text: str) -> None:
        if kind is not self._kind:
            self._join()
            self._kind = kind
        if self._verbatim:
            self._text.append(text)
            return
        words = text.rstrip()
        if words:
            self._text.append(words.lstrip() if self._after_notation else self._spaced(words))
            self._space.clear()
            self._after_notation = False
        self._space.append(text[len(words) :])

    def _spaced(self, words: str) -> str:
        return "".join(self._space) + words

    def _join(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if text:
            self._pieces.append(self._kind(text))

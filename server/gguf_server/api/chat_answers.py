"""Chat answers: a message with reasoning and tool calls, at once or as it comes."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType

from gguf_server.api.answers import EventOf
from gguf_server.api.logprobs import ChatLogprobs, chat_logprobs
from gguf_server.api.stream import TextEvent
from gguf_server.prompt.output import Content, OutputParser, Piece, Reasoning, ToolCall
from gguf_server.supervisor.generation import Delta
from gguf_server.wire.messages import FinishReason, TokenLogprob

ChatFinishReason = FinishReason | Literal["tool_calls"]


class CalledFunction(Struct, frozen=True):
    name: str
    arguments: str


class Call(Struct, frozen=True):
    """``index`` is for events only."""

    id: str
    function: CalledFunction
    type: str = "function"
    index: int | UnsetType = UNSET


class ChatMessage(Struct, frozen=True):
    content: str | None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: Sequence[Call] | UnsetType = UNSET
    role: str = "assistant"
    refusal: None = None


class ChatChoice(Struct, frozen=True):
    index: int
    message: ChatMessage
    finish_reason: ChatFinishReason | None
    logprobs: ChatLogprobs | None = None


class ChatDelta(Struct, frozen=True, omit_defaults=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: Sequence[Call] | UnsetType = UNSET


class ChatEventChoice(Struct, frozen=True):
    index: int
    delta: ChatDelta
    finish_reason: ChatFinishReason | None = None
    logprobs: ChatLogprobs | None = None


class ChatAnswers:
    """``new_parser`` makes one for each sequence."""

    def __init__(self, new_parser: Callable[[], OutputParser], *, with_logprobs: bool) -> None:
        self._new_parser = new_parser
        self._with_logprobs = with_logprobs

    def whole(self, index: int) -> "WholeChat":
        return WholeChat(index, self._new_parser(), with_logprobs=self._with_logprobs)

    def streamed(self, index: int, event_of: EventOf) -> "StreamedChat":
        return StreamedChat(index, self._new_parser(), event_of)


class WholeChat:
    def __init__(self, index: int, parser: OutputParser, *, with_logprobs: bool) -> None:
        self._index = index
        self._parser = parser
        self._with_logprobs = with_logprobs
        self._pieces: list[Piece] = []
        self._tokens: list[TokenLogprob] = []

    def push(self, delta: Delta) -> None:
        self._pieces += self._parser.push(delta.text)
        self._tokens += delta.logprobs

    def finish(self, reason: FinishReason | None) -> ChatChoice:
        self._pieces += self._parser.finish()
        content = _joined(self._pieces, Content)
        reasoning = _joined(self._pieces, Reasoning)
        calls = [_call(each) for each in self._pieces if isinstance(each, ToolCall)]
        message = ChatMessage(
            None if calls and not content else content, reasoning or UNSET, calls or UNSET
        )
        logprobs = chat_logprobs(self._tokens) if self._with_logprobs else None
        return ChatChoice(self._index, message, _finish_reason(reason, bool(calls)), logprobs)


class StreamedChat:
    """An event for each run of pieces of a kind. Text alone is written without making objects."""

    def __init__(self, index: int, parser: OutputParser, event_of: EventOf) -> None:
        self._index = index
        self._parser = parser
        self._event_of = event_of
        self._num_calls = 0
        self._opening = self._event(ChatDelta(role="assistant", content=""))
        self._content_event = TextEvent(lambda text: self._event(ChatDelta(content=text)))
        self._reasoning_event = TextEvent(
            lambda text: self._event(ChatDelta(reasoning_content=text))
        )

    def push(self, delta: Delta) -> bytes:
        pieces = self._parser.push(delta.text)
        if delta.logprobs:
            return self._opened(self._with_logprobs(pieces, delta.logprobs))
        return self._opened(b"".join(map(self._written, pieces))) if pieces else b""

    def finish(self, reason: FinishReason | None) -> bytes:
        last = b"".join(map(self._written, self._parser.finish()))
        end = ChatEventChoice(self._index, ChatDelta(), _finish_reason(reason, self._num_calls > 0))
        return self._opened(last + self._event_of(end))

    def _opened(self, events: bytes) -> bytes:
        """The role comes before everything else, and not before there is something."""
        if not self._opening:
            return events
        opening, self._opening = self._opening, b""
        return opening + events

    def _written(self, piece: Piece) -> bytes:
        # Not a match: for a token of a stream that costs more than all the rest of this.
        if isinstance(piece, Content):
            return self._content_event.with_text(piece.text)
        if isinstance(piece, Reasoning):
            return self._reasoning_event.with_text(piece.text)
        return self._event(self._delta(piece))

    def _with_logprobs(self, pieces: Sequence[Piece], tokens: Sequence[TokenLogprob]) -> bytes:
        """They ride on the first of the events that came with them."""
        first, *others = [self._delta(each) for each in pieces] or [ChatDelta(content="")]
        choice = ChatEventChoice(self._index, first, logprobs=chat_logprobs(tokens))
        return self._event_of(choice) + b"".join([self._event(each) for each in others])

    def _delta(self, piece: Piece) -> ChatDelta:
        match piece:
            case Content(text):
                return ChatDelta(content=text)
            case Reasoning(text):
                return ChatDelta(reasoning_content=text)
            case ToolCall():
                call = _call(piece, self._num_calls)
                self._num_calls += 1
                return ChatDelta(tool_calls=[call])

    def _event(self, delta: ChatDelta) -> bytes:
        return self._event_of(ChatEventChoice(self._index, delta))


Words = TypeVar("Words", Content, Reasoning)


def _joined(pieces: Sequence[Piece], kind: type[Words]) -> str:
    return "".join([each.text for each in pieces if isinstance(each, kind)])


def _call(call: ToolCall, index: int | UnsetType = UNSET) -> Call:
    return Call(call.id, CalledFunction(call.name, call.arguments), index=index)


def _finish_reason(reason: FinishReason | None, has_called: bool) -> ChatFinishReason | None:  # noqa: FBT001
    return "tool_calls" if has_called and reason == "stop" else reason

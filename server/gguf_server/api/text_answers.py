"""Text answers: a prompt's continuation, after the prompt itself where that is asked for."""

from msgspec import Struct

from gguf_server.api.answers import EventOf, Streamed, Whole
from gguf_server.api.logprobs import TextLogprobs, TextLogprobsWriter, joined
from gguf_server.api.stream import TextEvent
from gguf_server.supervisor.generation import Delta
from gguf_server.wire.messages import FinishReason, TokenLogprob


class TextChoice(Struct, frozen=True):
    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: TextLogprobs | None = None


class TextAnswers:
    """``echo`` is what the answer begins with: the prompt, or nothing."""

    def __init__(self, echo: str, *, with_logprobs: bool) -> None:
        self._echo = echo
        self._with_logprobs = with_logprobs

    def whole(self, index: int) -> Whole:
        return WholeText(index, self._echo, with_logprobs=self._with_logprobs)

    def streamed(self, index: int, event_of: EventOf) -> Streamed:
        if self._with_logprobs:
            return StreamedTokens(index, self._echo, event_of)
        return StreamedText(index, self._echo, event_of)


class WholeText:
    def __init__(self, index: int, echo: str, *, with_logprobs: bool) -> None:
        self._index = index
        self._echo = echo
        self._with_logprobs = with_logprobs
        self._texts = [echo]
        self._prompt: list[TokenLogprob] = []
        self._tokens: list[TokenLogprob] = []

    def push(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self._prompt += delta.prompt
        self._tokens += delta.logprobs

    def finish(self, reason: FinishReason | None) -> TextChoice:
        logprobs = self._logprobs() if self._with_logprobs else None
        return TextChoice(self._index, "".join(self._texts), reason, logprobs)

    def _logprobs(self) -> TextLogprobs:
        writer = TextLogprobsWriter()
        return joined([writer.prompt(self._prompt, self._echo), writer.answer(self._tokens)])


class StreamedText:
    """Text alone: written without making objects."""

    def __init__(self, index: int, echo: str, event_of: EventOf) -> None:
        self._index = index
        self._echo = echo
        self._event_of = event_of
        self._event = TextEvent(lambda text: event_of(TextChoice(index, text)))

    def push(self, delta: Delta) -> bytes:
        if self._echo:
            return self._echoed() + self._event.with_text(delta.text)
        return self._event.with_text(delta.text)

    def finish(self, reason: FinishReason | None) -> bytes:
        return self._echoed() + self._event_of(TextChoice(self._index, "", reason))

    def _echoed(self) -> bytes:
        echo, self._echo = self._echo, ""
        return self._event.with_text(echo) if echo else b""


class StreamedTokens:
    """Text with log-probabilities. Those of a prompt are one event, as all of them are known only
    when the first token of the answer is."""

    def __init__(self, index: int, echo: str, event_of: EventOf) -> None:
        self._index = index
        self._echo = echo
        self._event_of = event_of
        self._writer = TextLogprobsWriter()
        self._prompt: list[TokenLogprob] = []

    def push(self, delta: Delta) -> bytes:
        self._prompt += delta.prompt
        if not (delta.text or delta.logprobs):
            return b""
        echoed = self._echoed()  # first: it moves the writer
        return echoed + self._event(delta.text, self._writer.answer(delta.logprobs))

    def finish(self, reason: FinishReason | None) -> bytes:
        return self._echoed() + self._event_of(TextChoice(self._index, "", reason))

    def _echoed(self) -> bytes:
        echo, self._echo = self._echo, ""
        if not self._prompt:
            return b""
        logprobs = self._writer.prompt(self._prompt, echo)
        self._prompt = []
        return self._event(echo, logprobs)

    def _event(self, text: str, logprobs: TextLogprobs) -> bytes:
        return self._event_of(TextChoice(self._index, text, None, logprobs))

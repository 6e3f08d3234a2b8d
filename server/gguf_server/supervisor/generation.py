"""One open request as its caller sees it: what it brings, then exactly one end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from gguf_server.errors import RequestError
from gguf_server.wire.messages import FinishReason, TokenLogprob


class Delta(NamedTuple):
    """What came since the last one: never nothing, though ``text`` may be "".

    ``prompt`` are the next tokens of a prompt whose log-probabilities were asked for, ``logprobs``
    those of the tokens generated since, which may be ahead of ``text`` or behind it.
    """

    text: str
    logprobs: Sequence[TokenLogprob] = ()
    prompt: Sequence[TokenLogprob] = ()


class Generation:
    """One sequence being generated. Leaving its ``async with`` unfinished cancels it.

    What arrives while nobody asks is joined, so a slow reader costs no more memory than the answer
    is long.
    """

    def __init__(
        self, generation_id: int, now: float, on_leave: Callable[["Generation"], None]
    ) -> None:
        self.id = generation_id
        self.num_prompt_tokens = 0
        self.num_completion_tokens = 0
        self.num_cached_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.submitted_at = now
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self._on_leave = on_leave
        self._accepted = False
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._prompt: list[TokenLogprob] = []
        self._error: RequestError | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._on_leave(self)

    async def accepted(self) -> int:
        """Number of prompt tokens, once the engine has taken the request."""
        while not self._accepted and self.finish_reason is None:
            await self._wait()
        return self.num_prompt_tokens

    async def next(self) -> Delta | None:
        """What came since the last call; None at the end. May be cancelled and called again."""
        while not (self._text or self._logprobs or self._prompt):
            if self.finish_reason is not None:
                return None
            await self._wait()
        text = "".join(self._text)
        self._text.clear()
        if not (self._logprobs or self._prompt):
            return Delta(text)  # of every token of most streams
        delta = Delta(text, self._logprobs, self._prompt)
        self._logprobs, self._prompt = [], []
        return delta

    async def __aiter__(self) -> AsyncIterator[Delta]:
        while (delta := await self.next()) is not None:
            yield delta

    @property
    def is_over(self) -> bool:
        return self._error is not None or self.finish_reason is not None

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._news.clear()
        await self._news.wait()

    # --- called by the client ----------------------------------------------------------------

    def accept(self, num_prompt_tokens: int) -> None:
        self._accepted = True
        self.num_prompt_tokens = num_prompt_tokens
        self._news.set()

    def start(self, num_cached_tokens: int, now: float) -> None:
        self.num_cached_tokens = num_cached_tokens
        self.started_at = now

    def add_prompt(self, tokens: Iterable[TokenLogprob]) -> None:
        self._prompt.extend(tokens)
        self._news.set()

    def add(
        self, text: str, num_tokens: int, now: float, logprobs: Iterable[TokenLogprob] = ()
    ) -> None:
        self.num_completion_tokens += num_tokens
        self.first_token_at = self.first_token_at or now
        self.last_token_at = now
        if text:
            self._text.append(text)
            self._news.set()
        if logprobs:
            self._logprobs.extend(logprobs)
            self._news.set()

    def finish(self, reason: FinishReason) -> None:
        assert not self.is_over
        self.finish_reason = reason
        self._news.set()

    def fail(self, error: RequestError) -> None:
        assert not self.is_over
        self._error = error
        self._news.set()

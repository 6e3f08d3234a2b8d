"""One open request as its caller sees it: text, then exactly one end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from gguf_server.errors import RequestError
from gguf_server.wire.messages import FinishReason


class Generation:
    """One sequence being generated. Leaving its ``async with`` unfinished cancels it.

    Text that arrives while nobody asks is kept as one piece, so a slow reader costs no more
    memory than the answer is long.
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
        self.is_accepted = False
        self._text: list[str] = []
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
        while not self.is_accepted and self.finish_reason is None:
            await self._wait()
        return self.num_prompt_tokens

    async def next(self) -> str | None:
        """The text since the last call; None at the end. May be cancelled and called again."""
        while not self._text:
            if self.finish_reason is not None:
                return None
            await self._wait()
        text = "".join(self._text)
        self._text.clear()
        return text

    async def __aiter__(self) -> AsyncIterator[str]:
        while (text := await self.next()) is not None:
            yield text

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
        self.is_accepted = True
        self.num_prompt_tokens = num_prompt_tokens
        self._news.set()

    def start(self, num_cached_tokens: int, now: float) -> None:
        self.num_cached_tokens = num_cached_tokens
        self.started_at = now

    def add(self, text: str, num_tokens: int, now: float) -> None:
        self.num_completion_tokens += num_tokens
        self.first_token_at = self.first_token_at or now
        self.last_token_at = now
        if text:
            self._text.append(text)
            self._news.set()

    def finish(self, reason: FinishReason) -> None:
        assert not self.is_over
        self.finish_reason = reason
        self._news.set()

    def fail(self, error: RequestError) -> None:
        assert not self.is_over
        self._error = error
        self._news.set()

"""One conversation: questions in, answers out, until it ends."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gguf_server.chat.client import ChatClient, ContextFull, Delta, NotReady
from gguf_server.chat.conversation import Conversation
from gguf_server.chat.terminal import Keyboard, Screen
from gguf_server.errors import ServerUnusable

Result = TypeVar("Result")

# A server that reports progress is waited for as long as it takes.
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 1.0


@dataclass(slots=True)
class Answer:
    """Grows while it comes; what has come is kept, whatever ends it."""

    content: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    usage: dict[str, Any] | None = None

    def take(self, delta: Delta) -> None:
        self.content += delta.content
        self.reasoning += delta.reasoning
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.usage = delta.usage or self.usage


class Session:
    """``options`` are the fields of every request: the model, the temperature."""

    def __init__(
        self,
        client: ChatClient,
        screen: Screen,
        conversation: Conversation,
        options: Mapping[str, Any],
    ) -> None:
        self._client = client
        self._screen = screen
        self._conversation = conversation
        self._options = options

    def ask(self, question: str, *, is_shown: bool = True) -> Answer:
        """Raises ``ServerUnusable`` or ``KeyboardInterrupt``; what came until then stays."""
        messages = self._conversation.ask(question)
        request = {**self._options, "messages": messages, "stream": True}
        answer = Answer()
        try:
            when_ready(
                self._client, self._screen, lambda: self._read(request, answer, is_shown=is_shown)
            )
        finally:
            self._conversation.answered(answer.content)
            self._screen.end_answer()
        return answer

    def _read(self, request: dict[str, Any], answer: Answer, *, is_shown: bool) -> None:
        with closing(self._client.answer(request)) as deltas:
            for delta in deltas:
                answer.take(delta)
                if is_shown and delta.reasoning:
                    self._screen.reasoning(delta.reasoning)
                if is_shown and delta.content:
                    self._screen.text(delta.content)

    # --- at a terminal -----------------------------------------------------------------------

    def converse(self, keyboard: Keyboard) -> None:
        """Until Ctrl-D, /exit, or Ctrl-C twice at the prompt."""
        was_interrupted = False
        while True:
            try:
                line = keyboard.question()
            except EOFError:
                self._screen.note("")
                return
            except KeyboardInterrupt:
                if was_interrupted:
                    self._screen.note("")
                    return
                was_interrupted = True
                self._screen.note("\n(Ctrl-C again or Ctrl-D leaves)")
                continue
            was_interrupted = False
            if line.startswith("/"):
                if not self._obey(line):
                    return
            elif line.strip():
                self._try(line)

    def _try(self, question: str) -> None:
        try:
            answer = self.ask(question)
        except KeyboardInterrupt:
            self._screen.note("(stopped)")
        except ContextFull as exc:
            self._screen.note(f"! {exc.message}; /clear starts anew")
        except ServerUnusable as exc:
            self._screen.note(f"! {exc.message}; /retry asks again")
        else:
            if answer.finish_reason == "length":
                self._screen.note("(stopped at the limit of tokens; /clear makes room)")

    def _obey(self, line: str) -> bool:
        """False when the conversation is over."""
        name, _, argument = line[1:].partition(" ")
        if name == "exit":
            return False
        command = _COMMANDS.get(name)
        if command is None:
            self._screen.note(f"! there is no /{name}; /help lists the commands")
        else:
            command(self, argument.strip())
        return True

    def help(self, _: str) -> None:
        self._screen.note(_HELP)

    def clear(self, _: str) -> None:
        self._conversation.clear()
        self._screen.note("(a new conversation)")

    def system(self, text: str) -> None:
        self._conversation.system = text
        self._screen.note("(the system message is set)" if text else "(no system message)")

    def retry(self, _: str) -> None:
        if question := self._conversation.take_back():
            self._try(question)
        else:
            self._screen.note("! there is no question yet")

    def save(self, name: str) -> None:
        if not name:
            self._screen.note("! /save needs the name of a file")
            return
        try:
            with Path(name).expanduser().open("x", encoding="utf-8") as file:
                file.write(self._conversation.markdown())
        except (OSError, RuntimeError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            self._screen.note(f"! {name} cannot be written: {reason}")
        else:
            self._screen.note(f"(saved to {name})")


_COMMANDS: Mapping[str, Callable[[Session, str], None]] = {
    "help": Session.help,
    "clear": Session.clear,
    "system": Session.system,
    "retry": Session.retry,
    "save": Session.save,
}

_HELP = """\
/clear         forget the conversation
/system TEXT   set the system message; without TEXT there is none
/retry         ask the last question again
/save FILE     write the conversation to a new file
/exit          leave, as Ctrl-D does
A backslash at the end of a line goes on with the next. Ctrl-C stops an answer."""


def when_ready(client: ChatClient, screen: Screen, call: Callable[[], Result]) -> Result:
    """Calls until the server no longer says that it is too early."""
    silent_since = time.monotonic()
    while True:
        try:
            return call()
        except NotReady as exc:
            progress = client.progress()
            now = time.monotonic()
            if progress:
                silent_since = now
            elif now - silent_since > _PATIENCE_SECONDS:
                raise
            screen.progress(progress or exc.message)
            time.sleep(_POLL_SECONDS if progress else exc.retry_after_seconds)

"""What has been said. Pure data; the server keeps nothing, so every request carries all of it."""

from dataclasses import dataclass, field

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Exchange:
    question: str
    answer: str


@dataclass(slots=True)
class Conversation:
    """A question that got no answer is not part of it, but may be asked again."""

    system: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    last_question: str = ""

    def ask(self, question: str) -> list[Message]:
        """The messages of the request."""
        self.last_question = question
        messages = [_message("system", self.system)] if self.system else []
        for each in self.exchanges:
            messages += [_message("user", each.question), _message("assistant", each.answer)]
        return [*messages, _message("user", question)]

    def answered(self, answer: str) -> None:
        """Also with half an answer: the user has read it and may refer to it."""
        if answer:
            self.exchanges.append(Exchange(self.last_question, answer))

    def take_back(self) -> str:
        """The last question, its answer forgotten; empty when there was none."""
        if self.exchanges and self.exchanges[-1].question == self.last_question:
            self.exchanges.pop()
        return self.last_question

    def clear(self) -> None:
        self.exchanges.clear()
        self.last_question = ""

    def markdown(self) -> str:
        parts = [f"## System\n\n{self.system}\n"] if self.system else []
        for each in self.exchanges:
            parts += [f"## Question\n\n{each.question}\n", f"## Answer\n\n{each.answer}\n"]
        return "\n".join(parts)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}

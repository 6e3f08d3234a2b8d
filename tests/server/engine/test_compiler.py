"""Constraints are compiled beside the reader thread: each is answered once, or cancelled."""

import queue
import threading
from collections.abc import Iterator

import pytest

from gguf_server.engine.compiler import Compiler
from gguf_server.engine.runner import Grammar
from gguf_server.errors import InternalError, InvalidRequest
from gguf_server.wire.messages import Constraint
from tests.fakes import FakeGrammars

GOOD = Constraint("gbnf", "good", "grammar")
IMPOSSIBLE = Constraint("gbnf", "impossible", "grammar")
SECONDS = 60


class SlowGrammars(FakeGrammars):
    """Compiles when it is let go on."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()

    def compile(self, constraint: Constraint) -> Grammar:
        self.started.set()
        assert self.go_on.wait(SECONDS)
        if constraint.text == "panic":
            raise BaseExceptionGroup("from Rust", [KeyboardInterrupt()])
        return super().compile(constraint)


@pytest.fixture
def grammars() -> Iterator[SlowGrammars]:
    made = SlowGrammars()
    yield made
    made.go_on.set()


@pytest.fixture
def answers() -> "queue.SimpleQueue[object]":
    return queue.SimpleQueue()


def test_what_can_be_compiled_is_and_what_cannot_is_refused(grammars, answers) -> None:
    compiler = Compiler(grammars)
    grammars.go_on.set()
    compiler.start(1, GOOD, answers.put, answers.put)
    compiler.start(2, IMPOSSIBLE, answers.put, answers.put)
    assert answers.get(timeout=SECONDS) == GOOD
    assert isinstance(answers.get(timeout=SECONDS), InvalidRequest)


def test_who_starts_does_not_wait(grammars, answers) -> None:
    compiler = Compiler(grammars)
    compiler.start(1, GOOD, answers.put, answers.put)
    assert grammars.started.wait(SECONDS)
    assert answers.empty()


def test_a_request_cancelled_on_the_way_is_heard_of_no_more(grammars, answers) -> None:
    compiler = Compiler(grammars)
    compiler.start(1, GOOD, answers.put, answers.put)
    compiler.start(2, IMPOSSIBLE, answers.put, answers.put)
    compiler.start(3, GOOD, answers.put, answers.put)
    assert grammars.started.wait(SECONDS)
    assert compiler.cancel(1)
    assert compiler.cancel(2)
    grammars.go_on.set()
    assert answers.get(timeout=SECONDS) == GOOD
    assert answers.empty()


def test_a_request_that_was_passed_on_is_not_here_to_be_cancelled(grammars, answers) -> None:
    compiler = Compiler(grammars)
    grammars.go_on.set()
    compiler.start(1, GOOD, answers.put, answers.put)
    answers.get(timeout=SECONDS)
    assert not compiler.cancel(1)
    assert not compiler.cancel(7)


def test_a_panic_of_the_library_is_an_answer_too(grammars, answers) -> None:
    compiler = Compiler(grammars)
    grammars.go_on.set()
    compiler.start(1, Constraint("gbnf", "panic", "grammar"), answers.put, answers.put)
    compiler.start(2, GOOD, answers.put, answers.put)
    error = answers.get(timeout=SECONDS)
    assert isinstance(error, InternalError)
    assert error.param == "grammar"
    assert answers.get(timeout=SECONDS) == GOOD

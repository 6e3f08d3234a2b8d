"""One table of errors: what the docstring draws is what the classes say."""

import re
from pathlib import Path
from typing import TypeVar

import pytest

from gguf_server import errors
from gguf_server.errors import (
    FetchFailed,
    InternalError,
    KitError,
    ModelUnavailable,
    RequestError,
    StartupError,
    StorageError,
    request_error,
    startup_error,
)

E = TypeVar("E", bound=KitError)


def descendants(cls: type[E]) -> list[type[E]]:
    """The errors below a class; one with errors below it is a group and is never raised."""
    children = cls.__subclasses__()
    below = [(child, descendants(child)) for child in children]
    return [each for child, grandchildren in below for each in (grandchildren or [child])]


EVERY_ERROR = [*descendants(RequestError), *descendants(StartupError)]


def documented() -> dict[str, tuple[str, int | None]]:
    """Name to code and exit code, as the module's docstring says."""
    line = re.compile(r"^ *x (\w+) +(\w+)(?: +exit (\d+))?$", re.MULTILINE)
    return {
        name: (code, int(number) if number else None)
        for name, code, number in line.findall(errors.__doc__ or "")
    }


def test_the_docstring_draws_every_error_with_its_code_and_exit_code() -> None:
    tree: dict[str, tuple[str, int | None]] = {
        cls.__name__: (cls.code, None) for cls in descendants(RequestError)
    }
    tree |= {cls.__name__: (cls.code, cls.exit_code) for cls in descendants(StartupError)}
    assert documented() == tree


def test_there_are_two_kinds_of_errors_and_nothing_beside_them() -> None:
    assert set(KitError.__subclasses__()) == {RequestError, StartupError}


def test_every_code_belongs_to_one_error_and_every_exit_code_to_one_group() -> None:
    codes = [cls.code for cls in EVERY_ERROR]
    assert len(codes) == len(set(codes))
    exits = [cls.exit_code for cls in StartupError.__subclasses__()]
    assert len(exits) == len(set(exits))
    assert min(exits) > 1, "0 is success, 1 is Python's own traceback"


@pytest.mark.parametrize("cls", EVERY_ERROR, ids=lambda cls: cls.__name__)
def test_an_error_shows_its_message(cls: type[KitError]) -> None:
    error = cls("what failed, on what, what to do")
    assert str(error) == error.message == "what failed, on what, what to do"


@pytest.mark.parametrize("cls", descendants(RequestError), ids=lambda cls: cls.__name__)
def test_a_code_on_the_wire_becomes_its_error(cls: type[RequestError]) -> None:
    error = request_error(cls.code, "why")
    assert type(error) is cls
    assert error.message == "why"
    assert error.param is None
    assert error.retry_after_seconds is None


@pytest.mark.parametrize("cls", descendants(StartupError), ids=lambda cls: cls.__name__)
def test_the_code_of_a_command_that_failed_becomes_its_error(cls: type[StartupError]) -> None:
    error = startup_error(cls.code, "why")
    assert type(error) is cls
    assert error.message == "why"


@pytest.mark.parametrize("code", ["", "unheard_of", "crash_loop"])
def test_a_code_that_no_request_can_have_becomes_an_internal_error(code: str) -> None:
    assert type(request_error(code, "why")) is InternalError


def test_a_request_error_may_name_a_parameter_and_when_to_come_back() -> None:
    error = errors.QueueFull("full", param="n", retry_after_seconds=3)
    assert (error.param, error.retry_after_seconds) == ("n", 3)


@pytest.mark.parametrize("group", [ModelUnavailable, FetchFailed, StorageError])
def test_every_error_about_models_is_in_their_document(group: type[StartupError]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith(f"| {group.exit_code} |")]
    codes = {each.code for each in group.__subclasses__()}
    assert set(re.findall(r"`(\w+)`", row)) == codes

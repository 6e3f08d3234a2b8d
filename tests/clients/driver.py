"""The frame of a driver: a program that asks the server through one client, in its environment.

``python -m tests.clients.drive_NAME URL MODEL`` prints what it got as JSON. Answers have one shape
whatever the client, so that they can be compared. Only the standard library is here.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

Question = Callable[[], Any]


def drive(questions_for: Callable[[str, str], dict[str, Question]]) -> None:
    url, model = sys.argv[1:]
    seen = {name: _answer(ask) for name, ask in questions_for(url, model).items()}
    sys.stdout.write(json.dumps(seen) + "\n")


def _answer(ask: Question) -> Any:
    try:
        return ask()
    except Exception as exc:  # noqa: BLE001 -- what is raised is an answer too
        names = [cls.__name__ for cls in type(exc).__mro__]
        return {"raised": names[: names.index("Exception")], "message": str(exc)}

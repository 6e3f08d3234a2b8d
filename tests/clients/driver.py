"""The frame of a driver: a program that asks the server through one client, in its environment.

``python -m tests.clients.drive_NAME URL MODEL`` prints what it got as JSON. Answers have one shape
whatever the client, so that they can be compared. Only the standard library is here.
"""

import json
import sys
from collections.abc import Callable
from typing import Any


def drive(client: Callable[[str, str], object]) -> None:
    """``client(url, model)`` has a method for each question, named as it is."""
    asker = client(*sys.argv[1:])
    names = [name for name in vars(type(asker)) if not name.startswith("_")]
    seen = {name: _answer(getattr(asker, name)) for name in names}
    sys.stdout.write(json.dumps(seen) + "\n")


def _answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as exc:  # noqa: BLE001 -- what is raised is an answer too
        names = [cls.__name__ for cls in type(exc).__mro__]
        return {"raised": names[: names.index("Exception")], "message": str(exc)}

"""Counts answers by path and class of status. Few of both, whatever clients ask for."""

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLASSES = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
_NO_ANSWER = "none"  # the client was gone first
_ELSEWHERE = "other"

CounterOf = Callable[[str, str], Callable[[], None]]


class CountResponses:
    """``counter_of`` gives what counts the answers of one path with one class of status."""

    def __init__(self, app: ASGIApp, paths: Collection[str], counter_of: CounterOf) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._count = {
            (path, status): counter_of(path, status)
            for path in (*sorted(self._paths), _ELSEWHERE)
            for status in (*_CLASSES.values(), _NO_ANSWER)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _NO_ANSWER

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = _CLASSES[message["status"] // 100]
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            self._count[self._template(scope["path"]), status]()

    def _template(self, path: str) -> str:
        """``/v1/models/{name}`` for all of its paths."""
        if path in self._paths:
            return path
        matches = (each for each in self._paths if "{" in each and path.startswith(_fixed(each)))
        return next(matches, _ELSEWHERE)


def _fixed(template: str) -> str:
    return template.partition("{")[0]

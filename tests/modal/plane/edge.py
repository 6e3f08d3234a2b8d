"""Where requests from the internet arrive, and go on to a web function as calls."""

import pickle
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.calls import Call, Calls


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def ask(
    calls: Calls, function_id: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    """A POST where there is a body, else a GET."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST" if body else "GET",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    given = api_pb2.FunctionInput(
        args=pickle.dumps(((scope,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE
    )
    call = calls.submit(function_id, given)
    request = api_pb2.Asgi(http_request=api_pb2.Asgi.HttpRequest(body=body, more_body=False))
    call.chunks_in.append(request.SerializeToString())
    return await _read(call)


async def _read(call: Call) -> Answer:
    answer = Answer()
    async for message in _messages(call):
        if message.WhichOneof("type") == "http_response_start":
            flat = list(message.http_response_start.headers)
            names, values = flat[::2], flat[1::2]
            answer.status = message.http_response_start.status
            answer.headers = {
                n.decode().lower(): v.decode() for n, v in zip(names, values, strict=True)
            }
        elif message.http_response_body.body:
            answer.pieces.append(message.http_response_body.body)
    return answer


async def _messages(call: Call) -> AsyncIterator[Any]:
    await call.done.wait()  # all chunks are there before it ends
    while not call.chunks_out.empty():
        yield api_pb2.Asgi.FromString(call.chunks_out.get_nowait())

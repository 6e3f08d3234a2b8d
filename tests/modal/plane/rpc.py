"""From parts, objects with a method for each call that they answer, to a service of gRPC."""

import inspect
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_grpc, api_pb2

_METHODS = api_pb2.DESCRIPTOR.services_by_name["ModalClient"].methods_by_name


def reply(call: str, **fields: Any) -> Any:
    """An answer to a call, by its name."""
    return message_factory.GetMessageClass(_METHODS[call].output_type)(**fields)


def missing(what: str) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, f"{what} not found")


class Ids:
    """As long as Modal's, and as unique."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers):022d}"


class Record:
    """Of all calls, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.unexpected: list[str] = []

    def named(self, call: str) -> list[Any]:
        return [request for name, request in self.calls if name == call]


def service(parts: Sequence[object], record: Record) -> Any:
    """The handlers of all calls; the first part that has a method of that name answers."""

    def handler(call: str) -> Any:
        found = [getattr(part, call) for part in parts if hasattr(part, call)]

        async def handle(_: object, stream: Any) -> None:
            request = await stream.recv_message()
            record.calls.append((call, request))
            if not found:
                record.unexpected.append(call)
                raise GRPCError(
                    Status.UNIMPLEMENTED, f"the control plane of the tests has no {call}"
                )
            async for answer in _answers(found[0](request)):
                await stream.send_message(answer)

        return handle

    names = api_grpc.ModalClientBase.__abstractmethods__
    return type("Service", (api_grpc.ModalClientBase,), {name: handler(name) for name in names})()


async def _answers(given: Any) -> AsyncIterator[Message]:
    """A method may return its answer, await it, or yield several."""
    if hasattr(given, "__aiter__"):
        async for each in given:
            yield each
    else:
        yield await given if inspect.isawaitable(given) else given

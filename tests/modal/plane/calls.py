"""Calls of functions: from who calls, to a container that asks for work, and back."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.rpc import Ids, reply

_POLL_SECONDS = 5.0  # then the other side asks again


@dataclass
class Call:
    """One input of one function. A web request has chunks both ways."""

    function_id: str
    call_id: str
    input_id: str
    index: int
    given: Any
    chunks_in: list[bytes] = field(default_factory=list)
    chunks_out: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    result: Any = None
    data_format: Any = api_pb2.DATA_FORMAT_PICKLE

    def end(self, result: Any, data_format: Any = api_pb2.DATA_FORMAT_PICKLE) -> None:
        self.result, self.data_format = result, data_format
        self.done.set()


class Calls:
    def __init__(self, ids: Ids, need_container: Callable[[str], None]) -> None:
        self._ids = ids
        self._need_container = need_container
        self._waiting: defaultdict[str, asyncio.Queue[Call]] = defaultdict(asyncio.Queue)
        self._open: dict[str, Call] = {}
        self._of_client: defaultdict[str, list[Call]] = defaultdict(list)
        self.asked_for_work: set[str] = set()  # function ids: to Modal, their containers are ready

    def submit(self, function_id: str, given: Any, index: int = 0, call_id: str = "") -> Call:
        call_id = call_id or self._ids.new("fc")
        call = Call(function_id, call_id, self._ids.new("in"), index, given)
        self._open[call.input_id] = call
        self._waiting[function_id].put_nowait(call)
        self._need_container(function_id)
        return call

    def fail(self, function_id: str, result: Any) -> None:
        """All calls of a function whose container is gone."""
        for call in self._open.values():
            if call.function_id == function_id and not call.done.is_set():
                call.end(result)

    # --- who calls -----------------------------------------------------------------------------

    def FunctionMap(self, request: Any) -> Any:
        call_id = self._ids.new("fc")
        items = [self._put(request.function_id, call_id, item) for item in request.pipelined_inputs]
        policy = api_pb2.FunctionRetryPolicy(retries=0)
        return reply(
            "FunctionMap", function_call_id=call_id, pipelined_inputs=items, retry_policy=policy
        )

    def _put(self, function_id: str, call_id: str, item: Any) -> Any:
        call = self.submit(function_id, item.input, item.idx, call_id)
        self._of_client[call_id].append(call)
        return api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=call.input_id)

    async def FunctionGetOutputs(self, request: Any) -> Any:
        [call] = self._of_client[request.function_call_id]
        try:
            await asyncio.wait_for(call.done.wait(), min(request.timeout, _POLL_SECONDS))
        except TimeoutError:
            return reply("FunctionGetOutputs", num_unfinished_inputs=1)
        output = api_pb2.FunctionGetOutputsItem(
            idx=call.index, input_id=call.input_id, result=call.result, data_format=call.data_format
        )
        return reply("FunctionGetOutputs", outputs=[output])

    # --- who works -----------------------------------------------------------------------------

    async def FunctionGetInputs(self, request: Any) -> Any:
        self.asked_for_work.add(request.function_id)
        waiting = self._waiting[request.function_id]
        try:
            call = await asyncio.wait_for(waiting.get(), _POLL_SECONDS)
        except TimeoutError:
            return reply("FunctionGetInputs")
        item = api_pb2.FunctionGetInputsItem(
            input_id=call.input_id, input=call.given, function_call_id=call.call_id
        )
        return reply("FunctionGetInputs", inputs=[item])

    def FunctionPutOutputs(self, request: Any) -> Any:
        for output in request.outputs:
            self._open[output.input_id].end(output.result, output.data_format)
        return reply("FunctionPutOutputs")

    # --- a request's body, an answer's -----------------------------------------------------------

    async def FunctionCallGetDataIn(self, request: Any) -> AsyncIterator[Any]:
        call = self._by_call_id(request.function_call_id)
        for index, chunk in enumerate(call.chunks_in, start=1):
            if index > request.last_index:
                yield api_pb2.DataChunk(
                    data_format=api_pb2.DATA_FORMAT_ASGI, data=chunk, index=index
                )
        await call.done.wait()

    def FunctionCallPutDataOut(self, request: Any) -> Any:
        call = self._by_call_id(request.function_call_id)
        for chunk in request.data_chunks:
            call.chunks_out.put_nowait(chunk.data)
        return reply("FunctionCallPutDataOut")

    def _by_call_id(self, call_id: str) -> Call:
        [call] = [call for call in self._open.values() if call.call_id == call_id]
        return call

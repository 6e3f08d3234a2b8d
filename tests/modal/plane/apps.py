"""Apps: made, published, and what they print."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.rpc import Ids, reply

BUILDER = "2025.06"  # of images; from here on Modal installs nothing into them


class Apps:
    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._deployed: dict[str, str] = {}
        self.published: dict[str, Any] = {}
        self.ended: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._lines: defaultdict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)

    def of_function(self, function_id: str) -> str:
        return next(
            app_id
            for app_id, app in self.published.items()
            if function_id in app.function_ids.values()
        )

    def say(self, app_id: str, line: str) -> None:
        """What a container prints reaches the user through here."""
        self._lines[app_id].put_nowait(line)

    def EnvironmentGetOrCreate(self, request: Any) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name="main", settings=settings)
        return reply("EnvironmentGetOrCreate", environment_id="en-main", metadata=metadata)

    def AppGetByDeploymentName(self, request: Any) -> Any:
        return reply("AppGetByDeploymentName", app_id=self._deployed.get(request.name, ""))

    def AppCreate(self, request: Any) -> Any:
        return reply("AppCreate", app_id=self._ids.new("ap"), app_page_url="http://127.0.0.1/app")

    def AppGetLayout(self, request: Any) -> Any:
        published = self.published.get(request.app_id) or api_pb2.AppPublishRequest()
        layout = api_pb2.AppLayout(function_ids=published.function_ids)
        return reply("AppGetLayout", app_layout=layout)

    def AppPublish(self, request: Any) -> Any:
        self.published[request.app_id] = request
        if request.name:
            self._deployed[request.name] = request.app_id
        return reply("AppPublish", url="http://127.0.0.1/app", deployed_at=time.time())

    def AppHeartbeat(self, request: Any) -> Any:
        return reply("AppHeartbeat")

    def TaskList(self, request: Any) -> Any:
        return reply("TaskList")

    def AppClientDisconnect(self, request: Any) -> Any:
        self.ended[request.app_id].set()
        return reply("AppClientDisconnect")

    async def AppGetLogs(self, request: Any) -> AsyncIterator[Any]:
        """Open until the client says that it is done; without an end it would wait for one."""
        lines, ended = self._lines[request.app_id], self.ended[request.app_id]
        while not (ended.is_set() and lines.empty()):
            line = asyncio.ensure_future(lines.get())
            end = asyncio.ensure_future(ended.wait())
            await asyncio.wait({line, end}, return_when=asyncio.FIRST_COMPLETED)
            end.cancel()
            if line.done():
                yield api_pb2.TaskLogsBatch(
                    entry_id=self._ids.new("lo"), items=[_logged(line.result())]
                )
            line.cancel()
        yield api_pb2.TaskLogsBatch(app_done=True)


def _logged(line: str) -> Any:
    return api_pb2.TaskLogs(data=line, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT)

"""Containers of functions: Modal's own runtime, started from what the client sent."""

import itertools
import subprocess
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.apps import Apps
from tests.modal.plane.functions import Functions
from tests.modal.plane.rpc import Ids, reply
from tests.modal.plane.secret_store import Secrets
from tests.modal.plane.sources import Sources
from tests.modal.plane.volumes import Volumes

COMMAND = ("python", "-m", "modal._container_entrypoint")
ARGUMENTS = "arguments"  # the file that the runtime reads


@dataclass(frozen=True)
class Recipe:
    """All that a container is made of. ``directory`` has ``ARGUMENTS`` and, below ``root``, what
    the client shipped; ``volumes`` are by the path where they are mounted."""

    directory: Path
    environment: Mapping[str, str]
    volumes: Mapping[str, "Mounted"]


@dataclass(frozen=True)
class Mounted:
    name: str
    read_only: bool


Launch = Callable[[Recipe], "subprocess.Popen[str]"]


@dataclass
class Container:
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def log(self) -> str:
        return "".join(self.lines)


class Containers:
    """``launch`` starts one; without it there are none."""

    def __init__(
        self,
        ids: Ids,
        parts: tuple[Apps, Functions, Sources, Volumes, Secrets],
        directory: Path,
    ) -> None:
        self._ids = ids
        self._apps, self._functions, self._sources, self._volumes, self._secrets = parts
        self._directory = directory
        self._numbers = itertools.count()
        self._loop: AbstractEventLoop | None = None
        self.launch: Launch | None = None
        self.ended: Callable[[str, Any], None] = lambda _id, _result: None
        self.of_function: dict[str, Container] = {}
        self._followers: list[threading.Thread] = []
        self.started: list[Container] = []
        self.results: list[Any] = []

    def need(self, function_id: str) -> None:
        if function_id not in self.of_function and self.launch:
            self.start(function_id)

    def start(self, function_id: str) -> Container:
        assert self.launch is not None, "this plane starts no containers"
        container = Container(self.launch(self._recipe(function_id)))
        self.of_function[function_id] = container
        self.started.append(container)
        app_id = self._apps.of_function(function_id)
        follower = threading.Thread(target=self._follow, args=(function_id, app_id, container))
        self._followers.append(follower)
        follower.start()
        return container

    def stop(self) -> None:
        for container in self.started:
            container.process.kill()
        for follower in self._followers:
            follower.join()

    def bind(self, loop: AbstractEventLoop) -> None:
        self._loop = loop

    def _follow(self, function_id: str, app_id: str, container: Container) -> None:
        assert self._loop is not None
        assert container.process.stdout is not None
        with container.process.stdout as lines:
            for line in lines:
                container.lines.append(line)
                self._loop.call_soon_threadsafe(self._apps.say, app_id, line)
        self._loop.call_soon_threadsafe(self._gone, function_id, container.process.wait())

    def _gone(self, function_id: str, code: int) -> None:
        self.of_function.pop(function_id, None)
        why = (
            self.results[-1] if self.results else _failure(f"the container ended with code {code}")
        )
        self.ended(function_id, why)

    def _recipe(self, function_id: str) -> Recipe:
        definition = self._functions.data[function_id].ranked_functions[0].function
        app_id = self._apps.of_function(function_id)
        task_id = self._ids.new("ta")
        directory = self._directory / f"{next(self._numbers)}"
        self._sources.unpack(definition.mount_ids, directory / "root")
        arguments = api_pb2.ContainerArguments(
            task_id=task_id,
            function_id=function_id,
            app_id=app_id,
            environment_name="main",
            function_def=definition,
            app_layout=self._layout(app_id, definition),
        )
        (directory / ARGUMENTS).write_bytes(arguments.SerializeToString())
        values = [self._secrets.values[secret_id] for secret_id in definition.secret_ids]
        merged = {name: text for each in values for name, text in each.items()}
        runtime = {"MODAL_IS_REMOTE": "1", "MODAL_TASK_ID": task_id, "MODAL_LOGLEVEL": "WARNING"}
        return Recipe(directory, merged | runtime, self._mounted(definition))

    def _mounted(self, definition: Any) -> dict[str, Mounted]:
        names = {volume_id: name for name, volume_id in self._volumes.names.items()}
        return {
            mount.mount_path: Mounted(names[mount.volume_id], mount.read_only)
            for mount in definition.volume_mounts
        }

    def _layout(self, app_id: str, definition: Any) -> Any:
        """What an app's container is told about the objects that its functions refer to."""
        ids = self._apps.published[app_id].function_ids
        layout = api_pb2.AppLayout(function_ids=ids)
        for function_id in ids.values():
            handle = self._functions.handle(function_id)
            layout.objects.add(object_id=function_id, function_handle_metadata=handle)
        for name, volume_id in self._volumes.names.items():
            metadata = api_pb2.VolumeMetadata(name=name)
            layout.objects.add(object_id=volume_id, volume_metadata=metadata)
        for object_id in (definition.image_id, *definition.secret_ids):
            layout.objects.add(object_id=object_id)
        return layout

    # --- what a container says -------------------------------------------------------------------

    def ContainerHello(self, request: Any) -> Any:
        return reply("ContainerHello")

    def ContainerHeartbeat(self, request: Any) -> Any:
        return reply("ContainerHeartbeat")

    def ContainerStop(self, request: Any) -> Any:
        return reply("ContainerStop")

    def FunctionGetDynamicConcurrency(self, request: Any) -> Any:
        return reply("FunctionGetDynamicConcurrency", concurrency=request.target_concurrency or 1)

    def TaskResult(self, request: Any) -> Any:
        """A container that cannot start says why; the calls that wait for it fail with that."""
        self.results.append(request.result)
        return reply("TaskResult")

    def TunnelStart(self, request: Any) -> Any:
        return reply("TunnelStart", host="tunnel.example.com", port=443)

    def TunnelStop(self, request: Any) -> Any:
        return reply("TunnelStop", exists=True)


def _failure(why: str) -> Any:
    status = api_pb2.GenericResult.GENERIC_STATUS_FAILURE
    return api_pb2.GenericResult(status=status, exception=why)

"""Volumes by name; which there are is the test's to say."""

from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.rpc import Ids, missing, reply


class Volumes:
    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.names: dict[str, str] = {}
        self.committed: list[str] = []

    def add(self, name: str) -> str:
        return self.names.setdefault(name, self._ids.new("vo"))

    def VolumeGetOrCreate(self, request: Any) -> Any:
        name = request.deployment_name
        create = request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        if name not in self.names and not create:
            raise missing(f"Volume '{name}'")
        return reply(
            "VolumeGetOrCreate",
            volume_id=self.add(name),
            version=request.version or api_pb2.VOLUME_FS_VERSION_V1,
            metadata=api_pb2.VolumeMetadata(name=name),
        )

    def VolumeCommit(self, request: Any) -> Any:
        self.committed.append(request.volume_id)
        return reply("VolumeCommit", skip_reload=True)

    def VolumeReload(self, request: Any) -> Any:
        return reply("VolumeReload")

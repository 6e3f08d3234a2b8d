"""Source files that the client ships with an app."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.rpc import Ids, reply


class Sources:
    """Files of 4 MiB and more would come another way, and are refused: no model travels so."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.mounts: dict[str, Any] = {}
        self._contents: dict[str, bytes] = {}

    def names(self, mount_ids: Iterable[str]) -> list[str]:
        return [file.filename for mount_id in mount_ids for file in self.mounts[mount_id].files]

    def unpack(self, mount_ids: Iterable[str], root: Path) -> None:
        for mount_id in mount_ids:
            for file in self.mounts[mount_id].files:
                path = root / file.filename.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._contents[file.sha256_hex])

    def MountGetOrCreate(self, request: Any) -> Any:
        mount_id = self._ids.new("mo")
        self.mounts[mount_id] = request
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
        return reply("MountGetOrCreate", mount_id=mount_id, handle_metadata=metadata)

    def MountBatchedCheckExistence(self, request: Any) -> Any:
        asked = request.sha256_hex_hashes
        lacking = [each for each in asked if each not in self._contents]
        return reply("MountBatchedCheckExistence", missing_sha256_hex_hashes=lacking)

    def MountPutFile(self, request: Any) -> Any:
        self._contents[request.sha256_hex] = request.data
        return reply("MountPutFile", exists=True)

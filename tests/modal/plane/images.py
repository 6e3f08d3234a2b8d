"""Images: asked for, and at once built."""

from collections.abc import AsyncIterator
from typing import Any

from modal_proto import api_pb2

from tests.modal.plane.apps import BUILDER
from tests.modal.plane.rpc import Ids, missing, reply


class Images:
    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.images: dict[str, Any] = {}

    def dockerfile(self, image_id: str) -> list[str]:
        """All lines, those of the images below first."""
        image = self.images[image_id]
        below = [line for base in image.base_images for line in self.dockerfile(base.image_id)]
        return [*below, *image.dockerfile_commands]

    def ImageGetOrCreate(self, request: Any) -> Any:
        known = {image.SerializeToString(): image_id for image_id, image in self.images.items()}
        image_id = known.get(request.image.SerializeToString()) or self._ids.new("im")
        self.images[image_id] = request.image
        return reply("ImageGetOrCreate", image_id=image_id)  # no result: the client joins the build

    def ImageGetByTag(self, request: Any) -> Any:
        raise missing("Image")

    async def ImageJoinStreaming(self, request: Any) -> AsyncIterator[Any]:
        success = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        metadata = api_pb2.ImageMetadata(image_builder_version=BUILDER)
        yield api_pb2.ImageJoinStreamingResponse(result=success, metadata=metadata)

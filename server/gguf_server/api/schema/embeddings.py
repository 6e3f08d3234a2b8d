"""``/v1/embeddings``."""

from typing import ClassVar, Literal

from pydantic import Field

from gguf_server.api.schema.common import MAX_INT32, RequestModel
from gguf_server.api.schema.prompts import Prompts


class EmbeddingsRequest(RequestModel):
    NO_EFFECT: ClassVar[frozenset[str]] = frozenset({"user"})

    input: Prompts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, le=MAX_INT32)

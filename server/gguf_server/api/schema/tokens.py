"""``/tokenize`` and ``/detokenize``."""

from typing import Annotated

from pydantic import FailFast

from gguf_server.api.schema.common import RequestModel, Text, TokenId


class TokenizeRequest(RequestModel):
    content: Text
    add_special: bool = False
    parse_special: bool = True


class DetokenizeRequest(RequestModel):
    # One wrong item is enough: an error for each of a million would keep the event loop busy.
    tokens: Annotated[list[TokenId], FailFast()]

"""What a structured answer is read into. Every client brings pydantic along."""

from typing import Literal

from pydantic import BaseModel


class Sky(BaseModel):
    """The sky."""

    color: Literal["blue", "grey"]
    clouds: Literal[0, 1, 2]

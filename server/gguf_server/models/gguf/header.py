"""A GGUF header as plain data."""

from dataclasses import dataclass

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array that was walked over and not kept: strings, or too many numbers."""

    type_name: str
    length: int


Value = Scalar | tuple[Scalar, ...] | LongArray


@dataclass(frozen=True, slots=True)
class Tensor:
    """``offset`` is relative to the start of the data, ``dimensions`` innermost first."""

    name: str
    dimensions: tuple[int, ...]
    type_name: str
    offset: int
    size_bytes: int

    @property
    def num_elements(self) -> int:
        product = 1
        for each in self.dimensions:
            product *= each
        return product


@dataclass(frozen=True, slots=True)
class Header:
    """``data_offset`` is where the first tensor starts, so the header's own length, padded."""

    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """A string of the metadata; empty where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def whole(self, key: str) -> int | None:
        """A whole number of the metadata."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

"""A driver library in place of NVIDIA's, for processes that are started with its environment."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("fake_nvml.c")


@dataclass(frozen=True, slots=True)
class FakeDriver:
    """What it is told while it runs counts from its next answer on."""

    directory: Path

    @classmethod
    def build(cls, directory: Path) -> "FakeDriver":
        library = directory / "libnvidia-ml.so.1"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
        driver = cls(directory)
        driver.tell("work")
        return driver

    def tell(self, word: str) -> None:
        """``work``, ``lose`` the GPUs, ``hang``, ``no-gpu``, ``no-driver``."""
        self._orders.write_text(word)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.directory), "FAKE_NVML": str(self._orders)}

    @property
    def _orders(self) -> Path:
        return self.directory / "orders"

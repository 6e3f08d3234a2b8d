"""GPU memory through the real NVML client, on a driver library that can misbehave."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.server.supervisor.fake_nvml import FakeDriver

_HANG_SECONDS = 60.0
BOTH = {
    'gguf_server_gpu_memory_used_bytes{device="0",name="Fake GPU"}': 1 << 30,
    'gguf_server_gpu_memory_used_bytes{device="1",name="Fake GPU"}': 2 << 30,
    'gguf_server_gpu_memory_total_bytes{device="0",name="Fake GPU"}': 80 << 30,
    'gguf_server_gpu_memory_total_bytes{device="1",name="Fake GPU"}': 80 << 30,
}


class Scraped:
    """``gpu_scrapes`` as a process: a library that hangs must not hang the tests."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.supervisor.gpu_scrapes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def scrape(self, order: str = "") -> dict[str, float]:
        assert self._process.stdin
        assert self._process.stdout
        print(order, file=self._process.stdin, flush=True)
        lines = iter(self._process.stdout.readline, "\n")
        samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {series: float(value) for series, _, value in samples}

    def scrape_until(self, expected: Mapping[str, float]) -> None:
        deadline = time.monotonic() + _HANG_SECONDS
        while (seen := self.scrape()) != expected:
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)

    def end(self) -> list[str]:
        """Close it; the lines it logged."""
        _, errors = self._process.communicate(timeout=_HANG_SECONDS)
        assert self._process.returncode == 0
        return errors.splitlines()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def driver(tmp_path: Path) -> FakeDriver:
    return FakeDriver.build(tmp_path)


@pytest.fixture
def scraped(driver: FakeDriver) -> Iterator[Scraped]:
    process = Scraped(driver.environment)
    yield process
    process.kill()


def test_the_memory_of_each_gpu_is_exported(scraped: Scraped) -> None:
    scraped.scrape_until(BOTH)
    assert scraped.end() == []


def test_a_lost_gpu_ends_the_measuring_with_one_line(scraped: Scraped, driver: FakeDriver) -> None:
    scraped.scrape_until(BOTH)
    driver.tell("lose")
    scraped.scrape_until({})
    driver.tell("work")
    assert scraped.scrape() == {}
    [line] = scraped.end()
    assert line.startswith("WARNING GPU memory is no longer measured")
    assert "lost" in line


def test_a_driver_that_hangs_holds_up_neither_scrapes_nor_the_end(
    scraped: Scraped, driver: FakeDriver
) -> None:
    scraped.scrape_until(BOTH)
    driver.tell("hang")
    scraped.scrape_until({})  # what was read long ago is not told for ever
    assert scraped.end() == []


@pytest.mark.parametrize("word", ["no-gpu", "no-driver"])
def test_without_a_gpu_there_is_nothing_to_tell(driver: FakeDriver, word: str) -> None:
    driver.tell(word)
    _assert_silent(Scraped(driver.environment))


def test_without_a_driver_library_there_is_nothing_to_tell(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").touch()  # hides the one that a GPU machine has
    _assert_silent(Scraped({"LD_LIBRARY_PATH": str(tmp_path)}))


def _assert_silent(scraped: Scraped) -> None:
    assert scraped.scrape("last") == {}
    assert scraped.end() == []

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.page_cache import drop, fill, resident_share

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def is_in_memory(folder: Path) -> bool:
    """There, nothing can be taken out of the page cache."""
    command = ["stat", "-f", "-c", "%T", str(folder)]
    return subprocess.run(command, check=True, capture_output=True).stdout == b"tmpfs\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (3 * mmap.PAGESIZE + 1))
    return path


def test_a_file_that_was_read_is_resident_to_its_last_page(file: Path) -> None:
    fill(file)
    assert resident_share(file) == 1.0


def test_a_file_that_was_dropped_is_not_and_looking_does_not_bring_it_back(file: Path) -> None:
    if is_in_memory(file.parent):
        pytest.skip("the folder is in memory")
    drop(file)
    assert resident_share(file) == 0.0
    assert resident_share(file) == 0.0


def test_a_page_that_is_read_alone_is_a_share(tmp_path: Path) -> None:
    if is_in_memory(tmp_path):
        pytest.skip("the folder is in memory")
    path = tmp_path / "large"
    path.write_bytes(b"x" * (64 << 20))
    drop(path)
    with path.open("rb", buffering=0) as read:
        read.read(1)
    share = resident_share(path)
    assert share is not None
    assert 0.0 < share < 0.5


def test_an_empty_file_has_no_share(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert resident_share(path) is None

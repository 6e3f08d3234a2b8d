"""Room is asked for before the first byte."""

from pathlib import Path

import pytest

from gguf_server.errors import DiskFull
from gguf_server.models.store.space import check_space, free_bytes
from tests.mounts import small_disk


def test_too_little_room_says_how_much_more_is_needed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4_100_096):
        (tmp_path / "disk" / "other").write_bytes(bytes(4096))
        directory = tmp_path / "disk" / "models" / "not-yet-there"
        assert free_bytes(directory) == 4_096_000
        check_space(directory, 4_096_000)
        with pytest.raises(DiskFull, match=r"^5\.1 MB are needed in .* and 4\.1 MB are free: make"):
            check_space(directory, 5_096_000)

"""Several processes, killed and in each other's way: bytes are moved once."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from gguf_server.errors import StorageUnusable
from gguf_server.models.transfer import lease as leases
from gguf_server.models.transfer.claim import STALE_SECONDS, Heart, boot_id, is_stale
from gguf_server.models.transfer.lease import hold, holder_of, is_held
from gguf_server.models.transfer.ledger import peek
from tests.server.models.transfer.conftest import Shop

HANG_SECONDS = 120.0
NUM_KILLS = 20
ROOT = Path(__file__).parents[4]


@contextmanager
def fetching(shop: Shop) -> Iterator["subprocess.Popen[str]"]:
    """Another process that fetches the same file into the same place."""
    about = {
        "url": shop.url,
        "path": shop.file.path,
        "size_bytes": shop.file.size_bytes,
        "sha256": shop.file.sha256,
        "directory": str(shop.root),
    }
    command = [sys.executable, "-m", "tests.server.models.transfer.worker", json.dumps(about)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def arrived(shop: Shop) -> int:
    """As the ledger says."""
    return max((peek(each, boot_id())[0] for each in (shop.root / ".partial").glob("*")), default=0)


def _has_come(shop: Shop, process: "subprocess.Popen[str]", point: int) -> bool:
    return arrived(shop) >= point or process.poll() is not None


def test_twenty_kills_cost_no_more_than_what_was_under_way(big_shop: Shop) -> None:
    shop = big_shop
    shop.hub.bytes_per_second = 12_000_000
    points = sorted(random.Random(7).sample(range(1_000_000, 63_000_000), NUM_KILLS))
    for point in points:
        with fetching(shop) as process:
            until(partial(_has_come, shop, process, point))
            assert process.poll() is None, "it ended before its time"
            process.kill()
    shop.fetch()
    assert shop.num_bytes_moved <= 1.1 * len(shop.content)


def test_two_processes_move_the_file_once(shop: Shop) -> None:
    shop.hub.bytes_per_second = 4_000_000
    with fetching(shop) as one, fetching(shop) as other:
        assert (one.wait(HANG_SECONDS), other.wait(HANG_SECONDS)) == (0, 0)
    assert shop.target.read_bytes() == shop.content
    assert shop.num_bytes_moved == len(shop.content)


def test_who_waits_goes_on_where_a_killed_one_stopped(shop: Shop) -> None:
    shop.hub.bytes_per_second = 1_000_000
    with fetching(shop) as one:
        until(lambda: arrived(shop) > 1_000_000)
        with fetching(shop) as other:
            one.kill()
            assert other.wait(HANG_SECONDS) == 0
    assert shop.target.read_bytes() == shop.content
    assert shop.num_bytes_moved < 1.1 * len(shop.content)


def test_an_interrupted_process_ends_at_once_and_frees_its_lease(shop: Shop) -> None:
    shop.hub.bytes_per_second = 500_000
    with fetching(shop) as process:
        until(lambda: arrived(shop) > 200_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(HANG_SECONDS) != 0
    assert not (shop.root / ".lease").exists()
    shop.hub.bytes_per_second = 0
    shop.fetch()
    assert shop.num_bytes_moved < 1.1 * len(shop.content)


def test_after_a_power_cut_only_what_was_flushed_counts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same partial file, seen after a restart of the machine, or from another one."""
    shop.hub.bytes_per_second = 1_000_000
    with fetching(shop) as process:
        until(lambda: arrived(shop) > 1_000_000)
        process.kill()
    [file] = (shop.root / ".partial").iterdir()
    os.utime(file, (1, 1))
    (shop.root / ".lease").unlink(missing_ok=True)
    monkeypatch.setattr("gguf_server.models.transfer.partial.boot_id", lambda: "another")
    shop.hub.bytes_per_second = 0
    shop.hub.record.clear()
    shop.fetch()
    assert shop.num_bytes_moved > len(shop.content) - 1_000_000, "nothing had been flushed yet"


# --- the lease ---------------------------------------------------------------------------------


def test_a_lease_is_held_by_one_and_says_by_whom(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    assert not is_held(path)
    with hold(path, lambda _: None) as lease:
        assert is_held(path)
        assert holder_of(path).writer == lease.writer
        assert holder_of(path).pid == os.getpid()
    assert not path.exists()


def test_who_waits_is_told_for_whom(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    seen: list[int] = []
    with hold(path, lambda _: None) as first:

        def waiting(holder: leases.Holder) -> None:
            seen.append(holder.pid)
            raise KeyError(holder.writer)

        with pytest.raises(KeyError, match=first.writer), hold(path, waiting):
            pass
    assert seen == [os.getpid()]


def test_a_lease_of_another_machine_is_free_once_nobody_touched_it_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lease"
    with hold(path, lambda _: None):
        monkeypatch.setattr(leases, "boot_id", lambda: "another")
        monkeypatch.setattr("gguf_server.models.transfer.claim.boot_id", lambda: "another")
        assert is_held(path)
        old = time.time() - 2 * STALE_SECONDS
        os.utime(path, (old, old))
        assert is_stale(path)
        assert not is_held(path)
        with hold(path, lambda _: pytest.fail("it waited")) as mine:
            assert holder_of(path).writer == mine.writer


def test_a_damaged_lease_is_waited_for_until_it_is_stale(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    path.write_text("?")
    assert is_held(path)
    os.utime(path, (1, 1))
    with hold(path, lambda _: pytest.fail("it waited")):
        assert is_held(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    os.mkfifo(path)
    assert not is_held(path)
    with pytest.raises(StorageUnusable, match="is no lease of ours; remove it"), hold(path, fail):
        pass


def test_of_those_who_wait_for_a_stale_lease_one_gets_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    holders: list[str] = []
    most: list[int] = []

    def one() -> None:
        with hold(path, lambda _: None) as lease:
            holders.append(lease.writer)
            most.append(len(holders))
            time.sleep(0.01)
            holders.remove(lease.writer)

    for _ in range(10):
        path.write_text('{"writer":"gone","boot_id":"another"}')
        os.utime(path, (1, 1))
        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 1
    assert len(most) == 40


def test_who_takes_a_lease_over_goes_on_where_its_owner_was_silenced(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is gone: its last bytes came a few seconds after the last beat of its heart."""
    shop.hub.bytes_per_second = 1_000_000
    with fetching(shop) as process:
        until(lambda: arrived(shop) > 1_000_000)
        process.kill()
        process.wait()
    now = time.time()
    [file] = (shop.root / ".partial").iterdir()
    os.utime(shop.root / ".lease", (now - STALE_SECONDS - 1, now - STALE_SECONDS - 1))
    os.utime(file, (now - STALE_SECONDS + 3, now - STALE_SECONDS + 3))
    for name in ("lease", "claim"):
        monkeypatch.setattr(f"gguf_server.models.transfer.{name}.boot_id", lambda: "another")
    shop.hub.bytes_per_second = 0
    shop.hub.record.clear()
    shop.fetch()
    assert shop.num_bytes_moved < len(shop.content) - 900_000


def fail(_: object) -> None:
    pytest.fail("it waited")


def test_a_heart_that_missed_beats_does_not_recover() -> None:
    now = [0.0]
    heart = Heart(lambda: now[0])
    now[0] = STALE_SECONDS / 3
    heart.beat()
    assert heart.is_regular
    now[0] += STALE_SECONDS
    heart.beat()
    assert not heart.is_regular

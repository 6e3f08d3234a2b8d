"""One file over a bad network, into a bad place: it arrives whole, or an error says why not."""

import threading
from pathlib import Path
from typing import Any

import pytest

from gguf_server.errors import BrokenDownload, DiskFull, HubUnreachable, StartupError
from gguf_server.models.retry import MAX_FAILURES
from gguf_server.models.transfer import claim, lease, partial
from tests.hub.faults import Fault
from tests.mounts import small_disk
from tests.server.models.transfer.conftest import Shop, shop_of


def test_a_file_arrives_with_its_hash_and_nothing_is_moved_twice(shop: Shop) -> None:
    reports = shop.fetch()
    assert shop.num_bytes_moved == len(shop.content)
    assert reports == sorted(reports)
    assert reports[-1] == len(shop.content)


def test_several_connections_are_used(shop: Shop) -> None:
    shop.fetch()
    ranges = [each.range for each in shop.hub.record.requests]
    assert len(ranges) == 5  # one for each piece of a megabyte


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", num_bytes=300_000),
        Fault("cut", num_bytes=0, times=3),
        Fault("status", status=503),
        Fault("status", status=429, retry_after_seconds="0"),
        Fault("status", status=500, times=3),
        Fault("status", status=403),
        Fault("status", status=404),
        Fault("wrong_range"),
        Fault("ignores_range"),
        Fault("ignores_range", times=-1),
        Fault("empty"),
        Fault("other_page"),
        Fault("endless"),
        Fault("endless", times=-1),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status} x{fault.times}",
)
def test_a_fault_that_passes_is_survived(shop: Shop, fault: Fault) -> None:
    shop.hub.faults.plan(fault)
    shop.fetch()


def test_a_server_without_ranges_gives_the_file_once(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("ignores_range", times=-1))
    shop.fetch(connections=1)
    assert shop.num_bytes_moved == len(shop.content)


def test_a_cut_connection_costs_nothing_that_had_arrived(shop: Shop) -> None:
    shop.hub.faults.plan(*[Fault("cut", num_bytes=400_000) for _ in range(5)])
    shop.fetch()
    assert shop.num_bytes_moved == len(shop.content)


def test_wrong_bytes_are_found_and_fetched_again(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("wrong_bytes"))
    shop.fetch()
    assert shop.num_bytes_moved == 2 * len(shop.content)


def test_bytes_that_stay_wrong_are_an_error_and_nothing_is_left_behind(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("wrong_bytes", times=-1))
    with pytest.raises(BrokenDownload, match="not what the hub's record says, twice: sha256"):
        shop.fetch()
    assert not shop.target.exists()
    assert list((shop.root / ".partial").iterdir()) == []


def test_another_etag_midway_starts_the_file_over(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("other_etag", after=2))
    shop.fetch(connections=1)
    assert shop.num_bytes_moved >= len(shop.content)


def test_a_server_that_never_recovers_is_an_error_that_says_what_is_kept(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("status", status=503, times=-1, after=2))
    with pytest.raises(HubUnreachable, match=r"answered 503; 2\.1 MB of 5\.0 MB are here and kept"):
        shop.fetch(connections=1)
    assert len([each for each in shop.hub.record.requests if each.status == 503]) > MAX_FAILURES
    shop.hub.faults.clear()
    shop.fetch()
    assert shop.num_bytes_moved == len(shop.content)


@pytest.mark.parametrize(
    ("kind", "why"),
    [("empty", "its answer was empty"), ("other_page", "it sent 26 bytes of something else")],
)
def test_answers_without_the_file_are_asked_for_a_few_times_only(
    shop: Shop, kind: Any, why: str
) -> None:
    shop.hub.faults.plan(Fault(kind, times=-1))
    with pytest.raises(HubUnreachable, match=f"cannot be fetched from 127.0.0.2: {why}; 0 B of"):
        shop.fetch()
    assert len(shop.hub.record.requests) < 10 * MAX_FAILURES


def test_what_is_waited_for_is_told_until_it_comes(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("status", status=503, retry_after_seconds="0", times=2))
    told: list[str] = []
    shop.fetch(connections=1, notice=told.append)
    assert told[0].startswith("127.0.0.2: it answered 503, failure 1; again in ")
    assert told[-1] == ""


def test_a_hub_that_is_gone_is_an_error_too(shop: Shop) -> None:
    url = shop.url
    shop.hub.vanish()
    with pytest.raises(HubUnreachable, match="ConnectError"):
        shop.fetch()
    assert url


def test_a_connection_that_hangs_is_left_when_the_fetch_ends(shop: Shop) -> None:
    shop.hub.faults.plan(Fault("stalled"), Fault("status", status=503, times=-1))
    with pytest.raises(HubUnreachable):
        shop.fetch(connections=2)
    assert threading.active_count() < 50


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    for shop in shop_of(tmp_path, 0):
        shop.fetch()


def test_a_full_disk_is_an_error_and_the_next_attempt_goes_on(shop: Shop) -> None:
    root = shop.root
    with small_disk(root / "disk", 3_000_000) as disk:
        shop.root = root / "disk"
        with pytest.raises(DiskFull, match=r"is full: .* more are needed for m-Q8_0\.gguf"):
            shop.fetch()
        moved = shop.num_bytes_moved
        disk.resize(8_000_000)
        shop.fetch()
        assert shop.num_bytes_moved < moved + len(shop.content) - 1_500_000
        shop.root = root


def test_with_broken_locks_bytes_are_wasted_and_nothing_is_corrupted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every lock is granted and every lease looks free, as on some network file systems."""
    monkeypatch.setattr(claim, "lock", lambda _: True)
    monkeypatch.setattr(partial, "lock", lambda _: True)
    monkeypatch.setattr(lease, "lock", lambda _: True)
    monkeypatch.setattr(lease, "_is_abandoned", lambda _: True)
    faults: list[BaseException] = []

    def one() -> None:
        try:
            from tests.server.models.transfer.worker import main  # noqa: PLC0415

            main(shop.url, shop.file.path, shop.file.size_bytes, shop.file.sha256, str(shop.root))
        except BaseException as exc:  # noqa: BLE001
            faults.append(exc)

    shop.hub.bytes_per_second = 3_000_000
    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.target.read_bytes() == shop.content
    if faults:  # a partial file may be taken from under a writer, who then says so
        assert all(isinstance(each, StartupError) for each in faults), faults


def test_a_pause_as_long_as_others_wait_ends_the_writing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was suspended must not write into what another may have taken over."""
    monkeypatch.setattr(claim.Heart, "is_regular", False)
    with pytest.raises(HubUnreachable, match="was stopped for so long"):
        shop.fetch()

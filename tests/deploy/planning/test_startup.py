"""What to expect of a start, and budgets that are never too short."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_deploy.planning.startup import MODAL, STORAGES, Storage, parse_storage, startup
from gguf_server.errors import SettingsError
from gguf_server.models.placement import Startup
from gguf_server.settings.serve import Settings

GB = 10**9
MOE_BYTES = 18 * GB
SIZES = st.integers(min_value=0, max_value=2000 * GB)
BUDGETS = (
    "expected_seconds",
    "progress_deadline_seconds",
    "helm_timeout_seconds",
    "compose_start_period_seconds",
    "modal_startup_timeout_seconds",
)


@st.composite
def storages(draw: st.DrawFn) -> Storage:
    return draw(
        st.sampled_from(STORAGES) | st.floats(0.001, 1000).map(lambda x: Storage("", x * GB))
    )


@st.composite
def options(draw: st.DrawFn) -> dict[str, bool | int]:
    num_gpus = draw(st.integers(0, 8))
    return {
        "num_gpus": num_gpus,
        "on_gpu": bool(num_gpus) and draw(st.booleans()),
        "fetch": draw(st.booleans()),
        "fits_in_host_memory": draw(st.booleans()),
    }


def on_gpu(size_bytes: int, storage: str) -> Startup:
    return startup(size_bytes, parse_storage(storage), on_gpu=True, num_gpus=1)


def seconds(found: Startup, name: str) -> float:
    [stage] = [stage for stage in found.stages if stage.name == name]
    return stage.seconds


def probe_budget(found: Startup) -> int:
    return found.probe_period_seconds * found.probe_failure_threshold


# --- what to expect -------------------------------------------------------------------------------


def test_a_moe_of_18_gb_loads_from_a_cloud_disk_in_about_a_minute_and_gets_half_an_hour() -> None:
    found = on_gpu(MOE_BYTES, "pd")
    assert [(stage.name, stage.seconds) for stage in found.stages] == [
        ("fetch", 180),
        ("process", 6),
        ("load", 72),
        ("context", 2),
        ("warmup", 10),
    ]
    assert found.expected_seconds == 90
    assert probe_budget(found) == found.compose_start_period_seconds == 1800
    assert found.modal_startup_timeout_seconds == 1800


def test_the_same_from_nfs_expects_more_than_its_180_seconds() -> None:
    assert on_gpu(MOE_BYTES, "nfs").expected_seconds > 180
    assert on_gpu(MOE_BYTES, "nfs").expected_seconds > 3 * on_gpu(MOE_BYTES, "pd").expected_seconds


def test_a_large_model_on_nfs_gets_three_times_what_it_needs() -> None:
    found = on_gpu(100 * GB, "nfs")
    assert found.expected_seconds == 1447
    assert (found.probe_period_seconds, found.probe_failure_threshold) == (10, 435)
    assert found.compose_start_period_seconds == 4341
    assert found.progress_deadline_seconds == 4350 + 3 * 1000 + 900
    assert found.helm_timeout_seconds == found.progress_deadline_seconds + 300


def test_a_model_of_100_mb_is_ready_in_seconds() -> None:
    found = startup(GB // 10, parse_storage("pd"), on_gpu=False, num_gpus=0)
    assert found.expected_seconds == 7
    assert (found.probe_period_seconds, found.probe_failure_threshold) == (5, 360)


def test_from_60_seconds_on_probes_ask_every_ten() -> None:
    just_below = startup(14_000 * GB // 1000, parse_storage("nvme"), on_gpu=False, num_gpus=0)
    from_there = startup(14_050 * GB // 1000, parse_storage("nvme"), on_gpu=False, num_gpus=0)
    assert (just_below.expected_seconds, just_below.probe_period_seconds) == (59, 5)
    assert (from_there.expected_seconds, from_there.probe_period_seconds) == (60, 10)


def test_fast_storage_helps_only_as_far_as_the_gpu_takes_the_bytes() -> None:
    assert seconds(on_gpu(30 * GB, "100"), "load") == 10
    on_cpu = startup(30 * GB, parse_storage("100"), on_gpu=False, num_gpus=0)
    assert seconds(on_cpu, "load") == 15


def test_each_gpu_takes_its_time_to_open() -> None:
    two = startup(GB, parse_storage("pd"), on_gpu=True, num_gpus=2)
    assert seconds(two, "process") == seconds(on_gpu(GB, "pd"), "process") + 3


def test_a_file_that_memory_cannot_hold_is_read_four_times() -> None:
    tight = startup(GB, parse_storage("pd"), on_gpu=True, num_gpus=1, fits_in_host_memory=False)
    assert seconds(tight, "load") == 4 * seconds(on_gpu(GB, "pd"), "load")


def test_what_is_there_already_is_not_fetched() -> None:
    there = startup(MOE_BYTES, parse_storage("pd"), on_gpu=True, num_gpus=1, fetch=False)
    fetched = on_gpu(MOE_BYTES, "pd")
    assert "fetch" not in [stage.name for stage in there.stages]
    assert there.expected_seconds == fetched.expected_seconds
    assert probe_budget(there) == probe_budget(fetched)
    assert there.progress_deadline_seconds == fetched.progress_deadline_seconds - 3 * 180


def test_modal_reads_from_its_own_volume_whatever_the_storage() -> None:
    size_bytes = 2000 * GB
    fast, own = on_gpu(size_bytes, "nvme"), on_gpu(size_bytes, "modal")
    assert fast.modal_startup_timeout_seconds == own.modal_startup_timeout_seconds
    assert own.modal_startup_timeout_seconds == 3 * own.expected_seconds
    slow = on_gpu(size_bytes, "pd")
    assert slow.modal_startup_timeout_seconds == 3 * slow.expected_seconds


def test_modal_takes_no_more_than_a_day() -> None:
    assert on_gpu(2000 * GB, "0.001").modal_startup_timeout_seconds == 24 * 3600


# --- laws -----------------------------------------------------------------------------------------


@given(SIZES, SIZES, storages(), options())
def test_a_larger_model_never_gets_less(
    one: int, other: int, storage: Storage, given_options: dict[str, bool]
) -> None:
    small = startup(min(one, other), storage, **given_options)
    large = startup(max(one, other), storage, **given_options)
    for name in BUDGETS:
        assert getattr(small, name) <= getattr(large, name), name
    assert probe_budget(small) <= probe_budget(large)


@given(SIZES, storages(), storages(), options())
def test_slower_storage_never_gets_less(
    size_bytes: int, one: Storage, other: Storage, given_options: dict[str, bool]
) -> None:
    fast, slow = sorted((one, other), key=lambda each: -each.bytes_per_second)
    for name in BUDGETS:
        assert getattr(startup(size_bytes, fast, **given_options), name) <= getattr(
            startup(size_bytes, slow, **given_options), name
        ), name


@given(SIZES, storages(), options())
def test_each_clock_runs_longer_than_the_one_inside_it(
    size_bytes: int, storage: Storage, given_options: dict[str, bool]
) -> None:
    found = startup(size_bytes, storage, **given_options)
    fetch_seconds = sum(stage.seconds for stage in found.stages if stage.name == "fetch")
    stages = [stage.seconds for stage in found.stages if stage.name != "fetch"]
    assert found.expected_seconds == math.fsum(stages)
    assert probe_budget(found) >= max(3 * found.expected_seconds, 1800)
    assert probe_budget(found) < max(3 * found.expected_seconds, 1800) + 10
    assert found.compose_start_period_seconds >= max(3 * found.expected_seconds, 1800)
    assert found.progress_deadline_seconds > probe_budget(found) + fetch_seconds
    assert found.helm_timeout_seconds > found.progress_deadline_seconds
    assert found.helm_timeout_seconds < 2**31  # Kubernetes counts seconds in 32 bits
    assert found.modal_startup_timeout_seconds <= 24 * 3600


@given(SIZES, storages(), options())
def test_our_own_stall_detector_is_the_earlier_one(
    size_bytes: int, storage: Storage, given_options: dict[str, bool]
) -> None:
    found = startup(size_bytes, storage, **given_options)
    last_moment = found.expected_seconds + Settings().load_stall_seconds
    assert last_moment < probe_budget(found)
    assert last_moment < found.compose_start_period_seconds


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
def test_a_class_of_storage_is_named(storage: Storage) -> None:
    assert parse_storage(f" {storage.name.upper()} ") == storage


def test_the_rate_of_another_is_given() -> None:
    assert parse_storage("0.5").bytes_per_second == 0.5 * GB
    assert parse_storage("1.5 GB/s").bytes_per_second == 1.5 * GB


def test_what_was_assumed_is_said() -> None:
    assert on_gpu(GB, "pd").storage == "pd, 0.25 GB/s"
    assert on_gpu(GB, "0.5").storage == "0.5 GB/s"


@pytest.mark.parametrize("text", ["", "floppy", "0", "-1", "nan", "inf", "1e9", "0.5 MB/s"])
def test_other_words_are_refused_in_a_line_that_says_which_will_do(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_storage(text)
    assert caught.value.message == (
        f"--storage needs one of nvme, pd, nfs, modal, or its GB/s from 0.001 to 1000, not {text!r}"
    )


def test_the_table_goes_from_fast_to_slow_except_for_modal() -> None:
    rates = [storage.bytes_per_second for storage in STORAGES if storage is not MODAL]
    assert rates == sorted(rates, reverse=True)

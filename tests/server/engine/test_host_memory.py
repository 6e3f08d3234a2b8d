"""How much host memory evicted prefixes get."""

from pathlib import Path

import pytest

from gguf_server.engine.host_memory import HostMemory, cache_bytes, read_host_memory

GIB = 1 << 30


@pytest.mark.parametrize(
    ("wanted", "memory", "given"),
    [
        (0, HostMemory(64 * GIB), 0),
        (123, HostMemory(64 * GIB), 123),
        (-1, HostMemory(8 * GIB), 2 * GIB),
        (-1, HostMemory(640 * GIB), 4 * GIB),
        (-1, HostMemory(64 * GIB, ((9 * GIB, 2 * GIB, GIB),)), 2 * GIB),
        (-1, HostMemory(64 * GIB, ((90 * GIB, 0, 0), (4 * GIB, 0, 0))), GIB),
        (-1, HostMemory(2 * GIB, ((90 * GIB, 0, 0),)), GIB // 2),
        (-1, HostMemory(2 * GIB, ((GIB, 2 * GIB, 0),)), 0),
    ],
)
def test_a_share_of_what_is_left_where_least_is_left(
    wanted: int, memory: HostMemory, given: int
) -> None:
    assert cache_bytes(wanted, memory) == given


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_2_counts_every_group_that_has_a_limit(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   1000 kB\n",
            "proc/self/cgroup": "0::/pod/server\n",
            "sys/fs/cgroup/pod/memory.max": "5000\n",
            "sys/fs/cgroup/pod/memory.current": "3000\n",
            "sys/fs/cgroup/pod/memory.stat": "active_file 7\ninactive_file 400\n",
            "sys/fs/cgroup/pod/server/memory.max": "max\n",
            "sys/fs/cgroup/pod/server/memory.current": "2000\n",
        },
    )
    assert read_host_memory(tmp_path) == HostMemory(1_024_000, ((5000, 3000, 400),))
    at_need = read_host_memory(tmp_path, busy_cache=True)
    assert at_need == HostMemory(1_024_000, ((5000, 3000, 407),))


def test_version_1_has_a_hierarchy_for_memory(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 1000 kB\n",
            "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "900\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "500\n",
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100\n",
        },
    )
    assert read_host_memory(tmp_path) == HostMemory(1_024_000, ((900, 500, 100),))


def test_a_machine_that_says_nothing_leaves_nothing(tmp_path: Path) -> None:
    assert cache_bytes(-1, read_host_memory(tmp_path)) == 0


def test_this_machine_has_some() -> None:
    assert read_host_memory().free > 0

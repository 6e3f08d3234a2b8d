"""How much host memory evicted prefixes may take: a policy, and the numbers it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_GIB = 1 << 30
# A quarter of what is free, because the pages of mapped weights, the API process and the text of
# long prompts live there too; and beyond a few GiB hits get rare while saving still costs time.
_SHARE = 4
_MOST_BYTES = 4 * _GIB

_V2 = ("memory.max", "memory.current", "")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
_IDLE, _BUSY = "inactive_file", "active_file"  # pages of files, as memory.stat names them


@dataclass(frozen=True, slots=True)
class HostMemory:
    """In bytes. Each cgroup has a limit, what is used, and how much of that is file cache."""

    available: int
    cgroups: tuple[tuple[int, int, int], ...] = ()

    @property
    def free(self) -> int:
        """What is left where least is left."""
        left = [limit - (used - cache) for limit, used, cache in self.cgroups]
        return max(0, min(self.available, *left)) if left else self.available


def cache_bytes(wanted: int, memory: HostMemory) -> int:
    """``wanted`` as asked for; -1 takes a share of what is free."""
    return wanted if wanted >= 0 else min(memory.free // _SHARE, _MOST_BYTES)


def read_host_memory(root: Path = Path("/"), *, busy_cache: bool = False) -> HostMemory:
    """What the kernel says now about this process's cgroups, either version, and the machine.

    Of the file cache what is idle counts; with ``busy_cache`` all that could be had at need.
    """
    kinds = (_IDLE, _BUSY) if busy_cache else (_IDLE,)
    mount = root / "sys/fs/cgroup"
    found = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found += _limits(mount, path, _V2, kinds)
        elif "memory" in controllers.split(","):
            found += _limits(mount / "memory", path, _V1, kinds)
    available = _field(root / "proc/meminfo", "MemAvailable:") * 1024
    return HostMemory(available, tuple(found))


def _limits(
    mount: Path, path: str, names: tuple[str, str, str], kinds: Sequence[str]
) -> list[tuple[int, int, int]]:
    """Of one cgroup and those around it; in a container the outermost seen is its own."""
    limit_name, used_name, prefix = names
    inner = Path(path.lstrip("/"))
    found = []
    for folder in (mount / inner, *(mount / parent for parent in inner.parents)):
        limit = _number(folder / limit_name)
        used = _number(folder / used_name)
        if limit is not None and used is not None:
            cache = sum(_field(folder / "memory.stat", prefix + kind) for kind in kinds)
            found.append((limit, used, cache))
    return found


def _number(path: Path) -> int | None:
    """None where there is no such file, or no limit."""
    text = "".join(_lines(path))
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int:
    for line in _lines(path):
        words = line.split()
        if words[0] == name:
            return int(words[1])
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []

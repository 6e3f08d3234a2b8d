"""What is read from the environment and the machine beside options."""

import os
from collections.abc import Mapping
from pathlib import Path


def history_file(environ: Mapping[str, str] = os.environ) -> Path:
    """What was typed into ``gguf-server chat``."""
    return _home_dir("XDG_STATE_HOME", ".local/state", environ) / "chat-history"


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """What can be made or fetched again."""
    return _home_dir("XDG_CACHE_HOME", ".cache", environ)


def wants_colors(environ: Mapping[str, str] = os.environ) -> bool:
    """As https://no-color.org says."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def engine_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The engine's environment: ours, and how long OpenMP's threads spin at a barrier.

    By default they spin for milliseconds, which on a shared or throttled CPU is time taken
    from the thread they wait for: decoding beside one busy process took over ten times as
    long. A short spin is as fast on idle cores. Whoever sets these variables knows better.
    """
    if "OMP_WAIT_POLICY" in environ:  # the spin count would take precedence
        return dict(environ)
    return {"GOMP_SPINCOUNT": "10000", **environ}


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, and the quota of its cgroup."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return count


def _home_dir(variable: str, below_home: str, environ: Mapping[str, str]) -> Path:
    home = environ.get(variable)
    # An unknown home stays "~": a directory that cannot be made, not a traceback.
    return Path(home or os.path.expanduser(f"~/{below_home}")) / "gguf-server"  # noqa: PTH111

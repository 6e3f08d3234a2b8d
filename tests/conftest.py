"""In CI a skipped test is a failure: a green run means that everything ran.

Only what no CI machine can be asked for may be skipped: a GPU, somebody's account.
"""

import os
import signal
from collections.abc import Generator

import pytest

_MAY_SKIP = ("gpu", "account")
_IN_CI = os.environ.get("CI") == "true"


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would every program that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    may_skip = any(item.get_closest_marker(name) for name in _MAY_SKIP)
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail") and not may_skip:
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module that skips itself, as ``pytest.importorskip`` does."""
    report = yield
    if _IN_CI and report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped, which is a failure in CI: {report.longrepr}"

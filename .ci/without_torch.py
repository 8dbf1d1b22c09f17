"""A pytest plugin for an environment without torch: test files that import it are skipped."""

from __future__ import annotations

from collections.abc import Generator

import pytest

ABSENT = ("No module named 'torch'", "'detectron2' is not a package")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the failed import into a skip; every other error stays one."""
    report = yield
    if report.failed and any(words in report.longreprtext for words in ABSENT):
        report.outcome = "skipped"
        report.longrepr = (str(report.nodeid), 0, "no torch")
    return report

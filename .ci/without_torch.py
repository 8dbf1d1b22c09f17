"""A pytest plugin for an environment without torch: test files that import it are skipped."""

from __future__ import annotations

from collections.abc import Generator

import pytest

ABSENT = "No module named 'torch'"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the failed import into a skip; every other error stays one."""
    report = yield
    if report.failed and ABSENT in report.longreprtext:
        report.outcome = "skipped"
        report.longrepr = (str(report.nodeid), 0, ABSENT)
    return report

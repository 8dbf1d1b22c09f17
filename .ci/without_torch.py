"""A pytest plugin: where torch is not installed, test files that import it are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator

import pytest

ABSENT = "No module named 'torch'"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the failed import into a skip; every other error stays one."""
    report = yield
    if report.failed and ABSENT in report.longreprtext and not importlib.util.find_spec("torch"):
        report.outcome = "skipped"
        report.longrepr = (str(report.nodeid), 0, ABSENT)
    return report

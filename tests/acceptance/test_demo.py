"""`lst demo` keeps its promise: something is learned, in the tail too."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.acceptance


def test_the_demo_learns_head_and_tail(lst, tmp_path):
    seconds, memory = lst("demo", "-w", tmp_path)
    metrics = json.loads((tmp_path / "phases" / "03" / "metrics.json").read_text())["segm"]
    rarest = next(one for one in metrics["bins"] if one["with_ground_truth"] > 2)
    print(
        f"\n{seconds:.0f} s, {memory:.1f} GiB, AP {100 * metrics['AP']:.1f}, "
        f"AP({rarest['bin']}) {100 * rarest['AP']:.1f}"
    )
    assert metrics["AP"] > 0.05
    assert rarest["AP"] > 0
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000

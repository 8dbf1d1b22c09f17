"""A workspace written by the first version opens, continues, evaluates and reports.

`tests/data/workspace-0.1.tar.xz` was made with commit c4a336b, from the drawn set that is in it:
six classes, b = 3 and two phases of a very thin ResNet-50. Phases 0 and 1 are trained and
evaluated; phase 2 (`lst step --mwg`) was killed after its save at iteration 4 of 9. `expected/`
holds what the same commit made of phase 2 without an interruption.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

pytestmark = pytest.mark.engine

ARCHIVE = Path(__file__).parent.parent / "data" / "workspace-0.1.tar.xz"


@pytest.fixture
def old(tmp_path):
    """The archive's content, with the paths in the split led to where it lies now."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    split = tmp_path / "work" / "split.json"
    split.write_text(split.read_text().replace("/data/set", str(tmp_path / "set")))
    return tmp_path


def _same_machine(old: Path) -> bool:
    made = json.loads((old / "expected" / "made-with.json").read_text())
    here = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    return here.items() <= made.items()


def test_a_phase_under_way_ends_with_the_same_weights(old, run):
    outcome = run("step", "--mwg", "-w", old / "work").ok()
    assert "phase 2 continued after iteration 4" in outcome.err
    for name in ("model.safetensors", "generator.safetensors"):
        found = load_file(old / "work" / "phases" / "02" / name)
        expected = load_file(old / "expected" / name)
        assert list(found) == list(expected)
        for key, tensor in expected.items():
            if _same_machine(old):
                assert torch.equal(found[key], tensor), key
            else:  # other processors round otherwise
                torch.testing.assert_close(found[key], tensor, rtol=1e-2, atol=1e-4)


def test_evaluation_and_report_say_what_they_said(old, run):
    phase = old / "work" / "phases" / "01"
    before = {
        name: json.loads((phase / name).read_text()) for name in ("detections.json", "metrics.json")
    }
    for words in (["status"], ["eval", "--phase", "1"], ["report"]):
        run(*words, "-w", old / "work").ok()
    after = {name: json.loads((phase / name).read_text()) for name in before}
    assert len(after["detections.json"]) == len(before["detections.json"]) > 50
    for now, then in zip(after["detections.json"], before["detections.json"], strict=True):
        assert now["score"] == pytest.approx(then["score"], abs=1e-4)
        if _same_machine(old):
            assert now == then
    for iou_type in ("segm", "bbox"):
        now, then = after["metrics.json"][iou_type], before["metrics.json"][iou_type]
        assert now.keys() >= then.keys()
        assert now["AP"] == pytest.approx(then["AP"], abs=1e-4)
        assert now["per_class"] == pytest.approx(then["per_class"], abs=1e-4)
    assert (old / "work" / "report" / "report.md").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t, m: m.update(iteration="9"), "it is of iteration 9"),
        (lambda t, m: m.update(iteration="99"), "it is of iteration 99"),
        (lambda t, m: m.update(seconds="nan"), "no training state"),
        (lambda t, m: t.pop(next(n for n in t if n.startswith("model/"))), "does not fit"),
    ],
)
def test_a_state_that_does_not_fit_its_phase_is_refused_in_one_line(old, run, change, why):
    state = old / "work" / "phases" / "02" / "training-state.safetensors"
    tensors = load_file(state)
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    state.write_bytes(save(tensors, metadata))
    outcome = run("step", "--mwg", "-w", old / "work")
    assert f"{state}: " in outcome.error
    assert why in outcome.error
    assert "--restart" in outcome.hint

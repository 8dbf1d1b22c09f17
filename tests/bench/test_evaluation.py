"""`lst score` of a results file against lvis-api: `make bench` prints time, memory, differences.

All evaluators read the same two files, each in a process of its own with one thread. Without
words that is 5,000 images and 1.5 million detections; lvis-api then takes minutes and 7 GB.

    LST_BENCH_IMAGES=5000,19800   other sizes, one after the other; above 10,000 images only
                                  `lst` runs, as lvis-api would need more than 14 GB
    LST_BENCH_REPEATS=5           runs of each, of which medians are shown; without it lvis-api
                                  runs once, the others three times
    LST_KEEP=DIR                  where the files are kept for the next time
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.bench

IMAGES = [int(word) for word in os.environ.get("LST_BENCH_IMAGES", "5000").split(",")]
REPEATS = os.environ.get("LST_BENCH_REPEATS")
MOST_FOR_LVIS_API = 10_000  # images
TARGETS_FROM = 5_000  # images; below, starting Python is most of our time
CPU_TARGETS = {"bbox": 25, "segm": 15}  # times less than lvis-api
MEMORY_TARGET = 5
PER_IMAGE = 300  # detections
LARGEST_MB = 1024  # at LVIS v1 val's size
ALWAYS = {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR"}

# Both print what `lst score --json` has under an IoU type. Masks are scored without the box
# beside them: lvis-api would take its area for small, medium and large.
PRINT_AP = """
def print_ap(summary, precision, category_ids):
    per_class = {}
    for category_id, curves in zip(category_ids, precision.transpose(2, 0, 1)):
        if (curves > -1).any():
            per_class[category_id] = float(curves[curves > -1].mean())
    found = {name.split("@")[0]: float(value) for name, value in summary.items()}
    found = {name: None if value == -1 else value for name, value in found.items()}
    print(json.dumps({**found, "per_class": per_class}))
"""
LVIS_API = f"""
import json, sys
from lst_cli.ap.reference import load_lvis
{PRINT_AP}
annotations, detections, iou_type = sys.argv[1:]
lvis = load_lvis()
truth = lvis["LVIS"](annotations)
if iou_type == "segm":
    with open(detections) as file:
        detections = json.load(file)
    for detection in detections:
        del detection["bbox"]
evaluation = lvis["LVISEval"](truth, lvis["LVISResults"](truth, detections), iou_type)
evaluation.run()
print_ap(evaluation.results, evaluation.eval["precision"][..., 0], evaluation.params.cat_ids)
"""
HOTCOCO = f"""
import contextlib, io, json, sys
from hotcoco import COCO, COCOeval
{PRINT_AP}
annotations, detections, iou_type = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(annotations)
    evaluation = COCOeval(truth, truth.load_res(detections), iou_type, lvis_style=True)
    evaluation.run()
precision = evaluation.eval["precision"][..., 0, -1]
print_ap(evaluation.get_results(), precision, sorted(truth.get_cat_ids()))
"""
# A process's peak begins at that of the one that started it: this one is small. Unlike the
# kernel's mark of a process alone, it takes in the processes that the command itself starts.
LAUNCHER = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "RAYON")}


@dataclass
class Runs:
    """What an evaluator took, and the numbers under its IoU type."""

    found: dict[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak(self) -> float:
        return statistics.median(self.megabytes)


def measure(words: list[str], folder: Path) -> tuple[Any, float, float]:
    """Run Python with these words: what it prints, its CPU seconds, its peak MB."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LST_")} | ONE_THREAD
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", LAUNCHER, sys.executable, *words],
        capture_output=True, text=True, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(words[-6:])}\n{done.stderr}"
    seconds, megabytes = done.stderr.splitlines()[-1].split()
    return json.loads(done.stdout), float(seconds), float(megabytes)


def largest_difference(found: dict[str, Any], reference: dict[str, Any]) -> float:
    """Compare every mean and every class that the reference has; a missing number must be so."""
    names = reference.keys() & found.keys() - {"per_class"}
    assert names >= ALWAYS, f"not there: {sorted(ALWAYS - names)}"
    assert found["per_class"].keys() == reference["per_class"].keys()
    pairs = [(found[name], reference[name]) for name in names]
    pairs += [(found["per_class"][one], reference["per_class"][one]) for one in found["per_class"]]
    assert all((one is None) == (other is None) for one, other in pairs)
    return max((abs(one - other) for one, other in pairs if one is not None), default=0.0)


def without_boxes(detections: Path, folder: Path) -> Path:
    """Copy a results file, line by line, without its boxes."""
    path = folder / "masks.json"
    with detections.open() as file, path.open("w") as copy:
        copy.writelines(re.sub(r'"bbox": \[[^]]*\], ', "", line) for line in file)
    return path


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("images", IMAGES)
def test_evaluation_is_measured_against_lvis_api(images, iou_type, lvis_files, tmp_path):
    files = lvis_files(images)
    paths = [str(files.annotations), str(files.detections)]
    words = [paths[1], "--annotations", paths[0], "--iou-type", iou_type]
    commands = {"lst score": ["-m", "lst_cli", "score", *words, "--json"]}
    repeats = {"lst score": int(REPEATS or 3)}
    if images <= MOST_FOR_LVIS_API:
        commands = {"lvis-api": ["-c", LVIS_API, *paths, iou_type], **commands}
        repeats["lvis-api"] = int(REPEATS or 1)
    if importlib.util.find_spec("hotcoco"):
        path = without_boxes(files.detections, tmp_path) if iou_type == "segm" else paths[1]
        commands["hotcoco"] = ["-c", HOTCOCO, paths[0], str(path), iou_type]
        repeats["hotcoco"] = int(REPEATS or 3)

    runs = {name: Runs() for name in commands}
    for turn in range(max(repeats.values())):
        for name, command in commands.items():
            if turn < repeats[name]:
                printed, seconds, megabytes = measure(command, tmp_path)
                runs[name].found = printed[iou_type] if name == "lst score" else printed
                runs[name].seconds.append(seconds)
                runs[name].megabytes.append(megabytes)

    reference, ours = runs.get("lvis-api"), runs["lst score"]
    size = files.detections.stat().st_size / 2**20
    print(
        f"\n{iou_type}: {images:,} images, {300 * images:,} detections ({size:,.0f} MiB); "
        f"AP {100 * ours.found['AP']:.1f} over {len(ours.found['per_class']):,} classes"
    )
    print("| evaluator | runs | CPU s | times less | peak MB | times less | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name, run in runs.items():
        shown = ["", "", ""]
        if reference is not None:
            difference = largest_difference(run.found, reference.found)
            times = [reference.cpu / run.cpu, reference.peak / run.peak]
            shown = [*(f"{one:.1f}" for one in times), f"{difference:.1g}"]
        print(
            f"| {name} | {len(run.seconds)} | {run.cpu:.1f} | {shown[0]} "
            f"| {run.peak:,.0f} | {shown[1]} | {shown[2]} |",
            flush=True,
        )
    assert 0.05 < ours.found["AP"] < 0.95
    if reference is None:
        assert ours.peak < LARGEST_MB
        return
    assert largest_difference(ours.found, reference.found) <= 1e-12
    if images >= TARGETS_FROM:
        assert reference.cpu >= CPU_TARGETS[iou_type] * ours.cpu
        assert reference.peak >= MEMORY_TARGET * ours.peak


# What `lst report` and `lst figure tail` do to a detections.json.
FIND_IN = """
import sys
from pathlib import Path
from lst_cli.annotations.read import read_dataset
from lst_cli.ap.results_file import ResultsFile
from lst_cli.figures.shown_objects import find_in
images = read_dataset(sys.argv[1]).images.ids[:8].tolist()
print(sum(map(len, find_in(ResultsFile(Path(sys.argv[2])), images, {}).values())))
"""
LVIS_V1_VAL = 5_940_000  # detections


@pytest.mark.parametrize(
    ("what", "target"), [("panels", 300), ("bbox", 1024), ("segm", 1024), ("errors", 1024)]
)
def test_memory_at_the_size_of_lvis_v1_val(what, target, lvis_files, tmp_path):
    """Its peak by that of a hundredth and a tenth: it grows with the number of detections."""
    peaks = []
    for files in map(lvis_files, (198, 1980)):
        paths = [str(files.annotations), str(files.detections)]
        chosen = ["--errors"] if what == "errors" else ["--iou-type", what]
        words = [paths[1], "--annotations", paths[0], *chosen, "--json"]
        score = ["-m", "lst_cli", "score", *words]
        peaks.append(measure(["-c", FIND_IN, *paths] if what == "panels" else score, tmp_path)[2])
    growth = (peaks[1] - peaks[0]) / (1980 - 198)  # MB an image
    peak = peaks[0] + growth * (LVIS_V1_VAL / PER_IMAGE - 198)
    print(f"\n{what}: {peaks[0]:.0f} and {peaks[1]:.0f} MB; {peak:,.0f} MB at LVIS v1 val")
    assert peak < target


def test_generated_files_have_the_shape_of_lvis(lvis_files):
    files = lvis_files(60)
    truth = json.loads(files.annotations.read_text())
    found = json.loads(files.detections.read_text())
    images = {image["id"]: image for image in truth["images"]}
    present: dict[int, set[int]] = {number: set() for number in images}
    for each in truth["annotations"]:
        present[each["image_id"]].add(each["category_id"])
        x, y, w, h = each["bbox"]
        image = images[each["image_id"]]
        assert 0 <= x < x + w <= image["width"] + 0.01
        assert 0 <= y < y + h <= image["height"] + 0.01
        assert 0 < each["area"] <= w * h
    assert Counter(each["frequency"] for each in truth["categories"]) == {
        "f": 405, "c": 461, "r": 337,
    }  # fmt: skip
    assert 6 < len(truth["annotations"]) / 60 < 18
    assert 2.5 < np.mean([len(classes) for classes in present.values()]) < 4.5
    assert 7 < np.mean([len(image["neg_category_ids"]) for image in truth["images"]]) < 12
    assert Counter(each["image_id"] for each in found) == dict.fromkeys(images, 300)
    assert len({each["score"] for each in found}) < len(found), "some are tied"
    labelled = sum(
        each["category_id"] in present[each["image_id"]]
        or each["category_id"] in images[each["image_id"]]["neg_category_ids"]
        for each in found
    )
    assert 0.4 < labelled / len(found) < 0.8


def test_a_difference_is_found_wherever_it_is():
    means = dict.fromkeys(ALWAYS, 0.5)
    reference = {**means, "ARs": 0.2, "APr": None, "per_class": {"3": 0.25, "7": 0.0}}
    assert largest_difference({**reference, "seconds": 9.0}, reference) == 0.0
    assert largest_difference({**reference, "APs": 0.625}, reference) == 0.125
    assert largest_difference({**reference, "ARs": 0.7}, reference) == pytest.approx(0.5)
    one_off = {**reference, "per_class": {"3": 0.25, "7": 0.75}}
    assert largest_difference(one_off, reference) == 0.75
    for wrong in (
        {**reference, "APr": 0.0},
        {**reference, "per_class": {"3": 0.25}},
        {name: value for name, value in reference.items() if name != "AR"},
    ):
        with pytest.raises(AssertionError):
            largest_difference(wrong, reference)

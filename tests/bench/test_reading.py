"""Reading a full LVIS training file: `make bench` prints CPU seconds and peak memory side by side.

Each way runs in processes of its own, in turn, so that a machine whose speed drifts is fair to
all; medians are printed, and the ratio to `read_dataset`, which must take an eighth of lvis-api's
time and a tenth of its memory.
"""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest

from tests.bench.test_evaluation import measure

pytestmark = pytest.mark.bench

IMAGES, INSTANCES, CLASSES, RUNS = 57_000, 694_000, 1230, 3
WAYS = {
    "read_dataset (columns, digest)": (
        "from lst_cli.annotations.read import read_dataset; d = read_dataset(path)\n"
        "n = len(d.instances)"
    ),
    "json.load": "import json; d = json.load(open(path)); n = len(d['annotations'])",
    "lvis-api's LVIS()": (
        "from lst_cli.ap.reference import load_lvis; import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()): d = load_lvis()['LVIS'](path)\n"
        "n = len(d.anns)"
    ),
}


@pytest.fixture(scope="module")
def lvis_file(tmp_path_factory):
    """A file with LVIS's numbers of everything, annotations first; about 490 MB."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("lvis") / "train.json"
    polygon = ", ".join(f"{value:.2f}" for value in rng.uniform(0, 640, 64))
    with path.open("w") as file:
        file.write('{"annotations": [')
        images = rng.integers(1, IMAGES + 1, INSTANCES)
        labels = np.minimum(rng.zipf(1.3, INSTANCES), CLASSES)
        for row in range(INSTANCES):
            # The first digits vary, so that no two polygons are the same bytes.
            file.write(
                f'{", " if row else ""}{{"segmentation": [[{row % 640}.5, {polygon}, 7.0]], '
                f'"area": 100.0, "bbox": [10.0, 20.0, 30.0, 40.0], "image_id": {images[row]}, '
                f'"category_id": {labels[row]}, "id": {row + 1}}}'
            )
        records = [
            {
                "id": image, "width": 640, "height": 480, "file_name": f"{image:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/train2017/{image:012d}.jpg",
                "neg_category_ids": [1, 5, 9], "not_exhaustive_category_ids": [],
            }
            for image in range(1, IMAGES + 1)
        ]  # fmt: skip
        categories = [{"id": i, "name": f"class {i}", "frequency": "f"} for i in range(1, 1231)]
        rest = json.dumps({"images": records, "categories": categories})
        file.write("], " + rest[1:])
    return path


def test_reading_is_measured_side_by_side(lvis_file, tmp_path):
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(RUNS):
        for name, code in WAYS.items():
            words = ["-c", f"path = {str(lvis_file)!r}\n{code}\nprint(n)"]
            instances, seconds, megabytes = measure(words, tmp_path)
            assert instances == INSTANCES
            results[name].append((seconds, megabytes))
    size = lvis_file.stat().st_size / 2**20
    print(f"\n{size:.0f} MiB, {IMAGES:,} images, {INSTANCES:,} instances; median of {RUNS} runs")
    print("| way | CPU s | peak MB | times read_dataset |\n|---|---|---|---|")
    found = {
        name: tuple(statistics.median(column) for column in zip(*runs, strict=True))
        for name, runs in results.items()
    }
    ours, theirs = found[next(iter(WAYS))], found["lvis-api's LVIS()"]
    for name, (seconds, memory) in found.items():
        print(f"| {name} | {seconds:.1f} | {memory:,.0f} | {seconds / ours[0]:.1f} |")
    assert 8 * ours[0] <= theirs[0]
    assert 10 * ours[1] <= theirs[1]

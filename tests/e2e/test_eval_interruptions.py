"""An evaluation that is killed ends with the very numbers of one that is not."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.engine

AT_IMAGE = """
import lst_cli.evaluate.detector as p
encode = p.encode_box_masks
images = []
def encode_or_kill(*arguments):
    images.append(arguments)
    if len(images) == {image}:
        kill()
    return encode(*arguments)
p.encode_box_masks = encode_or_kill
"""


def without_seconds(path: Path) -> Any:
    """A record but for what no two runs share."""
    record = json.loads(path.read_text())
    for one in (record, *record.get("rows", {}).values()):
        one.pop("seconds", None)
        one.pop("checksum", None)
    return record


@pytest.mark.parametrize("instant", [False, True])
def test_an_evaluation_that_was_killed_gives_the_same_numbers(instant, finished, run):
    directory = finished.phase(1)
    images = len(json.loads(Path(finished.split.val.path).read_text())["images"])
    assert images > 2
    words = ["eval", "-w", finished.root, "--phase", 1]
    if instant:
        words.append("--instant")
        assert run(*words).code == 0
    result = directory.instant if instant else directory.metrics
    whole = without_seconds(result), directory.detections.read_bytes()
    result.unlink()
    if not instant:
        directory.detections.unlink()
    # The second of the two ways to make rows: that of the first one is whole.
    killed = run(*words, first=AT_IMAGE.format(image=3 + instant * images))
    assert killed.code == -signal.SIGKILL, killed.err
    assert not result.exists()
    part = directory.instant_part("mean-feature") if instant else directory.detections_part
    # The header and the first image; whether the second is in time depends on the threads.
    assert len(part.read_bytes().splitlines()) in (2, 3)
    # If it looked at every image again, it would die again.
    run(*words, first=AT_IMAGE.format(image=images)).ok()
    assert (without_seconds(result), directory.detections.read_bytes()) == whole
    assert not part.exists()

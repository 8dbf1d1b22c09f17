"""An evaluation that is killed ends with the very detections of one that is not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lst_cli.workspace.store import Workspace

pytestmark = pytest.mark.engine
Run = Callable[..., Any]

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


def test_an_evaluation_that_was_killed_comes_to_the_same_detections(
    finished: Workspace, run: Run
) -> None:
    directory = finished.phase(1)
    whole = directory.detections.read_bytes()
    images = len(json.loads(Path(finished.split.val.path).read_text())["images"])
    directory.detections.unlink()
    directory.detections_part.unlink(missing_ok=True)
    assert images > 2
    words = ("eval", "-w", finished.root, "--phase", 1)
    killed = run(*words, first=AT_IMAGE.format(image=3))
    assert killed.code == -signal.SIGKILL, killed.err
    # The header and the first image; whether the second is in time is the threads' affair.
    assert len(directory.detections_part.read_bytes().splitlines()) in (2, 3)
    assert not directory.detections.exists()
    # If it looked at every image anew, it would die again.
    outcome = run(*words, first=AT_IMAGE.format(image=images))
    assert outcome.code == 0, outcome.err
    assert directory.detections.read_bytes() == whole

"""`lst demo`: the whole method on a set that the package draws itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lst_cli.ap.metrics import Metrics
from lst_cli.demo.draw import Parameters, draw_demo
from lst_cli.errors import LstError
from lst_cli.evaluate.evaluate import evaluate_phase
from lst_cli.progress import Progress
from lst_cli.report.report import make_report
from lst_cli.split.init import write_settings
from lst_cli.split.split import SplitRequest, split_dataset
from lst_cli.train import train
from lst_cli.train.plan import Events
from lst_cli.workspace.store import Workspace

# A base of 7 classes and three phases of 7.
DEMO_BASE = 7
DEMO_PHASES = 3
# The small network's preset, shortened to what two CPU cores do in a few minutes.
DEMO_SETTINGS = (
    "preset=lite-paper",
    "data.min_size=[160]",
    "data.min_size_test=160",
    # Glyphs are thin: masks from features at stride 4 follow them, at stride 8 they do not.
    'detectron2.MODEL.FPN.IN_FEATURES=["stride4", "stride8", "stride16", "stride32"]',
    'detectron2.MODEL.ROI_HEADS.IN_FEATURES=["p2", "p3", "p4", "p5"]',
    "model.canonical_box_size=112",
    "base.epochs=6",
    "base.decay_epochs=[4.5]",
    "base.lr=0.002",
    "step.epochs=6",
    "step.decay_epochs=[4.5]",
    "step.lr=0.001",
    "eval.detections=100",
    "eval.bins==1,<5,<10,10-39,40-149,>=150",
)
NOTE = (
    "Training and validation show the same glyphs in other poses, colours and surroundings, so "
    "that a class seen once can be found again."
)


def run_demo(
    workspace: Workspace,
    seed: int,
    overrides: tuple[str, ...],
    *,
    stage: Callable[[str], None],
    progress: Progress,
    training: Events,
) -> tuple[Sequence[Metrics], dict[str, Path]]:
    """Draw, split, train all phases, evaluate each, and write the report.

    `stage` is called with the name of each part that begins. What is finished already is not done
    again, so that an interrupted demo continues; a demo of another seed is an LstError. Gives the
    metrics of every phase, and the report's files.
    """
    known = workspace.layout.settings.exists()
    if known and workspace.settings().seed != seed:
        raise LstError(
            f"{workspace.root} holds a demo of seed {workspace.settings().seed}",
            f"lst demo --seed {seed} -w ANOTHER_DIR",
        )
    train.load_trainer()  # does torch work, before all is drawn?
    stage("drawing the set")
    drawn = draw_demo(workspace.root / "data", Parameters(seed=seed), progress=progress)
    if not known:
        write_settings(workspace.layout.settings, (*DEMO_SETTINGS, f"seed={seed}", *overrides))
    settings = workspace.settings(overrides)
    files = drawn.train_json, drawn.val_json, [drawn.images_dir]
    split_dataset(workspace, SplitRequest(*files, DEMO_BASE, DEMO_PHASES), settings)
    for phase in range(workspace.last_phase + 1):
        if not workspace.is_done(phase):
            stage("base phase" if phase == 0 else f"phase {phase}")
            train.train_phase(workspace, phase, settings, events=training)
        if not workspace.phase(phase).metrics.exists():
            stage(f"evaluation of phase {phase}")
            evaluate_phase(workspace, phase, settings, progress=progress)
    stage("report")
    data, written = make_report(
        workspace, title="lst demo", demo=True, notes=[NOTE], progress=progress
    )
    return data.metrics, written

"""`lst adopt` with a real network, trained jointly and written as detectron2 does."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lst_cli.workspace.store import Workspace
from tests.fixtures.detectron2_files import write_as_detectron2
from tests.fixtures.kills import NO_PLOTS

pytestmark = pytest.mark.engine

SET = [
    "--preset", "lite-paper", "--device", "cpu", "--set", "eval.detections=20",
    "--set", "step.epochs=1", "--set", "step.decay_epochs=[]", "--set", "step.batch_size=2",
    "--set", "model.mask_mlp_hidden=8", "--set", "data.workers=0",
]  # fmt: skip
# A network that detectron2 knows by itself, with few channels.
RESNET = (
    "model.config=Base-RCNN-FPN.yaml", "model.pretrained=false",
    "detectron2.MODEL.BACKBONE.NAME=build_resnet_fpn_backbone",
    "detectron2.MODEL.RESNETS.STEM_OUT_CHANNELS=8", "detectron2.MODEL.RESNETS.WIDTH_PER_GROUP=4",
    "detectron2.MODEL.RESNETS.RES2_OUT_CHANNELS=16",
    'detectron2.MODEL.FPN.IN_FEATURES=["res2", "res3", "res4", "res5"]',
)  # fmt: skip
# Fewer steps of what is fitted before training.
FEW = "from lst_cli.adopt import distil\ndistil._ROW_STEPS = distil._MASK_STEPS = 40\n"


@pytest.fixture(scope="module")
def original(tiny, run, tmp_path_factory):
    """Files of a model that knows the six drawn classes, and its workspace."""
    folder = tmp_path_factory.mktemp("original")
    run(*tiny.joint_words(folder / "joint", "model.canonical_box_size=224", *RESNET)).ok()
    row = ["--row", "joint-softmax", "--image-passes", 10]
    run("train-joint", *row, "-w", folder / "joint").ok()
    return write_as_detectron2(Workspace(folder / "joint"), folder / "files")


@pytest.fixture(scope="module")
def adopt(tiny, run, original):
    def call(root, *more, files=(tiny.train_json, tiny.val_json), first=""):
        data = ["--train", files[0], "--val", files[1], "--images", tiny.images]
        return run("adopt", *original, *data, "-w", root, *SET, *more, first=NO_PLOTS + FEW + first)

    return call


@pytest.fixture(scope="module")
def adopted(adopt, tmp_path_factory):
    """A workspace that was made without an interruption, and what the command said."""
    root = tmp_path_factory.mktemp("adopted") / "workspace"
    return root, adopt(root, "--json").ok()


def test_an_adopted_model_keeps_its_parts_and_goes_on_as_any_base(
    adopt, adopted, run, original, tiny, few_json, tmp_path
):
    workspace, outcome = Workspace(shutil.copytree(adopted[0], tmp_path / "copy")), adopted[1]
    manifest = outcome.json
    assert manifest["done"]
    assert (manifest["seen_classes"], manifest["adopted"]["image_passes"]) == (6, 14)
    said = " ".join(outcome.err.split())
    assert "6 classes: classifier and masks are trained on 14 images, then both models are" in said
    assert (
        f"trained on {manifest['adopted']['image_passes_of_original']} images, as its config says"
        in said
    )
    assert "base adopted" in run("status", "-w", workspace.root).ok().out
    ours = load_file(workspace.phase(0).model)
    theirs = torch.load(original[1], weights_only=True)["model"]
    changed = {name for name in ours if name not in theirs or not ours[name].equal(theirs[name])}
    new = ("roi_heads.box_predictor.cls_score.", "roi_heads.mask_head.transfer.",
           "roi_heads.mask_head.mlp.")  # fmt: skip
    assert all(name.startswith(new) for name in changed)
    assert "AP" in manifest["adopted"]["original"]["segm"]
    metrics = json.loads(workspace.phase(0).metrics.read_text())
    assert manifest["adopted"]["adopted"]["segm"]["AP"] == metrics["segm"]["AP"]
    assert workspace.phase(0).original_detections.exists()

    few = ["--train", few_json(zebra=1), "--images", tiny.images, "--anyway"]
    for words in (["status"], ["extend", *few], ["eval"], ["report"], ["predict", tiny.images]):
        run(*words, "-w", workspace.root).ok()
    again = adopt(workspace.root)
    assert again.error == f"error: {workspace.root}: the model is adopted already"
    again = adopt(workspace.root, "--set", "step.lr=0.5")
    assert again.error == f"error: {workspace.root} is a workspace already"


def test_missing_images_are_asked_for_by_the_option(adopt, tiny, tmp_path):
    document = json.loads(tiny.train_json.read_text())
    for image in document["images"]:
        image["coco_url"] = f"http://images/nowhere-{image['id']}.jpg"
    train = tmp_path / "train.json"
    train.write_text(json.dumps(document))
    outcome = adopt(tmp_path / "adopted", files=(train, tiny.val_json))
    assert "not found" in outcome.error
    assert "--images DIR" in outcome.err
    assert "split again" not in outcome.err


def test_classes_of_one_side_only_are_named_and_become_a_phase(adopt, run, tiny, tmp_path):
    files = []
    for file in (tiny.train_json, tiny.val_json):
        document = json.loads(file.read_text())
        old, document["categories"][1]["name"] = document["categories"][1]["name"], "yak"
        files.append(tmp_path / file.name)
        files[-1].write_text(json.dumps(document))
    workspace = Workspace(tmp_path / "adopted")
    said = " ".join(adopt(workspace.root, "--phases", 1, files=files).ok().err.split())
    assert f"not in the training file, so dropped: {old}" in said
    assert "unknown to the model: yak: learned in 1 later phase" in said
    assert workspace.require_done(0).seen_classes == 5
    assert workspace.split.classes[-1].name == "yak"
    run("step", "-w", workspace.root).ok()
    assert workspace.done_phases() == [0, 1]


def test_a_kill_before_the_split_and_in_the_evaluation_are_made_good_by_the_same_command(
    adopt, adopted, run, few_json, tiny, tmp_path
):
    workspace = Workspace(tmp_path / "killed")
    for first, trained in (
        ("from lst_cli.workspace.store import Workspace; Workspace.save_split = kill", False),
        ("from lst_cli.adopt import adopt; adopt.evaluate_phase = kill", True),
    ):
        assert adopt(workspace.root, first=first).code < 0
        assert workspace.layout.split.exists() == trained
    assert workspace.is_done(0)
    file = workspace.layout.settings  # as another version of lst writes its comments
    file.write_text(f"# other words\n{file.read_text()}")
    few = ["--train", few_json(zebra=1), "--images", tiny.images, "--anyway"]
    outcome = run("extend", *few, "-w", workspace.root).ok()
    assert f"run the same lst adopt -w {workspace.root} again" in " ".join(outcome.err.split())
    outcome = adopt(workspace.root).ok()
    assert "the model is adopted already" in " ".join(outcome.err.split())
    next_line = f"next: lst extend -w {workspace.root} --train FEW.json --images DIR\n"
    assert outcome.out.endswith(next_line)
    assert Workspace(workspace.root).done_phases() == [0, 1]
    manifest = workspace.require_model(0)
    assert manifest.model_sha256 == Workspace(adopted[0]).require_model(0).model_sha256
    assert manifest.adopted is not None
    assert manifest.adopted.adopted.keys() == {"segm", "bbox"}

"""Commands that `lst` prints can be pasted: they exist, and name the workspace they are for."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import lst_cli
from lst_cli.cli.main import COMMANDS, cli
from lst_cli.modeling.zoo_files import configs

PACKAGE = Path(lst_cli.__file__).parent
# Where a command ends in a sentence.
_END = re.compile(r"""[`;)]|\.$|, |\.\.\.|: | (?=with the |or |and |in |to |that |which |again)""")


@pytest.fixture(scope="module")
def nodes() -> dict[Path, list[ast.AST]]:
    """The nodes of each file of the package."""
    return {file: list(ast.walk(ast.parse(file.read_text()))) for file in PACKAGE.rglob("*.py")}


def texts(nodes: list[ast.AST]) -> Iterator[str]:
    """Strings of a file, docstrings aside, with 1 for each value that is put in."""
    aside = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            aside |= {id(part) for part in ast.walk(node) if part is not node}
    for node in nodes:
        if id(node) not in aside:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = node.values
                yield "".join(str(p.value) if isinstance(p, ast.Constant) else " 1 " for p in parts)


def commands_in(text: str) -> Iterator[list[str]]:
    """Words of each command in a text, without `lst`."""
    names = "|".join(COMMANDS)
    for match in re.finditer(rf"(?<![\w./-])lst ({names})(?![\w-])((?:(?!\blst )[^\n])*)", text):
        rest = _END.split(match[2], maxsplit=1)[0]
        yield [match[1], *rest.split()]


def refuse_unknown(words: list[str]) -> None:
    """Parse the options of a command as click does; what is required may be missing."""
    context = click.Context(cli, **cli.context_settings)
    command = cli.get_command(context, words[0])
    assert command is not None
    parser = command.make_parser(click.Context(command, parent=context))
    parser.parse_args(list(words[1:]))


def test_every_command_in_the_source_exists_with_its_options(nodes):
    found = [
        (file, words)
        for file, own in nodes.items()
        for text in texts(own)
        for words in commands_in(text)
    ]
    assert len(found) > 60
    for file, words in found:
        try:
            refuse_unknown(words)
        except click.NoSuchOption as error:
            pytest.fail(f"{file}: {words}: {error.format_message()}")
        except click.BadOptionUsage:  # a sentence about an option, such as "lst eval --phase"
            pass
    with pytest.raises(click.NoSuchOption):
        refuse_unknown(["step", "--weights", "x"])
    assert list(commands_in("first lst step --all, then lst eval; or not")) == [
        ["step", "--all"], ["eval"]
    ]  # fmt: skip


def test_paths_in_printed_commands_are_quoted(nodes):
    """`-w {root}` breaks where the directory's name has a space."""
    bare = re.compile(r"(-w|--train|--val|--images|--with|-o|--dir) $")
    for file, own in nodes.items():
        for node in own:
            if isinstance(node, ast.JoinedStr):
                for before, value in zip(node.values, node.values[1:], strict=False):
                    if isinstance(before, ast.Constant) and bare.search(str(before.value)):
                        assert isinstance(value, ast.FormattedValue)
                        assert "quote(" in ast.unparse(value), f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    "words",
    [
        "step", "eval", "eval --phase 9", "predict photo.jpg", "report", "train-joint",
        "figure balance --with x", "figure attention", "extend --train gone.json",
    ],
)  # fmt: skip
def test_the_hint_of_an_error_names_the_workspace(lst, workspace, words):
    root = workspace.root.rename(workspace.root.with_name("my work"))
    outcome = lst(*words.split(), "-w", root)
    for command in commands_in(outcome.hint):
        assert f"-w '{root}'" in outcome.hint or "OTHER" in outcome.hint, command


def test_nothing_is_added_where_the_command_would_find_the_workspace_itself(
    lst, workspace, monkeypatch
):
    monkeypatch.chdir(workspace.root)
    assert lst("status").out.endswith("next: lst train-base\n")
    assert lst("step", "-w", ".").hint == "lst train-base"
    assert lst("step", "-w", workspace.root).hint == "lst train-base"
    monkeypatch.chdir(workspace.root.parent)
    assert lst("status", "-w", "work").out.endswith("next: lst train-base -w work\n")
    workspace.root.rename("lst-workspace")
    assert lst("status", "-w", "lst-workspace").out.endswith("next: lst train-base\n")


def test_the_next_command_for_scripts_names_the_workspace(lst, workspace, monkeypatch):
    root = workspace.root.rename(workspace.root.with_name("my work"))
    found = lst("status", "-w", root, "--json").json["next_command"]
    assert shlex.split(found) == ["lst", "train-base", "-w", str(root)]
    monkeypatch.setenv("LST_WORKSPACE", str(root))
    assert lst("status", "--json").json["next_command"] == found
    assert "other has no split yet" in lst("status", "-w", root.with_name("other")).error
    assert lst(*shlex.split(found)[1:], "--dry-run").code == 0


def test_status_has_nothing_left_to_advise_once_the_report_is_written(lst, runs):
    run = runs.train("first")
    at = ("-w", run.root)
    lst("step", *at)
    runs.evaluate(run, 0.5)
    run.phase(3).metrics.write_text(json.dumps(runs.record(run, 3, {7: 0.5})))
    report = f"next: lst report -w {run.root}\n"
    assert lst("status", *at).out.endswith(report)
    run.layout.report.mkdir()
    written = run.layout.report / "report.json"
    written.write_text(json.dumps({"metrics": lst("report", "--json", *at).json["metrics"]}))
    assert lst("status", *at).out.splitlines()[-1] == (
        "nothing is left: everything is trained, evaluated and in the report"
    )
    assert lst("status", *at, "--json").json["next_command"] is None
    runs.evaluate(run, 0.6)  # the report is of older numbers
    assert lst("status", *at).out.endswith(report)
    for damage in ("", "{}", "[]", '{"metrics": 3}'):
        written.write_text(damage)
        assert lst("status", *at).out.endswith(report)


@pytest.mark.parametrize(
    "begun",
    [
        "--set base.lr=0.5",
        "--set base.lr=0.5 --set seed=3 --set data.min_size=[320,400]",
        "--set detectron2.MODEL.ROI_HEADS.IN_FEATURES=['p2','p3']",
        "--weights '{}'",
    ],
)
def test_the_next_command_continues_a_phase_as_it_was_begun(
    lst, here, workspace, fake_trainer, begun
):
    weights = workspace.root.parent / "some file.pkl"
    weights.write_bytes(b"\x80\2N.")
    fake_trainer.stop_after = 7
    assert here("train-base", *shlex.split(begun.format(weights))).code == 130
    found = here("status --json").json["next_command"]
    assert here("train-base --set base.lr=0.7").hint.startswith(found)
    done = lst(*shlex.split(found)[1:]).ok()
    assert "continued after iteration 7" in done.err


@pytest.mark.parametrize("text", ["[base\n", "[base]\nlr = -1\n", "[eval]\nbins = '5'\n"])
@pytest.mark.parametrize("words", ["status", "status --json"])
def test_status_does_not_advise_what_a_wrong_lst_toml_would_stop(here, workspace, text, words):
    workspace.layout.settings.write_text(text)
    outcome = here(words)
    assert "lst.toml" in outcome.error
    assert "lst train-base" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("words", "origin"),
    [
        (("train-base", "--set", "eval.bins='[1'"), "--set: eval.bins"),
        (("train-base", "--set", "eval.bins=<5, <5"), "--set: eval.bins"),
        (("eval", "--bins", "[1"), "--bins"),
        (("eval", "--bins", ""), "--bins"),
        (("eval",), "lst.toml: eval.bins"),
    ],
)
def test_bins_that_cannot_be_read_are_told_by_who_gave_them(here, workspace, words, origin):
    if len(words) == 1:
        workspace.layout.settings.write_text("[eval]\nbins = '9-5'\n")
    outcome = here(*words)
    assert outcome.error.startswith(f"error: {origin}: ")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("/etc/passwd", "model.config: /etc/passwd"),
        ("gone.yaml", "no such file"),
        ("/dev/zero", "it is a device"),
        (".", "it is a directory"),
        ("timm/resnett", "timm has no such network; did you mean resnet"),
    ],
)
def test_a_dry_run_counts_images_and_refuses_a_config_that_the_run_would_refuse(
    here, config, words
):
    if configs() is None:
        pytest.skip("no detectron2, whose configs these stand beside")
    assert "each of 8 images" in here("train-base --dry-run --set base.batch_size=8").out
    assert "each of 1 image\n" in here("train-base --dry-run --set base.batch_size=1").out
    outcome = here(f"train-base --dry-run --set model.config={config}")
    assert "model.config" in outcome.error
    assert words in outcome.error


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.config=gone.yaml", "gone.yaml: no such file"),
        ("model.config={}/list.yaml", "list.yaml: holds no table of plain values"),
        ("model.config={}/other.yaml", "NUM_FC = 0: the classifier reads a linear layer"),
        ("detectron2.MODEL.ROI_BOX_HEAD.NUM_FC=0", "NUM_FC = 0"),
        ("model.head=softmax", "model.head = softmax: new classes need model.head = cosine"),
        ("step.mwg=true", "mwg.background_share = 0.5: classes of model.class_loss = sigmoid"),
    ],
)
def test_a_split_refuses_what_no_training_could_use(lst, small_lvis, tmp_path, setting, words):
    if configs() is None and re.search("config|NUM_FC", setting):
        pytest.skip("no detectron2, whose configs these stand beside")
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "other.yaml").write_text("MODEL: {META_ARCHITECTURE: RetinaNet}")
    at = ["-w", tmp_path / "new", "--preset", "lite", "--set", "model.class_loss=sigmoid"]
    outcome = lst(*small_lvis.split_words(), *at, "--set", setting.format(tmp_path))
    assert words in outcome.error
    assert not (tmp_path / "new" / "split.json").exists()


def test_joint_training_may_have_what_phases_may_not(lst, small_lvis, tmp_path, no_plots):
    lst(*small_lvis.joint_words(), "-w", tmp_path / "new", "--set", "model.head=softmax").ok()


@pytest.mark.engine
def test_training_refuses_an_unknown_network_before_it_reads_images(here, small_lvis):
    shutil.rmtree(small_lvis.images)
    outcome = here("train-base --set model.config=timm/resnett")
    assert "timm has no such network; did you mean resnet" in outcome.error

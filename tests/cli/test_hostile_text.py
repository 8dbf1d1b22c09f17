"""Names of other people on the way through whole commands."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

Lst = Callable[..., Any]
NAMES = [
    '=HYPERLINK("http://x","y")',
    "\x1b[31mred\x1b]0;title\x07",
    "a\u202eb",
    "[red]markup[/red]",
    "c\nd\u2028e",
]


def shown(outcome: Any) -> str:
    text = str(outcome.out + outcome.err)
    assert not [c for c in text if c not in "\n" and unicodedata.category(c) in {"Cc", "Cs", "Cf"}]
    return text


def test_class_and_file_names_reach_the_terminal_in_plain_letters(
    lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    content = copy.deepcopy(small_lvis.train)
    for name, image in zip(cycle(NAMES), content["images"], strict=False):
        image["file_name"] = f"{name}{image['id']}.jpg"
        image.pop("coco_url", None)
    for name, category in zip(cycle(NAMES), content["categories"], strict=False):
        category["name"] = f"{name}{category['id']}"
    bad = tmp_path / "train.json"
    bad.write_text(json.dumps(content), encoding="utf-8")
    words = ("--train", bad, "--val", bad, "--images", tmp_path)
    checked = lst("check", *words)
    assert checked.code != 0
    shown(checked)
    as_json = lst("check", *words, "--json")
    assert json.loads(as_json.out)
    shown(as_json)
    shown(lst("split", *words, "--b", 2, "--phases", 1, "-w", tmp_path / "w"))
    shown(lst("hold-out", "--train", bad, "--out", tmp_path / "out"))


@pytest.mark.parametrize(
    "words",
    [
        ("status", "-w", "no\x1b[31m"),
        ("x\x1b[31m",),
        ("split", "--\x1b[31m"),
        ("split", "--b", "\x1b[31m"),
        ("init", "--print", "--set", "base.lr=\x1b[31m"),
        ("init", "--print", "--set", "\u202e=1"),
        ("init", "--print", "--set", 'model.config="\\u202e\\u009b"'),
        ("sweep", "\x9b31m.toml"),
        ("check", "--train", "\x1b[31m.json", "--val", "b.json"),
        ("check", "--train", "byte\udcff.json", "--val", "b.json"),
        ("init", "-w", "byte\udcff"),
    ],
    ids=lambda words: words[0],
)
def test_words_of_the_command_line_reach_the_terminal_in_plain_letters(
    words: tuple[str, ...], lst: Lst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = lst(*words)
    assert "Traceback" not in shown(outcome)
    if any("\udcff" in word for word in words):
        assert "no UTF-8 text" in outcome.err
        assert outcome.code == 1
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("category_id,train_instance_count\n1," + "9" * 5000, "line 2"),
        ("category_id,train_instance_count\n1," + "9" * 20, "line 2"),
        ("category_id,train_instance_count\n1," + "x" * 200_000, "field"),
        ("category_id,train_instance_count\n1\0,3", "line"),
        ("category_id,train_instance_count\n=1+1,3", "line 2"),
        ("category_id,train_instance_count\n1,nan", "line 2"),
        ("category_id,train_instance_count\n1,1e400", "line 2"),
        ("category_id;train_instance_count\n1;5", "no column"),
        ("\ud83d", "no UTF-8"),
        ("", "no rows"),
    ],
    ids=range(10),
)
def test_counts_without_measure_are_refused_by_line(
    content: str, part: str, lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    counts, results, val = (tmp_path / name for name in ("counts.csv", "r.json", "val.json"))
    val.write_text(json.dumps(small_lvis.val), encoding="utf-8")
    counts.write_bytes(content.encode("utf-8", "surrogatepass"))
    results.write_text("[]", encoding="utf-8")
    words = (results, "--annotations", val, "--train-counts", counts)
    outcome = lst("score", *words)
    assert outcome.code == 1
    assert "counts.csv" in shown(outcome)
    assert part in outcome.err
    assert len(outcome.err) < 1000


@pytest.mark.parametrize("command", ["train-base", "train-joint"])
@pytest.mark.parametrize(
    "weights", ["nothing.pth", "s3://b/w.pth", "~/w", __file__, "/dev/zero", "x" * 300]
)
def test_weights_that_are_no_file_are_refused_before_anything_is_read(
    weights: str, command: str, lst: Lst, small_lvis: Any, tmp_path: Path
) -> None:
    train, work = tmp_path / "train.json", tmp_path / "work"
    train.write_text(json.dumps(small_lvis.train), encoding="utf-8")
    how = ("--joint",) if command == "train-joint" else ("--b", 3, "--phases", 1)
    words = ("--train", train, "--val", train, "--images", tmp_path, "-w", work)
    assert lst("split", *words, *how).code == 0
    train.unlink()
    for more in ((), ("--dry-run",)):
        outcome = lst(command, "-w", work, "--weights", weights, *more)
        assert outcome.code == 1
        assert f"error: --weights {weights}: " in shown(outcome)

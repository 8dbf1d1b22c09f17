from __future__ import annotations

import json

import pytest

from lst_cli.errors import LstError
from lst_cli.text import printable_lines
from lst_cli.workspace.manifest import FORMATS, Split
from lst_cli.workspace.records import load_record, save_json, save_record


def test_labels_are_ranks_in_the_class_order(split):
    assert split.class_order == [4, 2, 5, 1, 3]
    assert [split.labels_of(phase) for phase in range(3)] == [range(2), range(2, 4), range(4, 5)]
    assert [split.seen_classes(phase) for phase in range(3)] == [2, 4, 5]


def test_other_classes_or_content_change_the_digest_and_other_places_do_not(split):
    moved = split.train.model_copy(update={"path": "/elsewhere"})
    elsewhere = {"train": moved, "val": moved, "image_dirs": ("/elsewhere",)}
    assert split.model_copy(update=elsewhere).digest == split.digest
    record = split.classes[-1].model_copy(update={"category_id": 9})
    file = split.train.model_copy(update={"sha256": "bb"})
    changes: list[dict[str, object]] = [
        {"groups": ((4, 2, 5), (1,), (3,))}, {"classes": (*split.classes[:-1], record)},
        {"train": file}, {"val": file}, {},
    ]  # fmt: skip
    assert len({split.model_copy(update=change).digest for change in changes}) == 5


def test_a_split_comes_back_as_it_was_written(tmp_path, split):
    save_record(split, tmp_path / "split.json")
    read = load_record(Split, tmp_path / "split.json", "")
    assert (read, read.digest) == (split, split.digest)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON, perhaps cut short"),
        (lambda text: "", "not valid JSON, perhaps cut short"),
        (lambda text: "[1, 2]", "format version None, but this lst reads version 1 and 2"),
        (lambda text: '{"format": 3, "of": "a later lst"}', "format version 3, but this lst reads"),
        (lambda text: text.replace('"base_classes"', '"bass_classes"'), "base_classes: Field req"),
        (lambda text: text.replace('"coco"', '"voc"'), "train.layout"),
    ],
)
def test_a_damaged_manifest_is_named_with_what_is_wrong(tmp_path, split, damage, message):
    path = tmp_path / "split.json"
    save_record(split.model_copy(update={"format": 1}), path)
    record = json.loads(path.read_text())
    del record["checksum"]  # as lst 0.1 wrote it, whose damages are told by the content alone
    path.write_text(damage(json.dumps(record)))
    with pytest.raises(LstError) as caught:
        load_record(Split, path, "lst split ...", FORMATS)
    assert caught.value.message.startswith(str(path))
    assert message in caught.value.message
    other = "format version" in message
    assert ("use the lst that wrote the workspace" in str(caught.value.hint)) == other


def test_a_record_shows_what_cannot_be_seen_and_keeps_it(tmp_path):
    path = tmp_path / "record.json"
    name = "\u202eowl\u200b \x1b[31m\ufeff é 猫"
    save_json({"name": name, name: 1}, path)
    text = path.read_text(encoding="utf-8")
    assert printable_lines(text) == text
    assert "é 猫" in text
    content = json.loads(text)
    assert content["name"] == name
    assert content[name] == 1

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lst_cli.annotations.joined import JoinedDataset, join_datasets
from lst_cli.annotations.read import Dataset
from lst_cli.phases.replay import ALL_CLASSES, Occurrences, base_data, step_data
from lst_cli.samples.phase_dataset import PhaseDataset, SegmentationStore

# (image row, label) of each annotation, images and classes mixed up as in real files.
OBJECTS = [(1, 0), (0, 0), (1, 1), (0, 2), (2, 0), (1, 3), (0, 0), (2, 3), (0, 1), (3, 4)]
IMAGES = 5  # the last one has no annotation


@pytest.fixture
def dataset(read: Callable[..., Dataset]) -> JoinedDataset:
    content: dict[str, Any] = {
        "images": [
            {"id": 100 + row, "height": 20 + row, "width": 40 + row, "file_name": f"{row}.png"}
            for row in range(IMAGES)
        ],
        "annotations": [
            {
                "id": 1 + row, "image_id": 100 + image, "category_id": 50 + label,
                "bbox": [row, 1, 4, 4], "area": 16.0,
                "segmentation": [[row, 1, row + 4, 1, row + 4, 5 + 0.5 * row]],
            }
            for row, (image, label) in enumerate(OBJECTS)
        ],
        "categories": [{"id": 50 + label, "name": f"class {label}"} for label in range(5)],
    }  # fmt: skip
    return join_datasets([read(content)])


LABELS = np.array([label for _, label in OBJECTS])
OCCURRENCES = Occurrences.of(np.array([image for image, _ in OBJECTS]), LABELS, 5)


def make(dataset: JoinedDataset, phase: int, **options: Any) -> PhaseDataset:
    """Phase 0 has labels 0 and 1, phase 1 label 2, phase 2 labels 3 and 4."""
    new = [range(2), range(2, 3), range(3, 5)][phase]
    data = step_data(OCCURRENCES, new, phase, seed=0)
    if phase == 0:
        data = base_data(OCCURRENCES, new, seed=0)
    return PhaseDataset(dataset, LABELS, new.stop, data, **options)


def rows_of(sample: Any) -> list[int]:
    """Annotation rows, which the boxes carry in x."""
    return [int(x) for x in sample.boxes[:, 0]]


def expected_rows(image: int, seen: int) -> list[int]:
    return [r for r, (i, label) in enumerate(OBJECTS) if i == image and label < seen]


# Phase and label bound of the seen classes.
PHASES = pytest.mark.parametrize(("phase", "seen"), [(0, 2), (1, 3), (2, 5)])


@PHASES
@pytest.mark.parametrize("others", ["ignore", "background", "count"])  # the mapper tells two apart
def test_only_the_entrys_class_counts_unless_all_do(phase, seen, others, dataset):
    entries = make(dataset, phase, others=others)
    classes = set()
    for position in range(5 * len(entries.data)):
        image, label = entries.entry(position)
        sample = entries[position]
        assert (sample.image, sample.position) == (image, position)
        assert (sample.height, sample.width) == (20 + image, 40 + image)
        found = [OBJECTS[row][1] for row in rows_of(sample)]
        assert sorted(rows_of(sample)) == expected_rows(image, seen)
        assert sample.labels.tolist() == found
        everything = others == "count" or label == ALL_CLASSES
        assert sample.counts.tolist() == [everything or k == label for k in found]
        # Those that count come first, so that an identical box of another class hides none.
        assert sample.counts.any()
        assert sample.counts.tolist() == sorted(sample.counts.tolist(), reverse=True)
        assert sample.boxes[:, 1:].tolist() == [[1, 4, 4]] * len(found)
        for row, raw in zip(rows_of(sample), sample.segmentations, strict=True):
            assert json.loads(raw) == [[row, 1, row + 4, 1, row + 4, 5 + 0.5 * row]]
        classes.add(label)
    assert classes == ({ALL_CLASSES} if phase == 0 else set(range(seen)))


def test_only_segmentations_of_usable_objects_on_wanted_images_are_held(dataset):
    assert make(dataset, 0).segmentations.rows.tolist() == [0, 1, 2, 4, 6, 8]
    # Phase 1 replays labels 0 and 1, which are on images 0, 1 and 2.
    assert make(dataset, 1).segmentations.rows.tolist() == [0, 1, 2, 3, 4, 6, 8]
    nothing_replayed = step_data(OCCURRENCES, range(4, 5), 1, seed=0, replay="none")
    alone = PhaseDataset(dataset, LABELS, 5, nothing_replayed)
    assert alone.segmentations.rows.tolist() == [9]


def test_annotations_without_a_label_do_not_exist_and_have_no_future(dataset):
    labels = LABELS.copy()
    labels[[6, 7]] = -1  # as of crowds, of labels 0 and 3 before
    data = base_data(OCCURRENCES, range(2), seed=0)
    assert rows_of(PhaseDataset(dataset, labels, 2, data).sample(0, ALL_CLASSES)) == [1, 8]
    entries = PhaseDataset(dataset, labels, 2, data, future="ignore")
    assert sorted(rows_of(entries.sample(2, ALL_CLASSES))) == [4]


def test_an_image_without_usable_objects_is_an_empty_sample(dataset):
    sample = make(dataset, 0).sample(4, ALL_CLASSES)
    assert (sample.boxes.shape, sample.labels.shape, sample.segmentations) == ((0, 4), (0,), [])


def test_the_store_gives_back_what_the_file_says_and_nothing_else(dataset):
    store = SegmentationStore(dataset, np.array([2, 5, 9]))
    assert [json.loads(store[row])[0][0] for row in (9, 2, 5)] == [9, 2, 5]
    for row in (0, 3, 10, -1):
        with pytest.raises(KeyError):
            store[row]
    with pytest.raises(KeyError):
        SegmentationStore(dataset, np.zeros(0, dtype=np.int64))[0]


@pytest.mark.parametrize("sampling", ["uniform", "class-aware", "repeat-factor"])
def test_positions_run_through_the_epochs_of_a_sampler(dataset, sampling):
    data = base_data(OCCURRENCES, range(5), seed=0, sampling=sampling, repeat_threshold=0.9)
    epochs = [data.epoch_entries(epoch) for epoch in range(12)]
    if sampling == "repeat-factor":
        assert len({len(one) for one in epochs}) > 1, "epochs of one length prove nothing"
    expected = [int(image) for one in epochs for image in one.images]
    entries = PhaseDataset(dataset, LABELS, 5, data)
    found = [entries.entry(position) for position in range(len(expected))]
    assert found == [(image, ALL_CLASSES) for image in expected]
    # A run that continues asks for a late position first.
    continued = PhaseDataset(dataset, LABELS, 5, data)
    for position in (len(expected) - 1, 3, len(expected) // 2):
        assert continued.entry(position) == found[position]


@pytest.mark.parametrize("others", ["ignore", "count", "background"])
@PHASES
def test_objects_of_the_future_are_there_and_never_count(phase, seen, others, dataset):
    entries = make(dataset, phase, others=others, future="ignore")
    plain = make(dataset, phase, others=others)
    later = 0
    for position in range(3 * len(plain.data)):
        ours, theirs = entries[position], plain[position]
        assert ours.image == theirs.image
        assert sorted(rows_of(ours)) == expected_rows(ours.image, 5)
        labels = [OBJECTS[row][1] for row in rows_of(ours)]
        assert ours.labels.tolist() == [label if label < seen else -1 for label in labels]
        assert not ours.counts[ours.labels < 0].any()
        # Those that count are the same, and come first.
        count = int(theirs.counts.sum())
        assert ours.counts.tolist() == [True] * count + [False] * (len(labels) - count)
        assert rows_of(ours)[:count] == rows_of(theirs)[:count]
        for row, raw in zip(rows_of(ours), ours.segmentations, strict=True):
            assert json.loads(raw)[0][0] == row
        later += int((ours.labels < 0).sum())
    assert (later > 0) == (phase < 2)  # in the last phase there is no future

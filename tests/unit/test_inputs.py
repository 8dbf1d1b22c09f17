from __future__ import annotations

import pickle

import numpy as np
import pytest

from lst_cli.annotations.read import read_dataset
from lst_cli.demo.draw import Parameters, draw_demo
from lst_cli.inputs import label_instances
from lst_cli.phases.partial_labels import ALWAYS, IF_DRAWN, NEVER
from lst_cli.phases.replay import base_data
from lst_cli.samples.mapper import Mapper
from lst_cli.samples.phase_dataset import PhaseDataset
from lst_cli.settings.models import DataSettings

pytestmark = pytest.mark.engine


def test_what_worker_processes_need_can_be_handed_to_them(tmp_path):
    drawn = draw_demo(tmp_path, Parameters(classes=4, size=64, head=4, val_per_class=1))
    inputs = label_instances(read_dataset(drawn.train_json), [1, 2, 3, 4], [drawn.images_dir])
    data = base_data(inputs.occurrences, range(4), seed=0)
    dataset = PhaseDataset(inputs.dataset, inputs.labels, 4, data)
    mapper = Mapper(inputs.paths, DataSettings(min_size=(64,)), channels="RGB", seed=0)
    again, mapped = pickle.loads(pickle.dumps((dataset, mapper)))
    assert mapped(again[3])["image"].equal(mapper(dataset[3])["image"])


def test_files_say_for_which_of_their_classes_images_are_annotated(small_lvis):
    nothing = np.zeros(0, np.int64)
    first, second = small_lvis.train["images"][:2]
    first["neg_category_ids"], first["not_exhaustive_category_ids"] = [4, 99], [2]
    second["neg_category_ids"], second["not_exhaustive_category_ids"] = [], []
    small_lvis.save()
    partial = label_instances(read_dataset(small_lvis.train_json), [4, 2]).partial_labels()
    assert partial.negatives(0, nothing).tolist() == [ALWAYS, NEVER]
    assert partial.negatives(1, np.array([1])).tolist() == [IF_DRAWN, ALWAYS]

    for image in small_lvis.train["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    crowd = next(one for one in small_lvis.train["annotations"] if one["category_id"] == 4)
    crowd["iscrowd"] = 1
    row = [one["id"] for one in small_lvis.train["images"]].index(crowd["image_id"])
    small_lvis.save()
    # Of no class 99 does the file say anything.
    exhaustive = label_instances(read_dataset(small_lvis.train_json), [4, 99]).partial_labels()
    assert exhaustive.negatives((row + 1) % 2, nothing).tolist() == [ALWAYS, IF_DRAWN]
    assert exhaustive.negatives(row, nothing).tolist() == [NEVER, IF_DRAWN]

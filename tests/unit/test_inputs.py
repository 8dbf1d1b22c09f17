from __future__ import annotations

import pickle

import pytest

from lst_cli.annotations.read import read_dataset
from lst_cli.demo.draw import Parameters, draw_demo
from lst_cli.inputs import label_instances
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

"""Which row of a model is which class, and how many images it is shown."""

from __future__ import annotations

import numpy as np
import pytest

from lst_cli.adopt.plan import image_passes, match_classes, read_names
from lst_cli.annotations.read import Categories
from lst_cli.errors import LstError

FILE = Categories(np.array([7, 3, 5]), ["cat", "dog", "emu"], ["", "", ""])


def test_given_names_decide_and_what_does_not_fit_is_named():
    found = match_classes(4, FILE, ["emu", "yak", "cat", "gnu"], ["cat", "dog", "emu", "x"], "coco")
    assert found.ids == (5, None, 7, None)
    assert found.known == {5: 0, 7: 2}
    assert found.dropped == ("yak", "gnu")
    assert found.unknown == ("dog",)


def test_names_of_the_data_set_are_used_where_they_fit():
    found = match_classes(3, FILE, None, ["dog", "cat", "gnu"], "coco_2017_train")
    assert found.ids == (3, 7, None)
    assert found.named_by == "names of coco_2017_train"


@pytest.mark.parametrize("builtin", [[], ["dog", "cat"], ["gnu", "yak", "cat"]])
def test_otherwise_rows_are_categories_in_ascending_id(builtin):
    assert match_classes(3, FILE, None, builtin).ids == (3, 5, 7)


@pytest.mark.parametrize(
    ("rows", "given", "reason"),
    [
        (2, None, "the model has 2 classes, and the training file 3 categories"),
        (2, ["cat"], "--classes has 1 name, and the model 2 classes"),
        (1, ["catt"], "no class of these names, such as catt; did you mean cat?"),
    ],
)
def test_other_counts_and_other_names_are_refused(rows, given, reason):
    with pytest.raises(LstError) as caught:
        match_classes(rows, FILE, given)
    assert reason in caught.value.message
    assert caught.value.hint


def test_a_name_that_two_categories_have_is_refused():
    twice = Categories(np.array([1, 2]), ["cat", "cat"], ["", ""])
    with pytest.raises(LstError, match="several categories called cat"):
        match_classes(1, twice, ["cat"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no names"),
        (b"cat\n\ndog\n", "line 2: no name"),
        (b"cat\ndog\ncat", "line 3: cat stands in line 1 too"),
        (b"\xff\xfe", "not UTF-8 text"),
        (None, "names.txt: no such file"),
    ],
)
def test_a_file_that_holds_no_names_is_refused(tmp_path, text, reason):
    file = tmp_path / "names.txt"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(LstError) as caught:
        read_names(file)
    assert reason in caught.value.message


def test_names_may_have_spaces_and_blank_lines_at_the_end(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes(b"\xef\xbb\xbftraffic light \r\ncat\n\n")
    assert read_names(file) == ["traffic light", "cat"]


def test_a_model_is_shown_a_tenth_of_its_own_training_at_most():
    assert image_passes(None, 10**6, 10**5) == 2000
    assert image_passes(None, 10**6, 30) == 60
    assert image_passes(None, 4000, 10**5) == 400
    assert image_passes(300, 4000, 10) == 300
    with pytest.raises(LstError, match="more than a tenth of the 4,000"):
        image_passes(401, 4000, 10)

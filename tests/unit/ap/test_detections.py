from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lst_cli.ap.detections import LVIS_CAP, Cap, gather_detections, rows_under_cap
from lst_cli.errors import LstError

BOX, FAR = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0]
SIZE = [160, 220]


@pytest.fixture
def content(draw):
    """Class 1 is in image 5, class 2 nowhere, class 3 in image 9 and not in 5; all else unknown."""
    return {
        "images": [draw.image(9, [], []), draw.image(5, [3], [])],
        "annotations": [draw.annotation(1, 5, 1, BOX), draw.annotation(2, 9, 3, BOX)],
        "categories": [{"id": key, "frequency": "r"} for key in (1, 2, 3)],
    }


@pytest.fixture
def gather(content, build, save):
    def gather(found, iou_type="bbox", category_ids=None, cap=LVIS_CAP):
        return gather_detections(build(content, category_ids), save(found), iou_type, cap)

    return gather


def table(detections):
    """Image row, class column and score of each."""
    columns = (detections.image, detections.category, detections.scores)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_they_stand_by_class_image_score_and_place(draw, gather, iou_type):
    found = [
        draw.detection(9, 3, 0.1, FAR),
        draw.detection(5, 3, 0.3, FAR),
        draw.detection(5, 1, 0.5, BOX),
        draw.detection(9, 3, 0.9, BOX),
        draw.detection(5, 1, 0.5, [0.0, 0.0, 4.0, 4.0]),
        draw.detection(5, 1, 0.7, BOX),
    ]
    detections = gather(found, iou_type)
    # Rows of images are by id, so that 5 comes before 9.
    assert table(detections) == [
        (0, 0, 0.7), (0, 0, 0.5), (0, 0, 0.5), (0, 2, 0.3), (1, 2, 0.9), (1, 2, 0.1),
    ]  # fmt: skip
    assert detections.areas.tolist() == [400, 400, 16, 400, 400, 400]
    assert detections.iou_type == iou_type
    assert (len(detections), detections.given) == (6, 6)


def test_classes_nobody_looked_for_are_left_out(draw, gather):
    found = [
        draw.detection(image_id, category_id, 0.5, BOX)
        for image_id in (5, 9)
        for category_id in (1, 2, 3)
    ]
    detections = gather(found)
    assert table(detections) == [(0, 0, 0.5), (0, 2, 0.5), (1, 2, 0.5)]
    assert detections.given == 6


def test_other_classes_of_the_file_fill_the_cap_only(draw, gather):
    found = [draw.detection(5, 1, 0.5, BOX), draw.detection(5, 3, 0.6, BOX)]
    assert table(gather(found, category_ids=[1])) == [(0, 0, 0.5)]
    assert table(gather(found, category_ids=[1], cap=Cap(per_image=1))) == []
    assert table(gather(found, category_ids=[3, 1], cap=Cap(per_image=1))) == [(0, 0, 0.6)]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("box", [[0.0, 0.0, 0.0, 5.0], [3.0, 3.0, 5.0, 0.0], [0.0] * 4])
def test_those_without_an_area_go_but_have_filled_the_cap(draw, gather, iou_type, box):
    found = [draw.detection(5, 1, 0.5, BOX), draw.detection(5, 1, 0.9, box)]
    assert table(gather(found, iou_type)) == [(0, 0, 0.5)]
    assert table(gather(found, iou_type, cap=Cap(per_image=1))) == []


@pytest.mark.filterwarnings("error")
def test_a_box_of_endless_area_goes_without_a_word(draw, gather):
    far = draw.detection(5, 1, 0.9, BOX) | {"bbox": [0.0, 0.0, 1e200, 1e200]}
    assert table(gather([far, draw.detection(5, 1, 0.5, BOX)])) == [(0, 0, 0.5)]


# --- the cap -------------------------------------------------------------------------------------


def best(cap, rows, group, scores):
    kept: list[int] = []
    for key in set(group):
        members = sorted((row for row in rows if group[row] == key), key=lambda row: -scores[row])
        kept += members[:cap]
    return sorted(kept)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from([-7, 3, 10**12]), st.sampled_from([0.0, 0.5, 1.0])
        ),
        max_size=25,
    ),
    st.one_of(st.none(), st.integers(1, 6)),
    st.one_of(st.none(), st.integers(1, 6)),
)
def test_the_cap_is_the_sorted_heads_of_images_then_of_classes(rows, per_image, per_class):
    image, classes, scores = ([row[at] for row in rows] for at in range(3))
    expected = best(per_image, list(range(len(rows))), image, scores)
    expected = best(per_class, expected, classes, scores)
    found = rows_under_cap(
        Cap(per_image, per_class),
        np.array(image, dtype=np.int64),
        np.array(classes, dtype=np.int64),
        np.array(scores),
    )
    assert found.tolist() == expected


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "iou_type", "message"),
    [
        ({"image_id": 99}, "segm", "detection 1 names the unknown image 99"),
        ({"image_id": 2**63 - 1}, "bbox", "1 names the unknown image 9223372036854775807"),
        ({"image_id": 10**30}, "bbox", "detection in row 1, field image_id"),
        ({"category_id": 99}, "segm", "detection 1 names the unknown class 99"),
        ({"category_id": -1}, "bbox", "detection 1 names the unknown class -1"),
        ({"bbox": [0, 0, 1, -1]}, "bbox", "detection 1 has the box .*-1"),
        ({"bbox": [0, 0, -2, -1]}, "bbox", "detection 1 has the box .*-2"),
        ({"segmentation": [[0, 0, 9, 0, 9, 9]]}, "segm", "detection 1 .* not a compressed RLE"),
        ({"segmentation": {"size": [9, 9], "counts": b"n2"}}, "segm", r"size \[9, 9\] in an image"),
        ({"segmentation": {"size": SIZE[::-1], "counts": "n2"}}, "segm", r"size \[220, 160\] in"),
        ({"segmentation": {"size": SIZE, "counts": "n2"}}, "segm", "1 has run lengths that do not"),
        ({"segmentation": {"size": SIZE, "counts": ""}}, "segm", "1 has run lengths that do not"),
        ({"segmentation": {"size": SIZE, "counts": "\ud800"}}, "segm", "detection in row 1: Input"),
    ],
)
def test_a_bad_detection_is_named(draw, gather, change, iou_type, message):
    found = [draw.detection(5, 1, 0.5, BOX), draw.detection(5, 1, 0.5, BOX) | change]
    with pytest.raises(LstError, match=message) as error:
        gather(found, iou_type)
    assert error.value.hint
    assert "\n" not in error.value.message


def test_a_letter_that_is_none_of_the_formats_does_not_pass_for_one_that_is(draw, content, gather):
    content["annotations"].clear()  # class 3 is known to be absent from image 5
    for image in content["images"]:  # "?" means 15 pixels
        image["height"], image["width"] = 3, 5
    found = [draw.detection(5, 3, 0.5, BOX) | {"segmentation": {"size": [3, 5], "counts": "?"}}]
    assert len(gather(found, "segm")) == 0  # a mask of nothing
    found[0]["segmentation"]["counts"] = "\u00e9"
    with pytest.raises(LstError, match="run lengths that do not fill its image"):
        gather(found, "segm")


def test_how_many_are_wrong_is_told(draw, gather):
    good = draw.detection(5, 1, 0.5, BOX)
    found = [good, good | {"image_id": 7}, good, good | {"image_id": 8}]
    with pytest.raises(LstError, match=r"detection 1 names .* 7 \(2 of 4 detections do such\)"):
        gather(found)
    bad = good | {"bbox": [0, 0, -1, 1]}
    with pytest.raises(LstError, match=r"detection 2 has the box .* \(and 1 more like it\)"):
        gather([good, good, bad, bad])


@pytest.mark.parametrize(
    ("change", "release"),
    [
        ({}, "LVIS v1"),
        ({"file_name": "1.jpg"}, "LVIS v0.5"),
        ({"neg_category_ids": None, "not_exhaustive_category_ids": None}, "a COCO-format file"),
    ],
)
@pytest.mark.parametrize("unknown", [{"category_id": 1203}, {"image_id": 123456}])
def test_detections_of_another_release_are_told_which_one_the_annotations_are(
    draw, content, gather, change, release, unknown
):
    for image in content["images"]:
        image.update(change)
    with pytest.raises(LstError) as error:
        gather([draw.detection(5, 1, 0.5, BOX) | unknown])
    assert f"annotations.json is {release}: " in str(error.value.hint)
    assert ("v0.5 and v1 number classes differently" in str(error.value.hint)) == (
        "LVIS" in release
    )


@pytest.mark.parametrize("any_class", [False, True])
def test_masks_are_the_same_in_several_blocks_as_in_one(draw, build, save, any_class):
    known, found = draw.federated_set(30, per_image=120)
    truth = build(known)
    small = gather_detections(truth, save(found), "segm", any_class=any_class)
    source = save([one | {"note": "x" * 600} for one in found])
    assert source.path.stat().st_size > 2 * 512 * 1024
    large = gather_detections(truth, source, "segm", any_class=any_class)
    for name in ("image", "category", "scores", "areas"):
        assert np.array_equal(getattr(small, name), getattr(large, name)), name
    small_pairs, large_pairs = (
        set(zip(*(column.tolist() for column in one.overlaps), strict=True))
        for one in (small, large)
    )
    assert small_pairs == large_pairs
    assert 100 < len(small) < len(found)

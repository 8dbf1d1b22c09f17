from __future__ import annotations

import numpy as np
import pytest

from lst_cli.ap.errors import analyse_errors, fixed_class_ap, name_errors
from lst_cli.ap.lvis_ap import NO_BINS, TrainBins, average_precision, per_class_ap
from lst_cli.ap.matching import HIT
from lst_cli.ap.metrics import KINDS, ErrorAnalysis
from lst_cli.phases.bins import parse_bins

HERE, THERE, FAR = [0.0, 0.0, 20.0, 20.0], [100.0, 0.0, 20.0, 20.0], [0.0, 100.0, 20.0, 20.0]
NEAR = [10.0, 0.0, 20.0, 20.0]  # IoU with HERE: 200 / 600
ON = [4.0, 0.0, 20.0, 20.0]  # IoU with HERE: 320 / 480


@pytest.fixture
def analyse(match, draw):
    """Analyse detections (image, class, score, box) of annotations (image, class, box).

    `negative` are lists of images; annotations at the places `ignore` do not count.
    """

    def analyse(annotated, found, *, negative=(), ignore=(), by=NO_BINS):
        content = {
            "images": [draw.image(n, dict(negative).get(n, []), []) for n in (1, 2, 3)],
            "annotations": [
                draw.annotation(n + 1, *one) | {"ignore": int(n in ignore)}
                for n, one in enumerate(annotated)
            ],
            "categories": [{"id": n, "frequency": "r"} for n in (1, 2, 3)],
        }
        records = [draw.detection(*one) for one in found]
        return analyse_errors(match(content, records, any_class=True), by)

    return analyse


def counts(**known):
    return {kind: known.get(kind, 0) for kind in KINDS}


def prices(**known):
    return {kind: pytest.approx(known.get(kind, 0.0), abs=1e-12) for kind in KINDS}


ONE, OTHER, TWO, APART = (1, 1, HERE), (1, 1, THERE), (2, 2, HERE), (1, 2, THERE)


def of(score, box):
    """A detection of class 1 in image 1."""
    return (1, 1, score, box)


@pytest.mark.parametrize(
    ("annotated", "found", "kind", "price", "more"),
    [
        # A wrong place becomes right where it stands: the false alarm above it stays.
        ([ONE], [of(0.9, FAR), of(0.8, NEAR)], "localisation", 1 / 2, {"background": 1}),
        # An error beside what is right vanishes.
        ([ONE], [of(0.9, NEAR), of(0.8, HERE)], "localisation", 1 / 2, {}),
        ([ONE, OTHER], [of(0.9, HERE), of(0.8, ON), of(0.7, THERE)], "duplicate", 50 / 101 / 3, {}),
        ([ONE], [of(0.9, FAR), of(0.8, HERE)], "background", 1 / 2, {}),
        ([ONE, OTHER], [of(0.9, HERE)], "missed", 50 / 101, {}),
        ([ONE, TWO], [], "missed", 1, {"missed": 2}),
        # A class of which everything was missed has its whole AP to gain.
        ([ONE, TWO], [of(0.9, FAR), (2, 2, 0.5, HERE)], "missed", 1 / 2, {"background": 1}),
        # Of several wrong places the best becomes right, the others vanish. Before: one right at
        # rank 4, precision 1/4 up to recall 0.5.
        (
            [ONE, OTHER],
            [of(0.7, NEAR), of(0.9, NEAR), of(0.8, NEAR), of(0.6, THERE)],
            "localisation",
            1 - 51 / 101 / 4,
            {"localisation": 3},
        ),
        # A wrong name costs two classes: class 2 said of an object of class 1.
        ([ONE, APART], [(1, 2, 0.9, ON), (1, 2, 0.8, THERE)], "classification", 3 / 4, {}),
        # It takes its place in the other class, below the false alarm, and is no duplicate there:
        # class 1 goes from 0 to 1/2, class 2 from 1/2 to 1.
        (
            [ONE, APART],
            [of(0.95, FAR), (1, 2, 0.9, HERE), (1, 2, 0.7, ON), (1, 2, 0.8, THERE)],
            "classification",
            1 / 2,
            {"classification": 2, "background": 1},
        ),
    ],
)
def test_every_error_has_a_name_and_every_name_a_price(
    analyse, annotated, found, kind, price, more
):
    one = analyse(annotated, found).all
    assert one.counts == counts(**{kind: 1, **more})
    assert one.dAP50 == prices(**{kind: price})


def test_wrong_in_both_place_and_name_vanishes(analyse):
    annotated = [(1, 2, HERE), (2, 1, HERE)]
    found = [(1, 2, 0.9, HERE), (1, 1, 0.9, NEAR), (2, 1, 0.8, HERE)]
    one = analyse(annotated, found, negative={1: [1]}).all
    assert one.counts == counts(both=1)
    assert pytest.approx((1 / 2 + 1) / 2) == one.AP50
    assert one.dAP50 == prices(both=1 / 4)


# --- the order of names ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "found", "kind"),
    [
        (NEAR, [(1, 1, 0.9, NEAR), (1, 2, 0.8, NEAR)], "localisation"),  # before a wrong name
        (HERE, [(1, 1, 0.9, HERE), (1, 1, 0.8, ON), (1, 2, 0.7, HERE)], "classification"),
        (NEAR, [(1, 1, 0.9, HERE), (1, 1, 0.8, HERE), (1, 2, 0.7, NEAR)], "duplicate"),
    ],
)
def test_the_first_name_that_fits_is_given(analyse, other, found, kind):
    # localisation, classification, duplicate, both
    annotated = [(1, 1, HERE), (1, 2, other)]
    assert analyse(annotated, found).all.counts == counts(**{kind: 1})


def test_iou_of_exactly_one_half_and_one_tenth_are_inside(analyse):
    annotated = [(1, 1, [0.0, 0.0, 20.0, 20.0]), (1, 2, THERE)]
    right = [(1, 1, 0.9, HERE), (1, 2, 0.9, THERE)]
    half, tenth, less = [[0.0, 0.0, 20.0, height] for height in (10.0, 2.0, 1.9)]
    for box, kind in ((half, "duplicate"), (tenth, "localisation"), (less, "background")):
        assert analyse(annotated, [*right, (1, 1, 0.5, box)]).all.counts == counts(**{kind: 1})
    for box, kind in ((half, "classification"), (tenth, "both"), (less, "background")):
        assert analyse(annotated, [*right, (1, 2, 0.5, box)]).all.counts == counts(**{kind: 1})


# --- what is no error in a federated set -----------------------------------------------------


IN_TWO = [ONE, TWO]
FOUND_TWO = [of(0.8, HERE), (2, 2, 0.8, HERE)]
UNSURE, TAKEN = of(0.5, THERE), [of(0.9, HERE), of(0.8, HERE)]


@pytest.mark.parametrize(
    ("annotated", "found", "more", "kinds"),
    [
        # Class 2 is neither annotated in image 1 nor known to be absent.
        (IN_TWO, [*FOUND_TWO, (1, 2, 0.9, HERE)], {}, {}),
        (IN_TWO, [*FOUND_TWO, (1, 2, 0.9, HERE)], {"negative": {1: [2]}}, {"classification": 1}),
        # An annotation that does not count is not missed and makes nothing right.
        ([ONE, OTHER], [UNSURE], {"ignore": [0]}, {}),
        ([ONE, OTHER], [of(0.9, NEAR), UNSURE], {"ignore": [0]}, {"localisation": 1}),
        ([ONE, OTHER], [*TAKEN, UNSURE], {"ignore": [0]}, {"duplicate": 1}),
        # Another image is another world.
        (IN_TWO, [*FOUND_TWO, (2, 1, 0.9, HERE)], {"negative": {2: [1]}}, {"classification": 1}),
        ([ONE], [of(0.8, HERE), (2, 1, 0.9, HERE)], {"negative": {2: [1]}}, {"background": 1}),
    ],
)
def test_in_a_federated_set_only_what_is_known_is_wrong(analyse, annotated, found, more, kinds):
    assert analyse(annotated, found, **more).all.counts == counts(**kinds)


def test_an_error_that_can_become_nothing_right_vanishes(analyse):
    # The object it lies on is taken: only class 2 gains.
    one = analyse(IN_TWO, [*FOUND_TWO, (1, 2, 0.9, HERE)], negative={1: [2]}).all
    assert one.dAP50 == prices(classification=1 / 4)
    one = analyse([ONE, OTHER], [of(0.9, NEAR), UNSURE], ignore=[0]).all
    assert one.dAP50 == prices(localisation=1 / 2)


def test_false_alarms_of_a_class_without_ground_truth_are_counted_and_cost_nothing(analyse):
    one = analyse([(1, 1, HERE)], [(1, 1, 0.8, HERE), (1, 3, 0.9, FAR)], negative={1: [3]}).all
    assert one.counts == counts(background=1)
    assert (one.classes, one.with_ground_truth) == (3, 1)
    assert round(one.AP50 or 0, 12) == 1.0  # lvis-api divides by one and a hair
    assert one.dAP50 == prices()


# --- the whole -------------------------------------------------------------------------------


def test_bins_hold_the_classes_that_claim_and_those_that_are_missed(analyse):
    annotated = [(1, 1, HERE), (1, 2, THERE)]
    by = TrainBins({1: 1, 2: 40}, parse_bins("=1,10-99,>=100"))
    found = analyse(annotated, [(1, 2, 0.9, ON), (1, 2, 0.8, THERE)], by=by)
    few, more, none = found.bins
    assert (few.bin, few.low, few.high, few.classes) == ("=1", 1, 2, 1)
    assert few.counts == counts()
    assert few.dAP50 == prices(classification=1.0)
    assert more.counts == counts(classification=1)
    assert more.dAP50 == prices(classification=1 / 2)
    assert (none.classes, none.with_ground_truth, none.AP50) == (0, 0, None)
    assert none.dAP50 == dict.fromkeys(KINDS)
    assert (found.images, found.annotations, found.right) == (3, 2, 1)
    assert (found.iou_type, found.format) == ("bbox", 1)
    assert ErrorAnalysis.model_validate_json(found.model_dump_json()) == found


def test_without_annotations_nothing_has_a_price(analyse):
    found = analyse([], [(1, 1, 0.9, HERE)], negative={1: [1]})
    assert found.all.counts == counts(background=1)
    assert found.all.AP50 is None
    assert found.all.dAP50 == dict.fromkeys(KINDS)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_of_any_set_every_error_has_one_name_and_no_price_is_below_nothing(
    match, draw, seed, iou_type
):
    content, found = draw.federated_set(seed)

    def run(records):
        return match(content, records, iou_type, any_class=True)

    for row, record in enumerate(found):
        record["score"] += row / 2**30  # no two alike, so that a score names its record
    by_score = {record["score"]: record for record in found}
    matches = run(found)
    errors = name_errors(matches)
    ap50 = per_class_ap(average_precision(matches).precision, "AP50")
    np.testing.assert_array_equal(fixed_class_ap(matches, errors, None), ap50)
    hits = matches.rows[matches.outcome[0, 0] == HIT]
    assert not set(hits.tolist()) & set(errors.rows.tolist())
    assert not matches.excused[errors.rows].any()
    assert {0, 1, 2, 3} <= set(errors.kind.tolist()) <= {0, 1, 2, 3, 4}  # missed is no detection
    for kind in KINDS:
        assert np.nanmin(fixed_class_ap(matches, errors, kind) - ap50) >= 0
    # Without the detections of a kind, lvis-api's own AP is that of the oracle.
    records = [by_score[score] for score in matches.detections.scores.tolist()]
    for kind in KINDS[2:5]:  # both, duplicate, background
        gone = set(errors.rows[errors.kind == KINDS.index(kind)].tolist())
        left = [record for row, record in enumerate(records) if row not in gone]
        fixed = per_class_ap(average_precision(run(left)).precision, "AP50")
        np.testing.assert_array_equal(fixed_class_ap(matches, errors, kind), fixed)

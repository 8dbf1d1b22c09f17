"""Where AP is lost: every wrong detection gets a reason, and every reason a price.

The kinds of error are those of TIDE (Bolya et al., ECCV 2020), carried over to federated AP at
IoU 0.5. A detection is wrong if lvis-api's matching counts it as wrong: its class was looked for
in its image, it matched nothing, and not every instance left over may lack an outline. What is
ignored or excused is no error, and neither is anything where nobody looked.

A wrong detection is compared with all annotations of its image that have an area, whatever scored
class they are of. The first line that fits names the error, in the order of TIDE's own program:

- *localisation*: its best IoU with an annotation of its class is in [0.1, 0.5);
- *classification*: IoU of 0.5 or more with an annotation of another class;
- *duplicate*: IoU of 0.5 or more with one of its class, which a better detection took;
- *both*: IoU in [0.1, 0.5) with an annotation of another class;
- *background*: all else.

An annotation that nothing matched is *missed*, unless a localisation or classification error
overlaps no other of that kind more.

The price of a kind, dAP50, is AP50 after an oracle has fixed all errors of that kind and no
other, minus AP50:

- localisation: the detection becomes right where it stands in the order of scores. If a detection
  has taken its annotation before, or it does not count, it vanishes; of several that point at one
  annotation the best becomes right and the others vanish.
- classification: likewise, and it moves to the list of the annotation's class.
- duplicate, both, background: the detection vanishes.
- missed: the annotations leave the count. A class of which none is left counts as 1. (TIDE lets
  it leave the mean, which hides the price where it is highest: among the rarest classes.)

Prices may overlap, and do not sum to 1 - AP50. Each is 0 or above. Classes without ground truth
have no price; their false alarms are counted nevertheless.

Letters: D detections, W wrong ones, M annotations, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.ap.detections import BACKGROUND, FOREGROUND, Overlaps
from lst_cli.ap.lvis_ap import NO_BINS, TrainBins, precision_recall_curve
from lst_cli.ap.matching import HIT, Matches
from lst_cli.ap.metrics import KINDS, ErrorAnalysis, ErrorBin, ErrorShares, Kind

_ALL, _LOWEST = 0, slice(1)  # area range of all sizes, lowest IoU threshold


@dataclass(frozen=True, eq=False)
class Errors:
    """Every error by name."""

    rows: NDArray[np.int64]  # wrong detections, ascending, shape (W,)
    kind: NDArray[np.int64]  # position in `KINDS` of each, shape (W,)
    # Annotation that a localisation or classification error points at, else -1, shape (W,).
    target: NDArray[np.int64]
    missed: NDArray[np.int64]  # annotations, ascending


def analyse_errors(matches: Matches, by: TrainBins = NO_BINS) -> ErrorAnalysis:
    """Name every error and say what each kind costs, over all classes and by bin."""
    truth = matches.truth
    errors = name_errors(matches)
    before = fixed_class_ap(matches, errors, None)
    gain = {kind: fixed_class_ap(matches, errors, kind) - before for kind in KINDS}
    k = len(truth.category_ids)
    claimed = matches.detections.category[errors.rows]
    counts = {
        kind: np.bincount(claimed[errors.kind == place], minlength=k)
        for place, kind in enumerate(KINDS)
    }
    counts["missed"] = np.bincount(truth.category[errors.missed], minlength=k)

    def shares(columns: list[int]) -> dict[str, Any]:
        return {
            "classes": len(columns),
            "with_ground_truth": int((~np.isnan(before[columns])).sum()),
            "AP50": _mean(before[columns]),
            "counts": {kind: int(counts[kind][columns].sum()) for kind in KINDS},
            "dAP50": {kind: _mean(gain[kind][columns]) for kind in KINDS},
        }

    return ErrorAnalysis(
        iou_type=matches.detections.iou_type,
        images=len(truth.image_ids),
        annotations=int((~matches.ignore[_ALL]).sum()),
        right=int((matches.outcome[_ALL, 0] == HIT).sum()),
        all=ErrorShares(**shares(list(range(k)))),
        bins=tuple(
            ErrorBin(bin=each.name, low=each.low, high=each.high, **shares(columns))
            for each, columns in by.columns(truth.category_ids)
        ),
    )


def name_errors(matches: Matches) -> Errors:
    """Say of every wrong detection why it is wrong, and which annotations were missed."""
    truth, detections = matches.truth, matches.detections
    if not detections.any_class:
        raise ValueError("detections were gathered without their overlaps with other classes")
    _, (wrong,) = matches.right_and_wrong(_ALL, _LOWEST, slice(None), slice(None))
    rows = np.flatnonzero(wrong)
    overlaps = detections.overlaps.at(wrong[detections.overlaps.detection])
    same = truth.category[overlaps.annotation] == detections.category[overlaps.detection]
    own_iou, own_annotation = _best(rows, overlaps.at(same))
    other_iou, other_annotation = _best(rows, overlaps.at(~same))
    misplaced = (own_iou >= BACKGROUND) & (own_iou < FOREGROUND)
    mistaken = other_iou >= FOREGROUND
    cases: list[tuple[Kind, NDArray[np.bool_]]] = [
        ("localisation", misplaced),
        ("classification", mistaken),
        ("duplicate", own_iou >= FOREGROUND),
        ("both", other_iou >= BACKGROUND),
    ]
    kind = np.select(
        [fits for _, fits in cases],
        [KINDS.index(name) for name, _ in cases],
        KINDS.index("background"),
    )
    target = np.select([misplaced, mistaken], [own_annotation, other_annotation], -1)
    lacking = ~matches.ignore[_ALL]
    lacking[matches.annotation[matches.outcome[_ALL, 0] == HIT]] = False
    lacking[target[target >= 0]] = False
    return Errors(rows, kind, target, np.flatnonzero(lacking))


def fixed_class_ap(matches: Matches, errors: Errors, kind: Kind | None) -> NDArray[np.float64]:
    """AP50 of every class (K,) after an oracle has fixed one kind of error, None for nothing.

    It is nan where there is no ground truth before.
    """
    truth, detections = matches.truth, matches.detections
    (right,), (wrong,) = matches.right_and_wrong(_ALL, _LOWEST, slice(None), slice(None))
    category = detections.category
    counted = ~matches.ignore[_ALL]
    k = len(truth.category_ids)
    known = np.bincount(truth.category[counted], minlength=k) > 0
    if kind == "missed":
        counted[errors.missed] = False
    elif kind is not None:
        chosen = errors.kind == KINDS.index(kind)
        wrong[errors.rows[chosen]] = False
        if kind in ("localisation", "classification"):
            rows, target = _takers(matches, errors.rows[chosen], errors.target[chosen])
            right[rows] = True
            category = category.copy()
            category[rows] = truth.category[target]
    instances = np.bincount(truth.category[counted], minlength=k)
    kept = np.flatnonzero(right | wrong)
    # Of equal scores the image with the lower id comes first, as in lvis-api.
    order = kept[np.lexsort((detections.image[kept], -detections.scores[kept], category[kept]))]
    bounds = np.searchsorted(category[order], np.arange(k + 1)).tolist()
    ap = np.where(known, 1.0, np.nan)
    for column in np.flatnonzero(instances).tolist():
        mine = order[bounds[column] : bounds[column + 1]]
        precision, _ = precision_recall_curve(
            right[None, mine], wrong[None, mine], int(instances[column])
        )
        ap[column] = precision.mean()
    return ap


def _best(
    rows: NDArray[np.int64], overlaps: Overlaps
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Highest IoU of each of some detections, and the (later) annotation; 0 and -1 without any."""
    overlaps = overlaps.at(np.lexsort((overlaps.annotation, overlaps.iou, overlaps.detection)))
    best_iou, best = np.zeros(len(rows)), np.full(len(rows), -1, dtype=np.int64)
    last = overlaps.at(np.flatnonzero(np.diff(overlaps.detection, append=-1)))
    place = np.searchsorted(rows, last.detection)
    best_iou[place], best[place] = last.iou, last.annotation
    return best_iou, best


def _takers(
    matches: Matches, rows: NDArray[np.int64], target: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of detections that point at annotations: those that get theirs, and which."""
    free = ~matches.ignore[_ALL]
    free[matches.annotation[matches.annotation >= 0]] = False
    rows, target = rows[free[target]], target[free[target]]
    order = np.argsort(-matches.detections.scores[rows], kind="stable")
    taken, first = np.unique(target[order], return_index=True)
    return rows[order[first]], taken


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None

"""Names beside crowded points, moved until they do not overlap.

Two libraries do this too. Of 160 names textalloc 1.2 leaves out 70 that find room here, and draws
lines through points; adjustText 1.4 takes 424 seconds where this takes 10.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""(left, bottom, right, top)."""

_GAPS = np.array([0.0, 0.5, 1.1, 1.9, 2.9, 4.1, 5.6])  # from point to name, in heights of a line
_DIRECTIONS = 16
_SWEEPS = 30
_SWEEPS_OF_MANY = 6  # a sweep over a thousand names takes a second
_MANY = 300
_UNREST = 4.0  # of the first sweep, in what a place costs
_ON_PATH = np.linspace(0.1, 0.9, 8)[:, None]  # places along the line from a point to its name

# What a place costs, in heights of a line that a name would rather move away.
_ON_NAME = 40.0
_ON_POINT = 12.0
_NEAR_POINT = 2.5
_LINE_ON_NAME = 8.0
_LINE_ON_POINT = 9.0
_CROSSING = 4.0


class Place(NamedTuple):
    """Where the name of a point stands.

    Where it is too far away to be taken for the point's name without a line, the line has the
    (x, y) of the point and of the box's nearest place.
    """

    box: Box
    line: tuple[tuple[float, float], tuple[float, float]] | None


class _Candidates(NamedTuple):
    """K places for each of N names."""

    boxes: Floats  # (N, K, 4)
    starts: Floats  # (N, 2), the points
    ends: Floats  # (N, K, 2), the place of a box that is nearest to its point
    paths: Floats  # (N, K, S, 2), places along the line there
    far: NDArray[np.bool_]  # (K), whether the line is drawn
    costs: Floats  # (N, K), infinite outside of the area


def place_labels(points: Floats, sizes: Floats, area: Box, *, radius: float) -> list[Place | None]:
    """Find a place for the name of each point.

    Names begin beside their points and move in turn to where they disturb least: not on another
    name, not on a point or a line, and near their own point. At first chance has a say, less and
    less (annealing): a name that can only move if another does first gets its turn.

    Args:
        points: Shape (N, 2), in pixels.
        sizes: Width and height of each name, shape (N, 2).
        area: What no name may leave.
        radius: Of a point, in pixels.

    Returns:
        A place for each name, or None where there is no room. No two boxes overlap.
    """
    if not len(points):
        return []
    found = _candidates(points, sizes, area, radius)
    chosen = found.costs.argmin(axis=1)  # (N,)
    movable = np.flatnonzero(np.isfinite(found.costs).any(axis=1))
    reach = sizes.max(axis=1) + radius + (_GAPS[-1] + 0.15) * sizes[:, 1].mean()
    rng = np.random.default_rng(0)

    def near(one: int, others: NDArray[np.int64]) -> NDArray[np.int64]:
        apart = np.abs(points[others] - points[one]).max(axis=1)
        return np.asarray(others[(apart < reach[one] + reach[others]) & (others != one)])

    sweeps = _SWEEPS if len(points) <= _MANY else _SWEEPS_OF_MANY
    # In the last sweeps a name goes where it is best and nowhere else.
    for unrest in _UNREST * np.linspace(1, -0.2, sweeps).clip(0) ** 2:
        for one in rng.permutation(movable).tolist():
            overlaps, costs = _disturbance(found, one, near(one, movable), chosen)
            total = costs + _ON_NAME * overlaps - unrest * rng.gumbel(size=len(costs))
            chosen[one] = int(total.argmin())
    # Those that overlap fewest stay where they are; others have what room is left.
    crowding = [
        _disturbance(found, one, near(one, movable), chosen)[0][chosen[one]]
        for one in movable.tolist()
    ]
    places: list[Place | None] = [None] * len(points)
    placed = np.empty(0, dtype=np.int64)
    for one in movable[np.argsort(crowding, kind="stable")].tolist():
        overlaps, costs = _disturbance(found, one, near(one, placed), chosen)
        free = np.where(overlaps, np.inf, costs)
        best = int(free.argmin() if overlaps[chosen[one]] else chosen[one])
        if np.isfinite(free[best]):
            chosen[one], placed = best, np.append(placed, one)
            left, bottom, right, top = found.boxes[one, best].tolist()
            (x, y), (to_x, to_y) = points[one].tolist(), found.ends[one, best].tolist()
            line = ((x, y), (to_x, to_y)) if found.far[best] else None
            places[one] = Place((left, bottom, right, top), line)
    return places


def _candidates(points: Floats, sizes: Floats, area: Box, radius: float) -> _Candidates:
    line = float(sizes[:, 1].mean())  # height of a line
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    compass = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (A, 2)
    # A name to the right or left stands level with its point, one above or below is centred.
    sides = np.clip(compass * np.sqrt(2), -1, 1)
    gaps = radius + line * (0.15 + _GAPS)  # (G,)
    away = (compass * gaps[:, None, None]).reshape(-1, 2)  # (K, 2), K = G * A
    half = sizes[:, None] / 2  # (N, 1, 2)
    middle = points[:, None] + np.tile(sides, (len(gaps), 1)) * half + away  # (N, K, 2)
    boxes = np.concatenate([middle - half, middle + half], axis=-1)
    ends = np.clip(points[:, None], boxes[..., :2], boxes[..., 2:])
    starts = points[:, None, None]  # (N, 1, 1, 2)
    paths = starts + (ends[:, :, None] - starts) * _ON_PATH  # (N, K, S, 2)
    far = np.repeat(_GAPS > 0.4, _DIRECTIONS)
    # On the right is where a reader looks first; then left, above and below, then between.
    liking = np.where(compass[:, 0] > 0.99, 0.0, 0.15 + 0.2 * np.abs(np.sin(2 * angles)))
    costs = np.tile((_GAPS[:, None] * 1.2 + liking).reshape(-1), (len(points), 1))
    outward = radius * np.array([-1.0, -1.0, 1.0, 1.0])
    for one, point in enumerate(points):
        rest = np.delete(points, one, axis=0)
        under = _inside(rest, boxes[one][:, None] + 0.6 * outward).sum(axis=1)
        # Two points as near to a name leave a reader in doubt.
        close = _inside(rest, boxes[one][:, None] + 2.0 * outward).sum(axis=1)
        # A point that touches this one is in the way of every line, and of none.
        others = rest[np.abs(rest - point).max(axis=1) > 2.2 * radius]
        apart = np.linalg.norm(paths[one][:, :, None] - others, axis=-1)  # (K, S, others)
        hit = (apart < 1.4 * radius).any(axis=1).sum(axis=1)
        costs[one] += _ON_POINT * under + _NEAR_POINT * close + _LINE_ON_POINT * far * hit
    inside = (boxes[..., :2] >= area[:2]).all(axis=-1) & (boxes[..., 2:] <= area[2:]).all(axis=-1)
    return _Candidates(boxes, points, ends, paths, far, np.where(inside, costs, np.inf))


def _disturbance(
    found: _Candidates, one: int, others: NDArray[np.int64], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """For each place of a name: how many of some others overlap it, and its further costs, (K)."""
    mine, boxes = found.boxes[one][:, None], found.boxes[others, chosen[others]]
    overlaps = (
        (mine[..., 0] < boxes[:, 2])
        & (boxes[:, 0] < mine[..., 2])
        & (mine[..., 1] < boxes[:, 3])
        & (boxes[:, 1] < mine[..., 3])
    ).sum(axis=1)
    on_names = _inside(found.paths[one][:, :, None], boxes).any(axis=1).sum(axis=1)
    others = others[found.far[chosen[others]]]  # those with lines
    places = found.paths[others, chosen[others]].reshape(-1, 2)
    under = _inside(places, mine).sum(axis=1)
    ends = found.ends[others, chosen[others]]
    crossed = _cross(found.starts[one], found.ends[one][:, None], found.starts[others], ends)
    own_line = _LINE_ON_NAME * on_names + _CROSSING * crossed.sum(axis=1)
    return overlaps, found.costs[one] + _LINE_ON_NAME * under / 2 + found.far * own_line


def _cross(start: Floats, end: Floats, starts: Floats, ends: Floats) -> NDArray[np.bool_]:
    """Which lines cross others: the ends of each lie on both sides of the other."""

    def side(a: Floats, b: Floats, c: Floats) -> Floats:
        (x, y), (to_x, to_y) = np.moveaxis(b - a, -1, 0), np.moveaxis(c - a, -1, 0)
        return np.asarray(x * to_y - y * to_x)

    apart = side(start, end, starts) * side(start, end, ends) < 0
    return np.asarray(apart & (side(starts, ends, start) * side(starts, ends, end) < 0))


def _inside(points: Floats, boxes: Floats) -> NDArray[np.bool_]:
    # Side by side rather than `.all(axis=-1)`, which takes ten times as long over two numbers.
    x, y = points[..., 0], points[..., 1]
    return np.asarray(
        (x > boxes[..., 0]) & (x < boxes[..., 2]) & (y > boxes[..., 1]) & (y < boxes[..., 3])
    )

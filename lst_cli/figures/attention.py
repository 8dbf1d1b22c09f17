"""What new classes have of the base classes: the generator's attention, laid out in the plane.

The attention m of a class (section 3.4) is a distribution over the base classes. How far two
classes are apart is the Hellinger distance of their distributions: the Euclidean distance of the
square roots. It is a metric, which Kullback-Leibler is not; base classes that only one of the two
attends to give no infinities; and small coefficients count too, where the Euclidean distance of m
itself would be that of the largest one alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lst_cli.errors import LstError
from lst_cli.figures.shown_objects import class_names
from lst_cli.files import require_regular
from lst_cli.workspace.store import Workspace, require_unchanged

TOP = 3
"""How many base classes are named for each class."""

_FEWEST = 4  # t-SNE needs more points than its perplexity, and a perplexity of 2
_MOST_EXACT = 300  # beyond, the exact gradient takes long and Barnes-Hut is good enough
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Attention:
    """The attention coefficients of the classes that a phase brought."""

    phase: int
    classes: tuple[str, ...]  # names in class order, C of them
    base_classes: tuple[str, ...]  # names in class order, b of them
    weights: NDArray[np.float64]  # m, shape (C, b); rows sum to 1
    left_out: tuple[str, ...] = ()  # classes without a usable box, which have no m
    ids: Mapping[str, int] = field(default_factory=dict)  # by name, for names no font can draw

    @property
    def needs_tsne(self) -> bool:
        """Whether there are enough classes for t-SNE."""
        return len(self.classes) >= _FEWEST


@dataclass(frozen=True)
class Layout:
    """Classes in the plane."""

    points: NDArray[np.float64]  # shape (C, 2); centred, the longest extent along x
    perplexity: float | None  # of the t-SNE; None for principal components, with too few classes

    @property
    def method(self) -> str:
        """How the points were found, in words."""
        return "principal components" if self.perplexity is None else "t-SNE"


def newest_attention(workspace: Workspace) -> Attention | None:
    """The attention of the newest finished phase that a generator wrote rows for.

    Raises:
        LstError: If its file is damaged, or is not of the phase's classes.
    """
    split = workspace.split
    for phase in reversed(workspace.done_phases()):
        path = workspace.phase(phase).attention
        if path.exists():
            hint = (
                f"put the file back from a copy, or move {path} elsewhere and do without the figure"
            )
            require_unchanged(path, workspace.require_done(phase).attention_sha256, hint)
            names = [record.name for record in split.classes]
            labels = split.labels_of(phase)
            own, base = names[labels.start : labels.stop], names[: split.base_classes]
            ids = {name: category_id for category_id, name in class_names(workspace).items()}
            return replace(load_attention(path, phase, own, base, hint), ids=ids)
    return None


def load_attention(
    path: Path, phase: int, classes: Sequence[str], base_classes: Sequence[str], hint: str
) -> Attention:
    """Read and check the attention of a phase, shape (C, b), and name both in class order.

    Raises:
        LstError: If the file is damaged, or is not of these classes.
    """
    try:
        require_regular(path)
        # Mapped, so that a damaged head that promises terabytes allocates nothing.
        mapped = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it holds several arrays")
        shape, wanted = mapped.shape, (len(classes), len(base_classes))
        if shape != wanted:
            raise ValueError(f"its shape is {shape}, and the split has {wanted}")
        if mapped.dtype.kind != "f":
            raise ValueError(f"it holds {mapped.dtype}, not floating-point numbers")
        weights = np.array(mapped, dtype=np.float64)
        sums = weights.sum(axis=1)
        known = (weights != 0).any(axis=1)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("not every number is 0 or more")
        if (np.abs(sums[known] - 1) > _TOLERANCE).any():
            raise ValueError("not every row sums to 1")
        if not known.any():
            raise ValueError("every row is zero")
    except Exception as error:  # numpy evaluates the head as Python, which may raise anything
        reason = getattr(error, "strerror", None) or error
        raise LstError(f"{path}: no attention of phase {phase}: {reason}", hint) from error
    return Attention(
        phase,
        tuple(name for name, use in zip(classes, known, strict=True) if use),
        tuple(base_classes),
        weights[known] / sums[known, None],
        tuple(name for name, use in zip(classes, known, strict=True) if not use),
    )


def can_lay_out(attention: Attention) -> bool:
    """Tell whether what `lay_out` needs is installed."""
    return not attention.needs_tsne or importlib.util.find_spec("sklearn") is not None


def lay_out(attention: Attention) -> Layout:
    """Lay one class or more out so that those with similar attention lie together.

    The same attention always gives the same layout.

    Raises:
        LstError: If scikit-learn is needed and not installed.
    """
    roots = np.sqrt(attention.weights)  # (C, b), Hellinger distance
    plane = _principal(roots)  # (C, 2)
    if not attention.needs_tsne:
        return Layout(plane, None)
    perplexity = choose_perplexity(len(roots))
    return Layout(_principal(_tsne(roots, plane, perplexity)), perplexity)


def choose_perplexity(classes: int) -> float:
    """Choose how many neighbours a class has, roughly.

    A third of the classes at most, since with more all are neighbours of all; 30 where there are
    plenty, which is scikit-learn's default; never below 2.

    Example:
        >>> [choose_perplexity(classes) for classes in (4, 22, 40, 1000)]
        [2.0, 7.0, 13.0, 30.0]
    """
    return float(min(max((classes - 1) / 3, 2.0), 30.0))


def top_base_classes(attention: Attention, count: int = TOP) -> list[list[tuple[str, float]]]:
    """For each class, the base classes it attends to most and their coefficients.

    Largest first, ties in class order; fewer than `count` where there are no more.
    """
    order = np.argsort(-attention.weights, axis=1, kind="stable")[:, :count]
    return [
        [(attention.base_classes[base], float(weights[base])) for base in bases]
        for bases, weights in zip(order, attention.weights, strict=True)
    ]


def _tsne(
    roots: NDArray[np.float64], plane: NDArray[np.float64], perplexity: float
) -> NDArray[np.float64]:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise LstError(
            f"the attention figure needs scikit-learn: {error}", "pip install scikit-learn"
        ) from error
    # scikit-learn's own start from principal components divides by zero where all classes are
    # alike. The noise lets points apart that start at one place, or on one line.
    noise = np.random.default_rng(0).standard_normal(plane.shape)
    spread = plane[:, 0].std()
    start = 1e-4 * (plane / spread if spread > 1e-9 else noise) + 1e-6 * noise
    found: NDArray[np.float64] = TSNE(
        perplexity=perplexity,
        init=start.astype(np.float32),
        method="exact" if len(roots) <= _MOST_EXACT else "barnes_hut",
        random_state=0,
        n_jobs=1,
    ).fit_transform(roots)
    return found.astype(np.float64)


def _principal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first two principal components; a direction's largest value is above 0."""
    centred = values - values.mean(axis=0)  # (C, D)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(values), 2))
    kept = min(2, len(lengths))
    found[:, :kept] = left[:, :kept] * lengths[:kept]
    sizes = np.abs(found)
    largest = (sizes >= (1 - 1e-6) * sizes.max(axis=0)).argmax(axis=0)  # the first of equals
    return np.asarray(found * np.where(found[largest, [0, 1]] < 0, -1.0, 1.0))

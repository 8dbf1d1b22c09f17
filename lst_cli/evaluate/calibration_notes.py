"""What a reader should know of scores that were corrected after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lst_cli.ap.calibration import Correction


def corrected_alike(phases: Mapping[int, Correction | None]) -> bool:
    """Whether the phases of a run were corrected in one way, if each with a strength of its own.

    In the base phase there is nothing that phases could be set against: it then goes as it is.

    Args:
        phases: How each phase was corrected.

    Example:
        >>> corrected_alike({0: None, 1: Correction(way="phases", strength=0.5)})
        True
        >>> corrected_alike({0: None, 1: Correction(way="norcal", strength=0.5)})
        False
    """
    ways = {phase: correction and correction.way for phase, correction in phases.items()}
    later = {way for phase, way in ways.items() if phase > 0}
    if later == {"phases"} and ways.get(0) is None:
        return True
    return len(set(ways.values())) <= 1


def note_strengths(phases: Mapping[int, Correction | None]) -> list[str]:
    """Tell which phases of a run were corrected, in which way and how strongly.

    Args:
        phases: How each phase was corrected.

    Returns:
        A sentence; none where nothing was corrected.

    Example:
        >>> note_strengths({0: None, 1: Correction(way="phases", strength=0.5)})
        ['Scores were calibrated: phases, strength 0.5 in phase 1.']
    """
    told = [
        f"{one.way}, strength {one.strength:g} in phase {phase}"
        for phase, one in phases.items()
        if one is not None
    ]
    return [f"Scores were calibrated: {'; '.join(told)}."] if told else []


def note_ways(runs: Sequence[tuple[str, Sequence[Correction | None]]]) -> list[str]:
    """Tell apart runs whose scores were not corrected in the same way.

    Args:
        runs: The name of each, and how its phases were corrected.

    Returns:
        A sentence; none where they were all corrected in the same way, or none was.

    Example:
        >>> note_ways([("a", [None]), ("b", [Correction(way="norcal", strength=0.3)])])
        ['Scores were calibrated in b (norcal) alone.']
    """
    ways = [sorted({one.way for one in phases if one is not None}) for _, phases in runs]
    if all(one == ways[0] for one in ways):
        return []
    told = [
        f"{name} ({' and '.join(own)})" for (name, _), own in zip(runs, ways, strict=True) if own
    ]
    alone = " alone" if len(told) < len(runs) else ""
    return [f"Scores were calibrated in {', '.join(told)}{alone}."]

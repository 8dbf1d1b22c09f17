from __future__ import annotations

from lst_cli.ap.calibration import Correction
from lst_cli.evaluate.calibration_notes import corrected_alike, note_strengths, note_ways

NORCAL = Correction(way="norcal", strength=0.3)
PHASES = Correction(way="phases", strength=-0.5)


def test_the_base_phase_goes_uncorrected_beside_phases_that_are_corrected_by_phases() -> None:
    assert corrected_alike({0: None, 1: PHASES, 2: Correction(way="phases", strength=1)})
    assert not corrected_alike({0: None, 1: NORCAL})
    assert not corrected_alike({0: NORCAL, 1: PHASES})
    assert not corrected_alike({0: None, 1: PHASES, 2: None})
    assert not corrected_alike({1: PHASES, 2: NORCAL})
    assert corrected_alike({0: NORCAL, 1: NORCAL})
    assert corrected_alike({0: None, 1: None})
    assert corrected_alike({})


def test_the_strength_of_each_phase_is_told() -> None:
    assert note_strengths({0: NORCAL, 1: None, 2: PHASES}) == [
        "Scores were calibrated: norcal, strength 0.3 in phase 0; phases, strength -0.5 in phase 2."
    ]
    assert note_strengths({0: None, 1: None}) == []


def test_runs_are_told_apart_by_how_they_were_corrected() -> None:
    assert note_ways([("a", [None, PHASES]), ("b", [None, None])]) == [
        "Scores were calibrated in a (phases) alone."
    ]
    assert note_ways([("a", [NORCAL]), ("b", [NORCAL, PHASES])]) == [
        "Scores were calibrated in a (norcal), b (norcal and phases)."
    ]
    assert note_ways([("a", [PHASES]), ("b", [Correction(way="phases", strength=1)])]) == []
    assert note_ways([("a", [None]), ("b", [])]) == []

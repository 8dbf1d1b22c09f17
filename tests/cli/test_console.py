from __future__ import annotations

import pytest
from rich.console import Console

from lst_cli.cli import console


@pytest.mark.parametrize("width", range(60, 76))
def test_beside_long_text_the_heading_wraps_and_numbers_are_whole(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "out", lambda: Console(highlight=False, width=80))
    words = ("owl, " * 20)[: width - 1] + "x"
    rows = [["photo.jpg", words, "0.66"]]
    console.print_rows("found", ["image", "objects found", "best score"], rows, text=2)
    printed = capsys.readouterr().out
    assert f"photo.jpg {words}" in printed.replace("  ", " ")
    assert "0.66" in printed
    assert "best" in printed
    assert "score" in printed

"""A report as files: Markdown, CSV, JSON, LaTeX, one HTML page, and the pictures.

`page.html` says what is on the page, `table.html` how a table looks, `page.css` has the style.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lst_cli
from lst_cli.display.canvas import DARK, LIGHT
from lst_cli.display.markup import escape_markdown, render_csv, render_latex, render_markdown
from lst_cli.display.tables import MISSING, Column, Table, binned_table, class_table, with_joint
from lst_cli.errors import LstError
from lst_cli.extend.tables import instant_table
from lst_cli.progress import Progress, silent
from lst_cli.report.data import (
    REPORT_JSON,
    ReportData,
    all_notes,
    headlines,
    mean_forgetting,
    report_tables,
)
from lst_cli.report.plots import Artwork, draw_artwork
from lst_cli.text import json_text, printable
from lst_cli.workspace.atomic import explain_os_error, write_bytes

if TYPE_CHECKING:
    import jinja2

FORMAT = 1  # of report.json

_IN_LATEX = ("bins", "groups", "instant")
# Pictures that an earlier report may have and this one has not.
_LEFTOVERS = ("plots/replay_balance.png", "plots/attention.png", "panels/[0-9][0-9].jpg")
_PAIR = (
    Column("name", "name", "text", lambda pair: pair[0]),
    Column("value", "value", "text", lambda pair: pair[1]),
)


def write_report(
    data: ReportData,
    directory: Path,
    progress: Progress = silent,
    skip: Callable[[LstError], None] | None = None,
) -> dict[str, Path]:
    """Write a report in every format, each file atomically; the same data gives the same bytes.

    Nothing is written before everything is drawn, so that an unreadable image leaves an older
    report as it is; with `skip`, the image is left out instead. Gives the files: ``markdown``,
    ``csv``, ``json``, ``latex``, ``html``, ``plot:NAME`` and ``panel:NUMBER`` for each picture.
    """
    artwork = draw_artwork(data, progress, skip)
    contents: dict[str, tuple[str, str | bytes]] = {
        f"plot:{one.name}": (f"plots/{one.name}.png", one.light) for one in artwork.plots
    }
    for number, (_, image) in enumerate(artwork.panels, start=1):
        contents[f"panel:{number}"] = (f"panels/{number:02d}.jpg", image)
    contents |= {
        "markdown": ("report.md", report_markdown(data, artwork)),
        "csv": ("report.csv", render_csv(binned_table(data.metrics))),
        "json": (REPORT_JSON, json_text(report_json(data)) + "\n"),
        "latex": ("report.tex", report_latex(data)),
        "html": ("report.html", render_html(data, artwork)),
    }
    files = {key: directory / name for key, (name, _) in contents.items()}
    for key, (_, content) in contents.items():
        write_bytes(files[key], content.encode() if isinstance(content, str) else content)
    for pattern in _LEFTOVERS:
        for path in set(directory.glob(pattern)).difference(files.values()):
            with explain_os_error(path):
                path.unlink()
    return files


def report_json(data: ReportData) -> dict[str, Any]:
    """Give the report for programs: AP as fractions, null where there is no ground truth."""
    metrics = data.metrics
    forgotten = mean_forgetting(metrics)
    return {
        "format": FORMAT,
        "title": data.title,
        "demo": data.demo,
        "federated": data.federated,
        "notes": all_notes(data),
        "settings": dict(data.settings),
        "environment": dict(data.environment),
        "rows": [dict(row) for row in binned_table(metrics).rows],
        "forgetting": forgotten and dict(zip(("AP", "with_ground_truth"), forgotten, strict=True)),
        "instant": [dict(row) for row in instant_table(data.instant, metrics, data.phases).rows],
        "phases": [asdict(phase) for phase in data.phases],
        "metrics": [metric.model_dump(mode="json") for metric in metrics],
        "classes": [asdict(record) for record in data.classes],
    }


def report_latex(data: ReportData) -> str:
    r"""Give the tables for a paper, to be read in by ``\input``."""
    tables = report_tables(data)
    parts = [render_latex(tables[name], f"tab:lst-{name}") for name in _IN_LATEX if name in tables]
    return "% Needs \\usepackage{booktabs}.\n\n" + "\n".join(parts)


def report_markdown(data: ReportData, artwork: Artwork) -> str:
    """Give the report as Markdown that refers to the pictures beside it."""
    lines = [f"# {escape_markdown(data.title)}", ""]
    for one in headlines(data.metrics, joint=data.joint):
        name, value, remark = map(escape_markdown, one)
        lines.append(f"- **{name}: {value}** ({remark})")
    lines.append("")
    for note in all_notes(data):
        lines += [f"> {escape_markdown(note)}", ""]
    for table in report_tables(data).values():
        lines += [f"## {escape_markdown(table.title)}", "", render_markdown(table)]
        if table.remark:
            lines += [escape_markdown(table.remark), ""]
    lines += ["## Plots", ""]
    for plot in artwork.plots:
        caption = escape_markdown(plot.caption)
        lines += [f"![{caption}](plots/{plot.name}.png)", "", caption, ""]
    if artwork.panels:
        lines += ["## Validation images", "", "Ground truth left, predictions right.", ""]
        if data.panel_note:
            lines += [f"Predictions shown: {escape_markdown(data.panel_note)}.", ""]
        for number, (panel, _) in enumerate(artwork.panels, start=1):
            lines += [f"![{escape_markdown(panel.title)}](panels/{number:02d}.jpg)", ""]
    for title, pairs in (("Settings", data.settings), ("Environment", data.environment)):
        if pairs:
            table = Table.of(title, pairs.items(), _PAIR)
            lines += [f"## {title}", "", render_markdown(table)]
    return "\n".join(lines).rstrip("\n") + "\n"


def render_html(data: ReportData, artwork: Artwork) -> str:
    """Render the report as one HTML page, with style, plots and images inside."""
    return (
        _templates()
        .get_template("page.html")
        .render(
            data=data,
            artwork=artwork,
            headlines=headlines(data.metrics, joint=data.joint),
            notes=all_notes(data),
            tables=list(report_tables(data).values()),
            classes=with_joint(class_table(data.classes, data.metrics), data.joint),
            version=lst_cli.__version__,
        )
    )


def render_table(table: Table) -> str:
    """Render a table as HTML."""
    from markupsafe import Markup

    return Markup(_templates().get_template("table.html").render(table=table).rstrip())


@cache
def _templates() -> jinja2.Environment:
    import jinja2  # takes a sixth of a second to import

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        # Before it is escaped: nothing that cannot be seen.
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters["data_uri"] = _data_uri
    found.globals |= {
        "render_table": render_table,
        "MISSING": MISSING,
        "LIGHT": LIGHT,
        "DARK": DARK,
    }
    return found


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"

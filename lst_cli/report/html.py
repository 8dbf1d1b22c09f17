"""One page with everything in it: no request leaves the reader's machine."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import lst_cli
from lst_cli.display.markup import escape_html as escape
from lst_cli.display.records import Panel
from lst_cli.display.tables import (
    MISSING,
    Column,
    Table,
    binned_table,
    class_table,
    format_value,
    groups_table,
    sizes_table,
    with_joint,
)
from lst_cli.evaluate.tables import newest, scores_table
from lst_cli.extend.tables import instant_table
from lst_cli.report.artwork import Artwork, Plot
from lst_cli.report.data import ReportData, read_metrics
from lst_cli.report.page_style import style_sheet
from lst_cli.report.summary import Headline, all_notes, headlines
from lst_cli.split.tables import balance_table, training_table


def render_html(data: ReportData, artwork: Artwork) -> str:
    """Render the report as one self-contained HTML page.

    Style, plots and images are inside the file; every text from the user's data
    is escaped.

    Args:
        data: The report.
        artwork: Its plots and panels, drawn.

    Raises:
        LstError: If no phase has been evaluated.
    """
    metrics = read_metrics(data)
    parts = [
        _header(data, headlines(metrics, joint=data.joint)),
        _notes(all_notes(data, metrics)),
        _section(with_joint(binned_table(metrics), data.joint), result=len(metrics) > 1),
        _plots(artwork.plots),
    ]
    if len(metrics) > 1:
        parts.append(_section(groups_table(metrics), result=True))
    if metrics[-1].segm.interval is not None:
        parts.append(_section(scores_table(metrics[-1].segm, newest(metrics[-1].phase))))
    if data.instant:
        parts.append(_section(instant_table(data.instant, metrics, data.phases)))
    if data.phases:
        parts.append(_section(with_joint(training_table(data.phases), data.joint)))
    if data.replay:
        parts.append(_section(balance_table(data.replay)))
    parts += [
        _panels(artwork.panels, data.panel_note),
        _section(with_joint(sizes_table(metrics), data.joint), result=len(metrics) > 1),
        _class_details(with_joint(class_table(data.classes, metrics), data.joint)),
        _pairs(data),
        f"<footer>Written by <code>lst report</code>, lst {escape(lst_cli.__version__)}. "
        "AP as lvis-api defines it, in percent.</footer>",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(data.title)}</title>\n<style>\n{style_sheet()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(data: ReportData, figures: Sequence[Headline]) -> str:
    phases = max((record.phase for record in data.classes), default=0)
    instances = sum(record.instances for record in data.classes)
    text = (
        f"{len(data.classes):,} classes, {instances:,} training instances, learned in a base phase "
        f"and {phases} more, from the most frequent classes to the rarest."
    )
    if phases == 0:
        text = (
            f"{len(data.classes):,} classes, {instances:,} training instances, learned all at once."
        )
    cards = "\n".join(
        f'<div class="headline"><div class="name">{escape(one.name)}</div>'
        f'<div class="value">{escape(one.value)}</div>'
        f'<div class="remark">{escape(one.remark)}</div></div>'
        for one in figures
    )
    return (
        f"<header>\n<h1>{escape(data.title)}</h1>\n<p>{text}</p>\n</header>\n"
        f'<div class="headlines">\n{cards}\n</div>'
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">\n{items}\n</ul>'


def _section(table: Table, *, result: bool = False) -> str:
    remark = f'\n<p class="remark">{escape(table.remark)}</p>' if table.remark else ""
    return (
        f"<section>\n<h2>{escape(table.title)}</h2>\n"
        f'<div class="card scroll">\n{render_table(table, result=result)}\n</div>{remark}\n'
        "</section>"
    )


def render_table(table: Table, *, result: bool = False) -> str:
    """Render a table as HTML.

    Args:
        table: What to render.
        result: Whether the last row is the outcome and stands out. The best
            value of a column is not marked: rows above score fewer classes.
    """
    head = "".join(
        f'<th scope="col"{_class_attribute(column)}{_tooltip(column)}>{escape(column.heading)}</th>'
        for column in table.columns
    )
    lines = [f"<tr>{head}</tr>"]
    if table.counts_classes:
        cells = "".join(
            f"<th{_class_attribute(column)}>{escape(text)}</th>"
            for column, text in zip(table.columns, table.class_line(), strict=True)
        )
        lines.append(f'<tr class="classes">{cells}</tr>')
    rows = []
    for index, row in enumerate(table.rows):
        cells = "".join(_cell(column, row) for column in table.columns)
        mark = ' class="result"' if result and index == len(table.rows) - 1 else ""
        rows.append(f"<tr{mark}>{cells}</tr>")
    return (
        f"<table>\n<thead>\n{chr(10).join(lines)}\n</thead>\n"
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>"
    )


def _cell(column: Column, row: Mapping[str, str | int | float | None]) -> str:
    value = row.get(column.key)
    if value is None:
        return f'<td class="missing">{MISSING}</td>'
    text = escape(format_value(column.kind, value))
    own = row.get(column.classes_key) if column.classes_key else None
    if own is not None and own != column.classes:
        text += f"<small>({escape(format_value('integer', own))})</small>"
    return f"<td{_class_attribute(column)}>{text}</td>"


def _class_attribute(column: Column) -> str:
    if column.key == "note":
        return ' class="text wrap"'
    return ' class="text"' if column.kind in ("text", "phase") else ""


def _tooltip(column: Column) -> str:
    return f' title="{escape(column.description)}"' if column.description else ""


def _plots(plots: Sequence[Plot]) -> str:
    figures = "\n".join(
        f'<figure class="card{" wide" if plot.wide else ""}"><picture>'
        '<source media="(prefers-color-scheme: dark)" '
        f'srcset="{_data_uri(plot.dark, "png")}">'
        f'<img src="{_data_uri(plot.light, "png")}" width="{plot.size[0]}" '
        f'height="{plot.size[1]}" alt="{escape(plot.caption)}"></picture>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in plots
    )
    return (
        f'<section>\n<h2>Phase after phase</h2>\n<div class="plots">\n{figures}\n</div>\n</section>'
    )


def _panels(panels: Sequence[tuple[Panel, bytes]], note: str) -> str:
    if not panels:
        return ""
    figures = []
    for panel, image in panels:
        counts = f"{len(panel.ground_truth)} annotated, {len(panel.predictions)} predicted"
        figures.append(
            '<figure class="card"><div class="sides"><span>ground truth</span>'
            "<span>predictions</span></div>"
            f'<img src="{_data_uri(image, "jpeg")}" alt="{escape(panel.title)}: {counts}">'
            f"<figcaption><b>{escape(panel.title)}</b><span>{counts}</span></figcaption></figure>"
        )
    remark = "A class has one colour on both sides. Labels that would cover others are left out."
    if note:
        remark = f"Predictions shown: {note}. {remark}"
    return (
        f'<section>\n<h2>Validation images</h2>\n<p class="remark">{escape(remark)}</p>\n'
        f'<div class="panels">\n{chr(10).join(figures)}\n</div>\n</section>'
    )


def _class_details(table: Table) -> str:
    return (
        f"<section>\n<h2>{escape(table.title)}</h2>\n"
        f'<details class="card"><summary>{len(table.rows):,} classes in class order</summary>\n'
        f'<div class="scroll">\n{render_table(table)}\n</div></details>\n</section>'
    )


def _pairs(data: ReportData) -> str:
    blocks = []
    for title, pairs in (("Settings", data.settings), ("Environment", data.environment)):
        if pairs:
            rows = "\n".join(
                f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
                for name, value in pairs.items()
            )
            blocks.append(
                f'<div class="card"><h3>{title}</h3>\n<table>\n<tbody>\n{rows}\n</tbody>\n'
                "</table></div>"
            )
    if not blocks:
        return ""
    return (
        "<section>\n<h2>How it was made</h2>\n"
        f'<div class="pairs">\n{chr(10).join(blocks)}\n</div>\n</section>'
    )


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"

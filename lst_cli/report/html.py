"""One page with everything in it: no request leaves the reader's machine.

`page.html` says what is on it, `table.html` how a table looks, `page.css` has the style.
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import lst_cli
from lst_cli.display.canvas import DARK, LIGHT
from lst_cli.display.tables import MISSING, Table, class_table, with_joint
from lst_cli.report.artwork import Artwork
from lst_cli.report.data import ReportData, report_tables
from lst_cli.report.summary import all_notes, headlines
from lst_cli.text import printable

if TYPE_CHECKING:
    import jinja2


def render_html(data: ReportData, artwork: Artwork) -> str:
    """Render the report as one HTML page, with style, plots and images inside.

    Every text from the user's data is escaped.
    """
    page = _templates().get_template("page.html")
    return page.render(
        data=data,
        artwork=artwork,
        headlines=headlines(data.metrics, joint=data.joint),
        notes=all_notes(data),
        tables=list(report_tables(data).values()),
        classes=with_joint(class_table(data.classes, data.metrics), data.joint),
        version=lst_cli.__version__,
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

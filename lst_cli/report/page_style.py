"""The style sheet of the report's page, light or dark as the reader's system is."""

from __future__ import annotations

from lst_cli.display.canvas import DARK, LIGHT, Theme


def style_sheet() -> str:
    """Give the page's CSS, with the very colours that the plots use."""
    return (
        f":root {{ color-scheme: light dark; {_variables(LIGHT, '#f6f7f9', '#fdf4e7')} }}\n"
        "@media (prefers-color-scheme: dark) {\n"
        f"  :root {{ {_variables(DARK, '#10141a', '#2b2418')} }}\n"
        "}\n" + _RULES
    )


def _variables(theme: Theme, page: str, notice: str) -> str:
    values = {
        "page": page,
        "card": theme.background,
        "ink": theme.ink,
        "muted": theme.muted,
        "line": theme.grid,
        "band": theme.band,
        "old": theme.old,
        "new": theme.new,
        "notice": notice,
    }
    return " ".join(f"--{name}: {value};" for name, value in values.items())


_RULES = """
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 64px; }
header p { margin: 0; color: var(--muted); max-width: 76em; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 19px; line-height: 1.3; margin: 44px 0 12px; letter-spacing: -0.005em; }
h2 + p { margin-top: 0; }
p { margin: 10px 0; }
.remark { color: var(--muted); font-size: 13.5px; max-width: 76em; }
.headlines { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr));
  gap: 12px; margin: 26px 0 14px; }
.headline { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 16px; }
.headline .name { color: var(--muted); font-size: 13px; }
.headline .value { font-size: 30px; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.headline .remark { font-size: 12.5px; line-height: 1.4; }
.headline:first-child { border-left: 4px solid var(--old); }
.notes { background: var(--notice); border-left: 4px solid var(--new);
  border-radius: 0 10px 10px 0; padding: 12px 18px; margin: 14px 0; list-style: none; }
.notes li + li { margin-top: 6px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; white-space: nowrap; }
th { font-weight: 600; }
th.text, td.text { text-align: left; }
td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 12em; }
thead th { border-bottom: 1px solid var(--muted); vertical-align: bottom; }
thead tr.classes th { font-weight: 400; color: var(--muted); font-size: 12.5px; padding-top: 0; }
thead tr:not(:last-child) th { border-bottom: 0; padding-bottom: 1px; }
tbody tr + tr td { border-top: 1px solid var(--line); }
tbody tr.result td { font-weight: 650; background: var(--band); }
td small { color: var(--muted); font-weight: 400; font-size: 12px; margin-left: 3px; }
td.missing { color: var(--muted); }
.plots { display: grid; grid-template-columns: minmax(0, 32fr) minmax(0, 22fr); gap: 12px; }
.plots .wide { grid-column: 1 / -1; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 6px; }
figcaption { color: var(--muted); font-size: 13.5px; padding: 4px 12px 8px; }
.panels { columns: 2 440px; column-gap: 12px; }
.panels figure { break-inside: avoid; margin-bottom: 12px; }
.panels figcaption { display: flex; justify-content: space-between; gap: 12px; padding: 8px 6px 3px;
  font-size: 12.5px; }
.panels figcaption b { color: var(--ink); font-weight: 600; overflow-wrap: anywhere; }
.sides { display: flex; color: var(--muted); font-size: 12.5px; padding: 2px 0 5px; }
.sides span { flex: 1; padding-left: 3px; }
details { margin-top: 12px; }
summary { cursor: pointer; font-weight: 600; padding: 9px 12px; border-radius: 8px; }
summary:hover { background: var(--band); }
details table { font-size: 13px; }
details .scroll { max-height: 640px; overflow-y: auto; }
details thead th { position: sticky; top: 0; background: var(--card); }
details tbody td { padding: 4px 10px; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 12px; }
.pairs h3 { font-size: 14px; margin: 8px 10px 4px; }
.pairs td { text-align: left; vertical-align: top; padding: 4px 10px; font-size: 13px; }
.pairs td:first-child { color: var(--muted); }
.pairs td:last-child { white-space: normal; overflow-wrap: anywhere; }
footer { margin-top: 48px; color: var(--muted); font-size: 13px; }
@media (max-width: 760px) {
  main { padding: 24px 14px 48px; }
  .plots { grid-template-columns: minmax(0, 1fr); }
  .pairs { grid-template-columns: minmax(0, 1fr); }
  .panels { columns: auto; }
  /* A wide plot keeps its letters legible and is moved sideways instead. */
  .plots .wide { overflow-x: auto; }
  .plots .wide img { width: 860px; }
}
@media print {
  body { background: none; }
  .card, .headline { break-inside: avoid; }
}
"""

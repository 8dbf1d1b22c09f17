"""The tables of a report, in the order in which every format has them."""

from __future__ import annotations

from lst_cli.display.tables import Table, binned_table, groups_table, sizes_table, with_joint
from lst_cli.evaluate.tables import newest, scores_table
from lst_cli.extend.tables import instant_table
from lst_cli.report.data import ReportData
from lst_cli.split.tables import balance_table, training_table


def report_tables(data: ReportData) -> dict[str, Table]:
    """Make the tables that a report has something to show in, by a short name."""
    metrics = data.metrics
    last = metrics[-1]
    tables = {"bins": binned_table(metrics)}
    if len(metrics) > 1:
        tables["groups"] = groups_table(metrics)
    if last.segm.interval is not None:
        tables["scores"] = scores_table(last.segm, newest(last.phase))
    tables["sizes"] = sizes_table(metrics)
    if data.instant:
        tables["instant"] = instant_table(data.instant, metrics, data.phases)
    if data.phases:
        tables["training"] = training_table(data.phases)
    if data.replay:
        tables["balance"] = balance_table(data.replay)
    return {name: with_joint(table, data.joint) for name, table in tables.items()}

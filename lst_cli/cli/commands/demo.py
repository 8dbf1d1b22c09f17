"""`lst demo`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lst_cli.cli import options
from lst_cli.cli.console import meter, note, print_table, say
from lst_cli.libraries import NETWORK, require


@options.command("demo", "lst demo")
@options.directory_option(
    "-w",
    "--workspace",
    "directory",
    default="lst-demo",
    show_default=True,
    help="Directory for everything, including the drawn images.",
)
@options.number_option("--seed", click.IntRange(0, 2**31 - 1), 0, "Seed for drawing and training.")
@options.set_option
@click.pass_context
def command(ctx: click.Context, directory: Path, seed: int, overrides: tuple[str, ...]) -> None:
    """Run the whole method on a small drawn data set, in minutes.

    Draws a long-tailed data set, trains on it phase by phase with the preset lite-paper, and writes
    a report. The same command continues an interrupted demo.
    """
    from lst_cli.cli.training import training_events
    from lst_cli.demo.run import run_demo
    from lst_cli.display.tables import binned_table, format_seconds

    workspace = options.in_use(ctx, directory)
    require(*NETWORK)
    began = time.monotonic()
    with meter() as tell:
        metrics, files = run_demo(
            workspace,
            seed,
            overrides,
            stage=lambda name: note(f"[{format_seconds(time.monotonic() - began)}] {name}"),
            progress=tell,
            training=training_events(tell),
        )
    print_table(binned_table(metrics))
    note(f"took {format_seconds(time.monotonic() - began)}")
    say(f"report: {files['html']}")

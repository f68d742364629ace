"""``edgegender report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, require_writable, warn
from edgegender.cli.result_rows import read_rows
from edgegender.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from edgegender.reporting.tables import TableRow

FORMATS = ("markdown", "csv", "latex", "html")
GROUPINGS = ("given", "machine", "model")
TITLE = "Accuracy and latency"


def _render(rows: Sequence[TableRow], table_format: str, title: str) -> str:
    from edgegender.reporting.csv_table import render_csv
    from edgegender.reporting.latex import render_latex
    from edgegender.reporting.tables import render_markdown

    if table_format == "csv":
        return render_csv(rows)
    return render_latex(rows, caption=title) if table_format == "latex" else render_markdown(rows)


def _judge_data(rows: Sequence[TableRow], *, is_strict: bool) -> None:
    from edgegender.reporting.tables import first_data_sha256

    first = first_data_sha256(rows)
    other = next((row.source for row in rows if row.data_sha256 not in ("", first)), None)
    if other is None:
        return
    if is_strict:
        known = next(row.source for row in rows if row.data_sha256)
        raise CheckFailedError(
            f"Expected results of the same photos, got others in {other} than in {known}.",
            hint="Make a table for each set of photos, or leave --strict out: the rows are marked then.",
        )
    warn("the results rest on different photos: their accuracies do not compare, and are marked")


@click.command(name="report")
@click.argument("results", nargs=-1, required=True, type=FOLDER)
@click.option("-o", "--output", type=FOLDER, help="File to write instead of standard output.")
@click.option("--format", "table_format", type=click.Choice(FORMATS), default="markdown", show_default=True)
@click.option(
    "--by", type=click.Choice(GROUPINGS), default="given", show_default=True, help="Rows that stand together."
)
@click.option("--title", default=TITLE, show_default=True, help="Of the page, or the caption in LaTeX.")
@click.option(
    "--plot",
    default="p90",
    show_default=True,
    type=click.Choice(("p50", "p90", "p95", "p99")),
    help="Latency in the page's plot.",
)
@click.option("--strict", is_flag=True, help="Refuse results of different photos instead of marking them.")
def command(
    results: tuple[Path, ...], output: Path | None, table_format: str, by: str, title: str, plot: str, strict: bool
) -> None:
    """Make one table from recorded benchmark RESULTS: accuracy, F1 and latency with intervals, and what to know.

    Results of many machines go into one table; one that is given twice stands in it once. Results that were measured
    on different photos are marked: their accuracies do not compare. Invalid and partial figures are marked too.

    \b
    markdown  for a README or an issue
    csv       every figure in a plain unit
    latex     booktabs, for a paper
    html      one file with plots, which needs no internet

    Exit codes: 0 done; 1 a result is edited, damaged, no result or of a newer schema, or --strict refused; 2 wrong
    usage; 3 the file cannot be written, or Jinja2 is missing.
    """  # noqa: D301 - click wants the character itself
    from edgegender import files
    from edgegender.reporting.tables import order_rows

    if table_format == "html" and output is None:
        raise UsageError("Expected a file for the page, got none.", hint="For example: -o results.html")
    if output is not None:
        require_writable(output)
    rows, remarks = read_rows(results)
    for remark in remarks:
        warn(remark)
    rows = order_rows(rows, by)  # type: ignore[arg-type] # click.Choice gives one of GROUPINGS
    _judge_data(rows, is_strict=strict)
    if table_format == "html" and output is not None:
        from edgegender.reporting.result_page import write_result_page

        write_result_page(output, rows, title=title, percent=int(plot[1:]))
        return
    text = _render(rows, table_format, title)
    if output is None:
        click.echo(text, nl=False)
    else:
        files.write_text(output, text)

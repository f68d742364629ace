"""Fills the tables of docs/quantization.md from the records in this folder.

Run: python benchmarks/quantization/make_tables.py

Each `schemes-NETWORK.json` is what `edgegender convert RUN --scheme all` wrote, each `ladder-NETWORK.json` what
`edgegender convert RUN --auto --report` wrote, each `compressed-NETWORK-WAY.json` what `--prune` or `--cluster` wrote
there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgegender.reporting.scheme_table import format_schemes, rows_from_json

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "quantization.md"


def read(path: Path) -> dict[str, Any]:
    """Returns a record."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return values


def machine_line(record: dict[str, Any]) -> str:
    """Returns what the record was made on."""
    machine, versions = record["machine"], record["provenance"]["versions"]
    return (
        f"{machine['cpu_model']}, {'virtual machine, ' if machine['is_virtual_machine'] else ''}TensorFlow "
        f"{versions['tensorflow']}, LiteRT {versions['ai-edge-litert']}."
    )


def render_schemes() -> str:
    """Returns one table a network."""
    parts = []
    for path in sorted(HERE.glob("schemes-*.json")):
        record = read(path)
        parts.append(f"### {record['network']} at {record['input_size_px']} px\n")
        parts.append(format_schemes(rows_from_json(record), record))
        parts.append(f"Recorded in `benchmarks/quantization/{path.name}` on {machine_line(record)}\n")
    return "\n".join(parts)


def render_ladders() -> str:
    """Returns what each rung gave, one table a network."""
    lines = ["| network | rung | judged on | change, points | flips % | s |", "|---|---|---|---|---|---|"]
    for path in sorted(HERE.glob("ladder-*.json")):
        record = read(path)
        for step in record["steps"]:
            report = step["evaluation"] or step["validation"]
            where = "evaluation" if step["evaluation"] else "validation"
            if report is None:
                lines.append(f"| {path.stem[7:]} | {step['mark']} {step['rung']} | | | | {step['seconds']:.0f} |")
                continue
            change = {key: 100 * value + 0.0 for key, value in report["accuracy_difference"].items()}
            lines.append(
                f"| {path.stem[7:]} | {step['mark']} {step['rung']} | {where} | "
                f"{change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}] | "
                f"{100 * report['flip_rate']['value']:.2f} | {step['seconds']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def render_compression() -> str:
    """Returns size, compressed size and latency before and after pruning or clustering."""
    lines = [
        "| network | way | change, points | flips % | file MB | gzip MB | p50 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted(HERE.glob("compressed-*.json")):
        record = read(path)
        network, _, way = path.stem.removeprefix("compressed-").rpartition("-")
        before, after = record["sizes"]["before"], record["sizes"]["after"]
        change = 100 * record["gate"]["accuracy_difference"]["value"] + 0.0
        flips = 100 * record["gate"]["flip_rate"]["value"]
        cells = [
            f"{before['size_bytes'] / 1e6:.2f} → {after['size_bytes'] / 1e6:.2f}",
            f"{before['compressed_bytes'] / 1e6:.2f} → {after['compressed_bytes'] / 1e6:.2f}",
            f"{before['p50_ms']:.3f} → {after['p50_ms']:.3f}",
        ]
        lines.append(f"| {network} | {way} | {change:+.2f} | {flips:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def render(page: str) -> str:
    """Returns the page with its tables filled in."""
    for name, text in (
        ("schemes", render_schemes()),
        ("ladder", render_ladders()),
        ("compression", render_compression()),
    ):
        marked = f"<!-- {name} -->\n\n{text.rstrip()}\n\n<!-- /{name} -->"
        page = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, own=marked: own, page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")

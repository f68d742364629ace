"""The table of docs/camera.md, from the recorded results.

Run: python benchmarks/camera/make_table.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent.parent / "docs" / "camera.md"
_PLACE = re.compile(r"(<!-- camera-cost -->\n).*?(<!-- /camera-cost -->)", re.DOTALL)


def render() -> str:
    """Returns the text that stands between the marks."""
    cost = json.loads((FOLDER / "camera_cost.json").read_text())
    machine = cost["machine"]
    lines = [
        "| budget | processor ms a frame | searching and classifying alone | ratio | with reading the file | people |",
        "|---|---|---|---|---|---|",
    ]
    for row in cost["budgets"]:
        bare = row["bare_ms_a_frame"]
        lines.append(
            f"| `{row['budget']}` | {row['camera_ms_a_frame']:.1f} | {bare['detect'] + bare['classify']:.1f} | "
            f"{row['ratio_to_detect_classify']:.2f} | {row['ratio_to_read_detect_classify']:.2f} | "
            f"{row['num_people']} |"
        )
    first = cost["first_event_seconds"]
    overload = json.loads((FOLDER / "overload.json").read_text())["runs"]
    losses = json.loads((FOLDER / "source_losses.json").read_text())["results"]
    work = ", ".join(str(run["work_ms"]) for run in overload)
    behind = max(run["behind_max_frames"] for run in overload)
    back = ", ".join(f"{row['back_max_s']:.1f} s ({row['source']}, at most)" for row in losses)
    num_losses = sum(row["num_taken_away"] for row in losses)
    return "\n".join(
        [
            *lines,
            "",
            f"A 640 × 480 video of three people, cascade, {machine['cpu_model']},",
            f"{machine['num_available_cores']} cores,",
            "virtual: both columns of one run ([record](../benchmarks/camera/camera_cost.json)).",
            f"`low` takes {cost['full_over_low']:.1f} times less than `full`. The first event comes",
            f"{first['p50']:.2f} s (p50; at most {first['max']:.2f} s) after the start.",
            "",
            f"With work of {work} ms a frame and a source at 60 frames a second, the frame in hand was at most",
            f"{behind} behind the newest ([record](../benchmarks/camera/overload.json)).",
            f"After {num_losses} losses of a source it was back {back}",
            "after the source was ([record](../benchmarks/camera/source_losses.json)).",
            "",
        ]
    )


def fill(page: str) -> str:
    """Returns the page with the table of now."""
    return _PLACE.sub(lambda found: f"{found[1]}{render()}{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text("utf-8")), "utf-8")

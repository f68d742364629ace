"""Writes README.md of this folder: both papers' tables beside what their recipes gave here, from the records.

Run: python benchmarks/papers/make_tables.py

Each run has a folder with `run.json` (as `edgegender train` wrote it), `evaluation.json` (as `edgegender evaluate`
wrote it) and its figures. The papers' numbers are those that they print.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Hamza 2025, table 1: train loss, train F1, validation loss, validation F1 of each epoch
HAMZA_TABLE = (
    (0.17, 0.7033, 0.203, 0.4878), (0.044, 0.9565, 0.017, 1.0), (0.039, 0.9777, 0.023, 0.9767),
    (0.02, 0.9743, 0.082, 0.8999), (0.054, 0.9268, 0.025, 0.9523), (0.009, 1.0, 0.063, 0.9729),
    (0.017, 0.9767, 0.003, 1.0), (0.011, 1.0, 0.033, 0.9499),
)  # fmt: skip
HAMZA_F1, HAMZA_THRESHOLD = 0.96, 0.549
# Tareq 2025, table 1: train accuracy, test accuracy, weighted precision, recall, F1
TAREQ_TABLE = {
    "tareq2025-cnn": (0.92, 0.92, 0.92, 0.92, 0.92),
    "tareq2025-mobilenetv2": (0.98, 0.91, 0.91, 0.91, 0.91),
}
TAREQ_RUNS = {
    "tareq2025-cnn": "tareq2025-cnn",
    "tareq2025-mobilenetv2": "tareq2025-mobilenetv2",
    "tareq2025-mobilenetv2-scaled": "tareq2025-mobilenetv2",
}


def read(name: str, record: str) -> dict[str, object]:
    """Returns one record of a run."""
    values: dict[str, object] = json.loads((HERE / name / f"{record}.json").read_text("utf-8"))
    return values


def percent(interval: dict[str, float]) -> str:
    """Returns a share with its 95 % interval, percent."""
    return f"{100 * interval['value']:.2f} [{100 * interval['low']:.2f}, {100 * interval['high']:.2f}]"


def weighted(confusion: list[list[int]]) -> tuple[float, float, float]:
    """Returns precision, recall and F1, each label weighted by its photos, as the second paper has them."""
    total = sum(map(sum, confusion))
    precision = recall = f1 = 0.0
    for index, row in enumerate(confusion):
        hits, share = row[index], sum(row) / total
        answered = sum(other[index] for other in confusion)
        own_precision, own_recall = hits / max(answered, 1), hits / max(sum(row), 1)
        precision += share * own_precision
        recall += share * own_recall
        f1 += share * 2 * hits / max(answered + sum(row), 1)
    return precision, recall, f1


def describe(name: str) -> str:
    """Returns how a run was made, in a line."""
    run = read(name, "run")
    recipe, environment = run["recipe"], run["environment"]
    return (
        f"`{recipe['name']}` at {recipe['input_size_px']} px, {run['num_train_photos']:,} photos to learn from, "
        f"{run['num_val_photos']:,} to choose by, scaling {recipe['scaling']}, seed {recipe['seed']}; "
        f"{environment['backend']} {environment['backend_version']} on {environment['device']}, "
        f"{sum(epoch['seconds'] for epoch in run['history']) / 60:.0f} min on a shared machine"
    )


def hamza_lines() -> list[str]:
    """Returns the first paper's tables."""
    run, evaluation = read("hamza2025", "run"), read("hamza2025", "evaluation")
    lines = [
        "## Hamza 2025: MobileNetV2, focal loss, 8 epochs",
        "",
        f"{describe('hamza2025')}. Data: biggest_gender, the paper's own, less exact duplicates and label conflicts.",
        "",
        "| epoch | train loss: paper | here | train F1: paper | here | validation loss: paper | here | validation F1: "
        "paper | here |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for epoch, (paper, ours) in enumerate(zip(HAMZA_TABLE, run["history"], strict=True), start=1):
        cells = [
            cell
            for value, own in zip(paper, ("train_loss", "train_f1", "val_loss", "val_f1"), strict=True)
            for cell in (f"{value:g}", f"{ours[own]:.4f}")
        ]
        lines.append(f"| {epoch} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "The validation loss here is the log loss, the paper's the focal loss: the two cannot be compared.",
        "",
        "| | paper | here |",
        "|---|---|---|",
        f"| threshold with the best F1 | {HAMZA_THRESHOLD} | {run['threshold']:.3f} |",
        f"| F1 of male at it, % | {100 * HAMZA_F1:.0f} | {percent(evaluation['f1'])} |",
        f'| accuracy, % | 96 ("96 % accuracy") | {percent(evaluation["accuracy"])} |',
        f"| photos measured | about 5,433 | {evaluation['num_photos']:,} |",
        "",
        "As in the paper, the photos that chose epoch and threshold are those that are reported, and people stand on "
        "both sides of the split. Figures: [curves](hamza2025/curves.svg) (the paper's 7), "
        "[thresholds](hamza2025/threshold.svg) (8), [confusion](hamza2025/confusion.svg).",
    ]


def tell_scaling() -> str:
    """Returns a sentence on what the scaling that the start weights expect brings."""
    unit, right = (
        read(name, "evaluation")["accuracy"] for name in ("tareq2025-mobilenetv2", "tareq2025-mobilenetv2-scaled")
    )
    is_clear = right["low"] > unit["high"] or right["high"] < unit["low"]
    return (
        "The scaling that the start weights expect, [-1, 1], moves MobileNetV2's test accuracy by "
        f"{100 * (right['value'] - unit['value']):+.2f} points; the intervals "
        f"{'do not overlap' if is_clear else 'overlap: photos of this number cannot tell it from chance'}."
    )


def tareq_lines() -> list[str]:
    """Returns the second paper's table."""
    lines = [
        "## Tareq 2025: generated faces",
        "",
        "The paper's set has no public copy; generated_faces (4,000 GAN portraits, less exact duplicates) stands in, "
        "so that the figures can be compared with each other, not with the paper's.",
        "",
        "| run | | train accuracy | test accuracy, % | weighted precision | recall | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    recorded = {name: recipe for name, recipe in TAREQ_RUNS.items() if (HERE / name).is_dir()}
    for name, recipe in recorded.items():
        paper = TAREQ_TABLE[recipe]
        run, evaluation = read(name, "run"), read(name, "evaluation")
        best = run["history"][run["best_epoch"] - 1]
        figures = weighted(evaluation["confusion"])
        if name == recipe:
            lines.append(
                f"| {recipe} | paper | {paper[0]} | {100 * paper[1]:.0f} | {' | '.join(map(str, paper[2:]))} |"
            )
        scaling = "" if name == recipe else ", `--set scaling=auto`"
        lines.append(
            f"| {recipe}{scaling} | here | {best['train_accuracy']:.3f} | {percent(evaluation['accuracy'])} | "
            f"{' | '.join(f'{value:.3f}' for value in figures)} |"
        )
    lines += ["", *(f"- {describe(name)}." for name in recorded)]
    if len(recorded) == len(TAREQ_RUNS):
        lines += ["", tell_scaling()]
    lines += [
        "",
        "Figures: "
        + " · ".join(f"[{name}: curves]({name}/curves.svg), [confusion]({name}/confusion.svg)" for name in recorded)
        + " (the paper's 3 to 10).",
    ]
    return lines


def render() -> str:
    """Returns the page."""
    head = [
        "# Both papers' recipes, run for real",
        "",
        "Made by `python benchmarks/papers/make_tables.py` from the records in this folder; each folder has the run's "
        "record, its history, its evaluation and its figures. MobileNetV2 trained at 96 px, not at the recipes' 224, "
        "because the machine has two cores and no GPU. Intervals are 95 %, of one run each: another seed moves the "
        "figures, too.",
        "",
    ]
    return "\n".join([*head, *hamza_lines(), "", *tareq_lines()]) + "\n"


if __name__ == "__main__":
    (HERE / "README.md").write_text(render(), encoding="utf-8")

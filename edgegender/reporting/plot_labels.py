"""Names beside the points of a plot, none on another one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_LETTER_WIDTH, _LINE_HEIGHT = 5.9, 12.0  # of an 11-unit sans-serif letter, on the wide side
_GAP = 3.0
_LONGEST = 44  # letters
_BEAD_DISTANCE = 8.0  # less than a line of text is high

Box = tuple[float, float, float, float]
Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Placed:
    """A name in a plot.

    Args:
        x: Of its start or end, by ``anchor``.
        y: Of its baseline.
        anchor: ``start`` or ``end``, as in SVG's text-anchor; or ``middle``.
        text: The name, cut where it is long.
    """

    x: float
    y: float
    anchor: str
    text: str


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _is_inside(room: Box, box: Box) -> bool:
    return box[0] <= room[0] and room[2] <= box[2] and box[1] <= room[1] and room[3] <= box[3]


def _candidates(x: float, y: float, radius: float, text: str) -> Iterator[tuple[Box, Placed]]:
    width, away = _LETTER_WIDTH * len(text), radius + _GAP
    slant = 0.7 * radius + _GAP
    middle = y + 0.33 * _LINE_HEIGHT
    starts = [
        (x + away, middle, "start"),
        (x - away, middle, "end"),
        (x + slant, y - slant, "start"),
        (x + slant, y + slant + 0.7 * _LINE_HEIGHT, "start"),
        (x - slant, y - slant, "end"),
        (x - slant, y + slant + 0.7 * _LINE_HEIGHT, "end"),
        (x, y - away, "middle"),
        (x, y + away + 0.8 * _LINE_HEIGHT, "middle"),
    ]
    for left, baseline, anchor in starts:
        start = left - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (start, baseline - 0.8 * _LINE_HEIGHT, start + width, baseline + 0.2 * _LINE_HEIGHT)
        yield box, Placed(round(left, 1), round(baseline, 1), anchor, text)


def _beads(line: Line) -> list[Box]:
    """Returns small boxes along a line, that stand for it: one for an upright or level piece."""
    beads: list[Box] = []
    for (x, y), (next_x, next_y) in itertools.pairwise(line):
        if x == next_x or y == next_y:
            beads.append((min(x, next_x) - 1, min(y, next_y) - 1, max(x, next_x) + 1, max(y, next_y) + 1))
            continue
        steps = max(1, round(math.hypot(next_x - x, next_y - y) / _BEAD_DISTANCE))
        for step in range(steps + 1):
            at_x, at_y = x + (next_x - x) * step / steps, y + (next_y - y) * step / steps
            beads.append((at_x - 1, at_y - 1, at_x + 1, at_y + 1))
    return beads


def _choose(
    candidates: Iterable[tuple[Box, Placed]], taken: Sequence[Box], lines: Sequence[Box], box: Box
) -> tuple[Box, Placed] | None:
    """Returns the first place that is free of all, else the first one that only a line crosses."""
    crossed = None
    for room, label in candidates:
        if not _is_inside(room, box) or any(_overlap(room, other) for other in taken):
            continue
        if not any(_overlap(room, bead) for bead in lines):
            return room, label
        crossed = crossed or (room, label)
    return crossed


def place_labels(
    points: Sequence[tuple[float, float, float, str]], *, box: Box, lines: Sequence[Line] = ()
) -> list[Placed]:
    """Returns names beside their points: the first place around a point that is free, or none.

    Names keep clear of each other and of the discs, and of the lines where they can.

    Args:
        points: (x, y, radius, name); the first ones choose first.
        box: Left, top, right and bottom of the room.
        lines: Each by its points.
    """
    beads = [bead for line in lines for bead in _beads(line)]
    discs: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for x, y, radius, _ in points]
    taken: list[Box] = []
    placed: list[Placed] = []
    for number, (x, y, radius, name) in enumerate(points):
        text = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        others = [*discs[:number], *discs[number + 1 :], *taken]
        chosen = _choose(_candidates(x, y, radius, text), others, beads, box)
        if chosen is not None:
            taken.append(chosen[0])
            placed.append(chosen[1])
    return placed

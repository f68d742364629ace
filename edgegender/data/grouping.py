"""Which photos belong together: names of blocks and of duplicates, and links between equal cells."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from edgegender.data.manifest import Manifest
from edgegender.data.near_duplicates import find_near_pairs, group_pairs
from edgegender.data.perceptual_hash import pack_hashes
from edgegender.entities import IntArray
from edgegender.errors import DataError, UsageError

BLOCK_PHOTOS = 250
_MAX_VALUES = 12  # a column of numbers with more different values is cut into bins
_NUM_BINS = 5


def require_hashes(manifest: Manifest) -> None:
    """Raises DataError when a row that is not excluded has no sha256."""
    digests, excluded = manifest.column("sha256"), manifest.column("exclude")
    for index, (digest, reason) in enumerate(zip(digests, excluded, strict=True)):
        if not digest and not reason:
            raise DataError(
                f"Expected a sha256 in each row, got none for {manifest.column('path')[index]} ({manifest.folder}).",
                hint="Make the manifest with: edgegender data index",
            )


def encode_cells(values: Sequence[str]) -> tuple[IntArray, list[str]]:
    """Returns each value as its rank among the different values in alphabetical order, and these values."""
    names = sorted(set(values))
    ranks = {value: rank for rank, value in enumerate(names)}
    return np.fromiter(map(ranks.__getitem__, values), np.int64, len(values)), names


def link_equal_cells(cells: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Returns links from each position to the first one with the same cell; empty cells are no group."""
    seen: dict[str, int] = {}
    first = np.fromiter(map(seen.setdefault, cells, range(len(cells))), np.int64, len(cells))
    is_linked = (first != np.arange(len(cells))) & (first != seen.get("", -1))
    return first[is_linked], np.flatnonzero(is_linked)


def name_blocks(manifest: Manifest, *, num_photos: int = BLOCK_PHOTOS) -> list[str]:
    """Returns a name for each row's block: neighbours in the natural order of their paths, within source and label.

    Photos of one person often lie side by side: where people are not known, blocks keep most of them together.

    Args:
        manifest: The photos.
        num_photos: Size of a block, at least 1.

    Raises:
        UsageError: The size is below 1.
    """
    if num_photos < 1:
        raise UsageError(f"Expected blocks of at least 1 photo, got {num_photos}.")
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(manifest.column("source"), manifest.column("label"), strict=True)):
        members[key].append(index)
    names = [""] * len(manifest)
    paths = manifest.column("path")
    for (source, label), indices in members.items():
        indices.sort(key=lambda index: _natural_key(paths[index]))
        for position, index in enumerate(indices):
            names[index] = f"{source}{'-' if source else ''}{label}-{position // num_photos:05d}"
    return names


def _natural_key(path: str) -> tuple[list[str | int], str]:
    """Returns text and numbers in turn, so that 2 comes before 10; and the path itself, which tells 2 from 02."""
    parts = re.split(r"([0-9]+)", path)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path


def name_duplicates(manifest: Manifest) -> list[str]:
    """Returns a name for each group of photos that are the same bytes or look the same; empty for all other photos.

    Args:
        manifest: Rows with sha256 and, to find near duplicates, phash.

    Raises:
        DataError: A row that is not excluded has no sha256, or a phash is none.
    """
    require_hashes(manifest)
    paths = manifest.column("path")
    first, second = link_equal_cells(manifest.column("sha256"))
    hashed = [index for index, phash in enumerate(manifest.column("phash")) if phash]
    if hashed:
        try:
            packed = pack_hashes([manifest.column("phash")[index] for index in hashed])
        except ValueError as error:
            raise DataError(
                f"Expected phash as 64 hexadecimal digits, got another ({manifest.folder}).",
                hint="Make the manifest anew with: edgegender data index",
            ) from error
        pairs = find_near_pairs(packed)
        places = np.asarray(hashed, np.int64)
        first, second = np.append(first, places[pairs.first]), np.append(second, places[pairs.second])
    group = group_pairs(len(manifest), first, second)
    is_alone = np.bincount(group, minlength=len(manifest))[group] == 1
    return ["" if alone else paths[head] for alone, head in zip(is_alone.tolist(), group.tolist(), strict=True)]


def bin_cells(name: str, cells: Sequence[str]) -> Sequence[str]:
    """Returns the cells of a column of numbers with many values as bins of about equal count; others as they are.

    Args:
        name: The column's, for the message.
        cells: Its cells; empty ones stay empty.

    Raises:
        UsageError: There are many values that are no numbers.
    """
    distinct = sorted(set(cells) - {""})
    if len(distinct) <= _MAX_VALUES:
        return cells
    numbers = {cell: _number(cell) for cell in distinct}
    words = [cell for cell, number in numbers.items() if not math.isfinite(number)]
    if words:
        raise UsageError(
            f"Expected at most {_MAX_VALUES} different values, or numbers, in {name}, got {len(distinct)} such as "
            f"{words[0]!r}.",
            hint="Stratify by a column that has few values.",
        )
    edges = np.quantile([numbers[cell] for cell in cells if cell], np.linspace(0, 1, _NUM_BINS + 1)[1:-1])
    names = {cell: f"bin {int(np.searchsorted(edges, number, side='right')) + 1}" for cell, number in numbers.items()}
    return [names.get(cell, "") for cell in cells]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan

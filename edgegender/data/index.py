"""A folder of photos, or a CSV that names them, becomes a manifest."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from edgegender import images
from edgegender.data.manifest import SPLITS, ManifestRow, parse_face_box, read_table
from edgegender.errors import DataError, ImageError, ManifestError, UsageError

Progress = Callable[[int, int], None]
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def _no_progress(done: int, total: int) -> None:
    del done, total


def _refuse_folder(error: OSError) -> None:
    # os.walk passes over such a folder in silence: its photos would be missing and nobody would know
    raise UsageError(
        f"Expected a folder that can be read, got {error.strerror or error} ({error.filename})."
    ) from error


def _require_folder(folder: Path) -> None:
    try:
        found = "" if folder.is_dir() else "a file" if folder.exists() else "nothing"
    except OSError as error:
        _refuse_folder(error)
    else:
        if found:
            raise UsageError(f"Expected a folder of photos, got {found} at {folder}.")


def _refuse_name(name: str, folder: Path) -> None:
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise DataError(
            f"Expected file names in UTF-8 without control characters, got {name!r} ({folder}).",
            hint="Rename the file: a manifest cannot hold its name.",
        )


def find_photos(folder: Path) -> list[Path]:
    """Returns the photo files below a folder, sorted by path; hidden folders and symlink loops are not entered.

    Raises:
        UsageError: The folder is missing or cannot be read.
        DataError: No file in it has a photo's ending.
    """
    _require_folder(folder)
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=_refuse_folder):  # does not follow links to folders
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root, name)
            for name in names
            if Path(name).suffix.lower() in images.IMAGE_SUFFIXES and not name.startswith(".")
        ]
    if not found:
        raise DataError(
            f"Expected photos, got none ({folder}).", hint=f"Endings read: {' '.join(sorted(images.IMAGE_SUFFIXES))}"
        )
    return sorted(found)


def _from_folders(folder: Path) -> list[ManifestRow]:
    rows = []
    for photo in find_photos(folder):
        _refuse_name(str(photo.relative_to(folder)), folder)
        parts = photo.relative_to(folder).parts[:-1]
        split = next((_SPLIT_FOLDERS[part.lower()] for part in parts if part.lower() in _SPLIT_FOLDERS), "")
        named = [part for part in parts if part.lower() not in _SPLIT_FOLDERS]
        if not named:
            raise DataError(
                f"Expected each label's photos in a folder of its own, got {photo.name} in {photo.parent}.",
                hint="Move the photos into folders such as female/ and male/, or give --labels CSV.",
            )
        rows.append(ManifestRow(PurePosixPath(*photo.relative_to(folder).parts).as_posix(), named[0], split))
    return rows


def _from_csv(labels_csv: Path, *, split_column: str) -> list[ManifestRow]:
    names, table = read_table(labels_csv)
    needed = ["path", "label"] + ([split_column] if split_column != "split" else [])
    missing = [name for name in needed if name not in names]
    if missing:
        raise ManifestError(
            f"Expected the columns {', '.join(needed)}, got no {', '.join(missing)} ({labels_csv}).",
            hint=f"Columns there: {', '.join(names) or 'none'}",
        )
    rows = []
    for number, cells in table.items():
        if None in cells or any(value is None for value in cells.values()):
            raise ManifestError(
                f"Expected as many cells as the header has, got another number ({labels_csv}, row {number}).",
                hint='Put quotes around a cell that holds a comma: "a,b.jpg".',
            )
        values = {name: (value or "").strip() for name, value in cells.items()}
        split = _SPLIT_FOLDERS.get(values.get(split_column, "").lower(), "")
        if values.get(split_column) and not split:
            raise ManifestError(
                f"Expected a split of {', '.join(SPLITS)}, got {values[split_column]!r} ({labels_csv}, row {number})."
            )
        if not values["path"] or not values["label"]:
            raise ManifestError(f"Expected a path and a label, got an empty cell ({labels_csv}, row {number}).")
        used = {"path", "label", "exclude", "face_box", "sha256", split_column}
        try:
            box = parse_face_box(values.get("face_box", ""))
        except ValueError as error:
            raise ManifestError(
                f"Expected face_box as 'x1 y1 x2 y2', got {values['face_box']!r} ({labels_csv}, row {number})."
            ) from error
        rows.append(
            ManifestRow(
                values["path"],
                values["label"],
                split,
                exclude=values.get("exclude", ""),
                face_box=box,
                extra={name: value for name, value in values.items() if name not in used},
            )
        )
    return rows


def _measure(row: ManifestRow, file: Path) -> ManifestRow:
    try:
        content = images.read_bytes(file)
        width, height = images.read_size(content, where=str(file))
    except ImageError as error:
        return replace(row, exclude=row.exclude or f"unreadable: {error.kind}")
    extra = {**row.extra, "width": str(width), "height": str(height)}
    return replace(row, sha256=hashlib.sha256(content).hexdigest(), extra=extra)


def assign_splits(rows: Sequence[ManifestRow], *, ratios: Sequence[float], seed: int) -> list[ManifestRow]:
    """Returns the rows with a split each; the same bytes never stand on two sides.

    Within each label the contents are ordered by a hash of (seed, sha256) and cut by the ratios, so that the same
    photos get the same split wherever they lie.

    Args:
        rows: Rows with sha256.
        ratios: Shares of train, val and test; they need not sum to one.
        seed: Another seed gives another cut.

    Raises:
        UsageError: The ratios are not three numbers of zero or more with a positive train share.
        DataError: A row that is not excluded has no sha256.
    """
    if len(ratios) != 3 or not all(0 <= ratio < math.inf for ratio in ratios) or ratios[0] <= 0:
        raise UsageError(f"Expected three ratios such as 70,10,20, got {','.join(map(str, ratios))}.")
    unmeasured = next((row.path for row in rows if not row.exclude and not row.sha256), None)
    if unmeasured is not None:
        raise DataError(
            f"Expected a sha256 in each row, got none for {unmeasured}.",
            hint="Make the manifest with: edgegender data index",
        )
    label_of: dict[str, str] = {}
    for row in rows:
        if not row.exclude:
            label_of.setdefault(row.sha256, row.label)
    split_of: dict[str, str] = {}
    for label in sorted(set(label_of.values())):
        contents = sorted(
            (digest for digest, its_label in label_of.items() if its_label == label),
            key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest(),
        )
        train_end = round(len(contents) * ratios[0] / sum(ratios))
        val_end = round(len(contents) * (ratios[0] + ratios[1]) / sum(ratios))
        for position, digest in enumerate(contents):
            split_of[digest] = "train" if position < train_end else "val" if position < val_end else "test"
    return [row if row.exclude else replace(row, split=split_of[row.sha256]) for row in rows]


def index_folder(
    folder: Path,
    *,
    output_folder: Path,
    labels_csv: Path | None = None,
    split_column: str = "split",
    rename: Mapping[str, str] | None = None,
    ratios: Sequence[float] = (70, 10, 20),
    seed: int = 0,
    on_progress: Progress = _no_progress,
) -> list[ManifestRow]:
    """Returns one row a photo of a folder, with size, sha256 and split.

    Splits come from split folders (``train/``, ``val/``, ``test/``) or from ``split_column``; where there are none,
    they are drawn by :func:`assign_splits`. A photo whose header cannot be read stays in, with a reason in ``exclude``.

    Args:
        folder: Photos in class folders, or anywhere when ``labels_csv`` names them.
        output_folder: Where the manifest will stand; paths are made relative to it.
        labels_csv: A CSV with path (relative to ``folder``) and label.
        split_column: The column of ``labels_csv`` that holds the split.
        rename: Label as found → label as wanted.
        ratios: Shares of train, val and test where splits are drawn.
        seed: Of the drawn splits.
        on_progress: Called with (done, total).

    Raises:
        DataError: There are no photos, none can be read, or all have one label.
        UsageError: The folder is missing.
        ManifestError: The CSV lacks a column, has a wrong cell or names a photo twice.
    """
    if labels_csv is None:
        rows = _from_folders(folder)
    else:
        _require_folder(folder)
        rows = _from_csv(labels_csv, split_column=split_column)
    names = dict(rename or {})
    # Relative even across folders, so that data and manifest move together; resolve() makes '..' safe with links.
    prefix = os.path.relpath(folder.resolve(), output_folder.resolve())
    measured = []
    for done, row in enumerate(rows, start=1):
        kept = _measure(replace(row, label=names.get(row.label, row.label)), folder / row.path)
        measured.append(replace(kept, path=Path(os.path.normpath(Path(prefix, row.path))).as_posix()))
        on_progress(done, len(rows))
    twice = [path for path, times in Counter(row.path for row in measured).items() if times > 1]
    if twice:
        raise ManifestError(f"Expected each path once, got {twice[0]} twice ({labels_csv}).")
    usable = [row for row in measured if not row.exclude]
    if not usable:
        raise DataError(
            f"Expected photos that can be read, got {len(measured)} that cannot ({folder}).",
            hint=f"The first: {measured[0].path} is {measured[0].exclude}." if measured else "The CSV has no rows.",
        )
    labels = sorted({row.label for row in usable})
    if len(labels) < 2:
        raise DataError(
            f"Expected at least two labels, got {labels[0]!r} only ({folder}).",
            hint="Put each label's photos into a folder of its own, such as female/ and male/.",
        )
    if any(row.split for row in usable):
        return measured
    return assign_splits(measured, ratios=ratios, seed=seed)

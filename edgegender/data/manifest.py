"""The manifest: one row a photo. A CSV whose paths are relative to the CSV's own folder, so that both move together.

Columns that edgegender knows: ``path`` and ``label`` (needed), ``split`` (train, val, test or empty), ``sha256``,
``width``, ``height``, ``face_box`` ("x1 y1 x2 y2", pixels of the photo, a square), ``exclude`` (a reason; the row is
then left out), ``source``. Every other column is kept as it is: a group, such as age or race.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgegender import files
from edgegender.entities import FaceBox
from edgegender.errors import DataError, ManifestError

SPLITS = ("train", "val", "test")
KNOWN_COLUMNS = ("path", "label", "split", "source", "width", "height", "sha256", "face_box", "exclude")


@dataclass(frozen=True)
class ManifestRow:
    """One photo.

    Args:
        path: Relative to the manifest's folder, with forward slashes.
        label: The annotated label.
        split: ``train``, ``val``, ``test`` or empty.
        sha256: Of the file's bytes; empty when not yet measured.
        face_box: Where the face stands; ``None`` when the photo is a face crop or nobody has looked.
        exclude: Why the row is left out; empty keeps it.
        extra: All other columns.
    """

    path: str
    label: str
    split: str = ""
    sha256: str = ""
    face_box: FaceBox | None = None
    exclude: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Rows and the folder that their paths start from.

    Args:
        folder: The manifest's folder.
        rows: In the order of the file.
    """

    folder: Path
    rows: tuple[ManifestRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows)

    def file(self, row: ManifestRow) -> Path:
        """Returns where the photo of ``row`` stands."""
        return self.folder / row.path

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the rows that are not excluded, sorted."""
        return tuple(sorted({row.label for row in self.rows if not row.exclude}))

    def select(self, *, split: str | None = None) -> Manifest:
        """Returns the rows that are not excluded, of one split when it is named."""
        return Manifest(
            self.folder,
            tuple(row for row in self.rows if not row.exclude and (split is None or row.split == split)),
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the number of photos by split, then by label; excluded rows are left out."""
        counted = Counter((row.split or "unsplit", row.label) for row in self.rows if not row.exclude)
        splits = [name for name in (*SPLITS, "unsplit") if any(key[0] == name for key in counted)]
        return {name: {label: counted[name, label] for label in self.labels} for name in splits}


def parse_face_box(text: str) -> FaceBox | None:
    """Returns the box of a ``face_box`` cell, ``None`` for an empty one.

    Raises:
        ValueError: The cell is not four finite numbers of a box with an area.

    Example:
        >>> parse_face_box("10 20 50 60").side_px
        40.0
    """
    if not text.strip():
        return None
    numbers = [float(part) for part in text.split()]
    if len(numbers) != 4 or not all(abs(number) < 1e6 for number in numbers):
        raise ValueError("four numbers")
    box = FaceBox(*numbers)
    if box.x2 <= box.x1 or box.y2 <= box.y1:
        raise ValueError("x1 < x2 and y1 < y2")
    return box


def format_face_box(box: FaceBox | None) -> str:
    """Returns the cell for a box, to a tenth of a pixel; empty for ``None``."""
    return "" if box is None else " ".join(f"{value:.1f}" for value in box.box_xyxy)


def _parse_row(cells: Mapping[str, str | None], where: str) -> ManifestRow:
    if None in cells or any(value is None for value in cells.values()):
        raise ManifestError(f"Expected as many cells as the header has, got another number ({where}).")
    values = {name: (cells[name] or "").strip() for name in cells}
    values["path"] = cells["path"] or ""  # as it is: a file's name may begin or end with a space
    if not values["path"].strip():
        raise ManifestError(f"Expected a path, got an empty cell ({where}).")
    if not values["label"]:
        raise ManifestError(f"Expected a label, got an empty cell ({where}).")
    split = values.get("split", "")
    if split not in ("", *SPLITS):
        raise ManifestError(f"Expected a split of {', '.join(SPLITS)}, got {split!r} ({where}).")
    try:
        box = parse_face_box(values.get("face_box", ""))
    except ValueError as error:
        raise ManifestError(f"Expected face_box as 'x1 y1 x2 y2', got {values['face_box']!r} ({where}).") from error
    own = {"path", "label", "split", "sha256", "face_box", "exclude"}
    return ManifestRow(
        path=values["path"],
        label=values["label"],
        split=split,
        sha256=values.get("sha256", ""),
        face_box=box,
        exclude=values.get("exclude", ""),
        extra={name: value for name, value in values.items() if name not in own},
    )


def read_table(path: Path) -> tuple[list[str], dict[int, dict[str, str | None]]]:
    """Returns the header and the rows of a CSV file, each by the number of its (last) line, the header's being 1.

    Any line ending, with or without a byte-order mark; empty lines are left out, but counted.

    Raises:
        ManifestError: The file is missing, not UTF-8, no CSV, or has a column twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(
            f"Expected a manifest, got {error.strerror or error} ({path}).",
            hint="Make one with: edgegender data index FOLDER -o faces.csv",
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"Expected a CSV in UTF-8, got other bytes ({path}).") from error
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = list(reader.fieldnames or ())
        table: dict[int, dict[str, str | None]] = {}
        for cells in reader:
            table[reader.line_num] = cells
    except csv.Error as error:
        raise ManifestError(f"Expected a CSV, got: {error} ({path}).") from error
    repeated = [name for name, times in Counter(names).items() if name and times > 1]  # spreadsheets add '' columns
    if repeated:
        raise ManifestError(f"Expected each column once, got {', '.join(map(repr, repeated))} twice ({path}).")
    return names, table


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest at ``path``.

    Raises:
        ManifestError: A column is missing, a cell is wrong, or a path stands twice; the message names file and row.
    """
    names, table = read_table(path)
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        raise ManifestError(
            f"Expected the columns path and label, got {', '.join(names) or 'an empty file'} ({path}).",
            hint="Make a manifest with: edgegender data index FOLDER -o faces.csv",
        )
    rows: list[ManifestRow] = []
    seen: dict[str, int] = {}
    for number, cells in table.items():
        row = _parse_row(cells, f"{path}, row {number}")
        if row.path in seen:
            raise ManifestError(
                f"Expected each path once, got {row.path} in rows {seen[row.path]} and {number} ({path})."
            )
        seen[row.path] = number
        rows.append(row)
    if not rows:
        raise ManifestError(f"Expected at least one photo, got none ({path}).")
    return Manifest(path.resolve().parent, tuple(rows))


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Writes rows as a manifest, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    listed = list(rows)
    extra = list(dict.fromkeys(name for row in listed for name in row.extra))
    columns = [name for name in KNOWN_COLUMNS if name not in ("source", "width", "height") or name in extra]
    columns += [name for name in extra if name not in columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in listed:
        known = {
            "path": row.path,
            "label": row.label,
            "split": row.split,
            "sha256": row.sha256,
            "face_box": format_face_box(row.face_box),
            "exclude": row.exclude,
        }
        writer.writerow([known.get(name, row.extra.get(name, "")) for name in columns])
    files.write_text(path, text.getvalue())


def require_labels(manifest: Manifest, *, where: str, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the labels of a manifest's rows, at least two.

    Args:
        manifest: The rows in question.
        where: What to call them in an error.
        labels: The labels that are known, when a model fixes them.

    Raises:
        DataError: No row, one label only, or a label that is not among ``labels``.
    """
    if not len(manifest.select()):
        raise DataError(f"Expected photos, got none ({where}).", hint="Look at the split and exclude columns.")
    found = manifest.labels
    if labels is not None:
        unknown = [label for label in found if label not in labels]
        if unknown:
            raise DataError(f"Expected labels of {', '.join(labels)}, got {', '.join(unknown)} ({where}).")
        return tuple(labels)
    if len(found) < 2:
        raise DataError(
            f"Expected at least two labels, got {found[0]!r} only ({where}).",
            hint="Put each label's photos into a folder of its own, such as female/ and male/.",
        )
    return found

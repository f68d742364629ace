"""The manifest: one row a photo, kept by column, so that a million rows fit into some hundred megabytes.

Columns that edgegender knows: ``path`` (relative to the manifest's own folder, so that both move together) and
``label`` are needed; ``split`` (train, val, test or empty), ``source``, ``width`` and ``height`` (pixels), ``sha256``
(of the file), ``phash`` (perceptual hash, 64 hexadecimal digits), ``face_box`` ("x1 y1 x2 y2", pixels of the photo, a
square) and ``exclude`` (a reason; the row is then left out) are optional. Every other column is kept as it is: a
group, such as age, race or person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

from edgegender.entities import FaceBox
from edgegender.errors import DataError, ManifestError

SPLITS = ("train", "val", "test")
KNOWN_COLUMNS = ("path", "label", "split", "source", "width", "height", "sha256", "phash", "face_box", "exclude")
_ROW_FIELDS = frozenset({"path", "label", "split", "sha256", "face_box", "exclude"})


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


class Manifest:
    """Photos by column, and the folder that their paths start from. Nothing in it changes once it is made.

    Args:
        folder: The manifest's folder.
        columns: Cells as text, by column, all of one length; ``path`` and ``label`` must be there.

    Raises:
        ManifestError: A needed column is missing, or the lengths differ.

    Example:
        >>> faces = Manifest(Path("."), {"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"]})
        >>> [row.path for row in faces.where(label == "dog" for label in faces.column("label"))]
        ['b.jpg']
    """

    def __init__(self, folder: Path, columns: Mapping[str, Sequence[str]]) -> None:
        missing = [name for name in ("path", "label") if name not in columns]
        lengths = {len(cells) for cells in columns.values()}
        if missing or len(lengths) != 1:
            got = ", ".join(columns) or "none"
            raise ManifestError(f"Expected the columns path and label, all of one length, got {got} ({folder}).")
        self.folder = folder
        self._columns = dict(columns)
        self._length = lengths.pop()

    @classmethod
    def from_rows(cls, folder: Path, rows: Iterable[ManifestRow]) -> Manifest:
        """Returns a manifest of rows whose paths are relative to ``folder``.

        Raises:
            ManifestError: ``extra`` has a column that a row has a field for.
        """
        listed = list(rows)
        columns: dict[str, list[str]] = {
            "path": [row.path for row in listed],
            "label": [row.label for row in listed],
            "split": [row.split for row in listed],
        }
        extra = list(dict.fromkeys(name for row in listed for name in row.extra))
        twice = sorted(_ROW_FIELDS.intersection(extra))
        if twice:
            raise ManifestError(
                f"Expected no field of a row among its extra columns, got {', '.join(twice)} ({folder})."
            )
        columns.update((name, [row.extra.get(name, "") for row in listed]) for name in extra)
        columns["sha256"] = [row.sha256 for row in listed]
        columns["face_box"] = [format_face_box(row.face_box) for row in listed]
        columns["exclude"] = [row.exclude for row in listed]
        return cls(folder, columns)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[ManifestRow]:
        return map(self.row, range(self._length))

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns: those that edgegender knows first, in the order in which they are written."""
        known = [name for name in KNOWN_COLUMNS if name in self._columns]
        return (*known, *(name for name in self._columns if name not in KNOWN_COLUMNS))

    def column(self, name: str) -> Sequence[str]:
        """Returns the cells of a column, all empty where the manifest has no such column."""
        return self._columns.get(name) or [""] * self._length

    def row(self, index: int) -> ManifestRow:
        """Returns the photo at ``index``, from 0."""
        cells = {name: column[index] for name, column in self._columns.items()}
        return ManifestRow(
            path=cells["path"],
            label=cells["label"],
            split=cells.get("split", ""),
            sha256=cells.get("sha256", ""),
            face_box=parse_face_box(cells.get("face_box", "")),
            exclude=cells.get("exclude", ""),
            extra={name: cell for name, cell in cells.items() if name not in _ROW_FIELDS},
        )

    @property
    def rows(self) -> tuple[ManifestRow, ...]:
        """All photos at once; who has a million of them iterates or asks for columns."""
        return tuple(self)

    def file(self, row: ManifestRow) -> Path:
        """Returns where the photo of ``row`` stands."""
        return self.folder / row.path

    def where(self, is_kept: Iterable[bool]) -> Manifest:
        """Returns the rows for which ``is_kept``, one value a row, is true.

        Raises:
            ManifestError: There is another number of values.
        """
        mask = list(is_kept)
        if len(mask) != self._length:
            raise ManifestError(f"Expected one value a row, {self._length} in all, got {len(mask)} ({self.folder}).")
        if all(mask):
            return self  # a million rows are not copied for nothing
        return Manifest(self.folder, {name: list(compress(cells, mask)) for name, cells in self._columns.items()})

    def take(self, indices: Sequence[int]) -> Manifest:
        """Returns the rows at ``indices``, in that order."""
        return Manifest(
            self.folder, {name: [cells[index] for index in indices] for name, cells in self._columns.items()}
        )

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> Manifest:
        """Returns the rows with these columns added or replaced."""
        return Manifest(self.folder, {**self._columns, **columns})

    def select(self, *, split: str | None = None) -> Manifest:
        """Returns the rows that are not excluded, of one split when it is named."""
        kept = [not reason for reason in self.column("exclude")]
        if split is not None:
            kept = [is_kept and own == split for is_kept, own in zip(kept, self.column("split"), strict=True)]
        return self.where(kept)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the rows that are not excluded, sorted."""
        return tuple(sorted(set(self._kept("label"))))

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the number of photos by split, then by label; excluded rows are left out."""
        counted = Counter(zip(self._kept("split"), self._kept("label"), strict=True))
        labels = sorted({label for _, label in counted})
        present = {split for split, _ in counted}
        return {
            split or "unsplit": {label: counted[split, label] for label in labels}
            for split in (*SPLITS, "")
            if split in present
        }

    def _kept(self, name: str) -> Iterator[str]:
        return compress(self.column(name), [not reason for reason in self.column("exclude")])


def parse_face_box(text: str) -> FaceBox | None:
    """Returns the box of a ``face_box`` cell, ``None`` for an empty one.

    Raises:
        ValueError: The cell is not four finite numbers of a box with an area.

    Example:
        >>> parse_face_box("10 20 50 60").side_px
        40.0
    """
    if not text or text.isspace():
        return None
    numbers = [float(part) for part in text.split()]
    if len(numbers) != 4 or not all(abs(number) < 1e6 for number in numbers):
        raise ValueError("four numbers")
    x1, y1, x2, y2 = numbers
    if x2 <= x1 or y2 <= y1:
        raise ValueError("x1 < x2 and y1 < y2")
    return FaceBox(x1, y1, x2, y2)


def format_face_box(box: FaceBox | None) -> str:
    """Returns the cell for a box, to a tenth of a pixel; empty for ``None``."""
    return "" if box is None else " ".join(f"{value:.1f}" for value in box.box_xyxy)


def require_labels(manifest: Manifest, *, where: str, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the labels of a manifest's rows, at least two.

    Args:
        manifest: The rows in question.
        where: What to call them in an error.
        labels: The labels that are known, when a model fixes them.

    Raises:
        DataError: No row, one label only, or a label that is not among ``labels``.
    """
    found = manifest.labels
    if not found:
        raise DataError(f"Expected photos, got none ({where}).", hint="Look at the split and exclude columns.")
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

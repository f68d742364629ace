"""What the data commands share: lists of columns, ratios, labels to rename, and files that must not be written over."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from edgegender.cli.console import require_writable
from edgegender.errors import MissingDependencyError, UsageError

MANIFEST_SUFFIXES = (".csv", ".parquet")


def parse_names(text: str, *, option: str, is_needed: bool = True) -> tuple[str, ...]:
    """Returns the names of ``a, b,c``.

    Args:
        text: What was typed.
        option: Its option, for the error.
        is_needed: Whether there must be one.

    Raises:
        UsageError: There is none.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if is_needed and not names:
        raise UsageError(f"Expected {option} with names such as person,block, got {text!r}.")
    return names


def parse_ratios(text: str) -> tuple[float, ...]:
    """Returns the numbers of ``70,10,20`` or ``80,20``.

    Raises:
        UsageError: They are no ratios.
    """
    from edgegender.data.split import parse_shares

    try:
        ratios = tuple(float(part) for part in text.split(","))
        parse_shares(ratios)  # before the photos are read, not after it
    except ValueError as error:  # an UsageError is one, too
        raise UsageError(
            f"Expected ratios such as 70,10,20, got {text!r}.",
            hint="Train, val and test, or train and test: numbers of zero or more, train above zero.",
        ) from error
    return ratios


def parse_rename(pairs: Iterable[str]) -> dict[str, str]:
    """Returns old label → new label of pairs such as ``woman=female``.

    Raises:
        UsageError: One is no pair, or a label gets two names.
    """
    renamed: dict[str, str] = {}
    for pair in pairs:
        old, _, new = pair.partition("=")
        new = new.strip()
        if not (old and new):
            raise UsageError(f"Expected --rename OLD=NEW, got {pair!r}.")
        if renamed.setdefault(old, new) != new:
            raise UsageError(f"Expected one new name for {old!r}, got {renamed[old]!r} and {new!r}.")
    return renamed


def require_module(module: str, package: str, *, extra: str, instead: str = "") -> None:
    """Finds out before the photos are read that an optional package is missing.

    Args:
        module: Its name in an import.
        package: The distribution.
        extra: The extra of edgegender that brings it.
        instead: What works without it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        error = MissingDependencyError(package, extra=extra)
        error.hint += f", or {instead}" if instead else ""
        raise error


def require_manifest_target(path: Path) -> None:
    """Finds out before the photos are read that a manifest cannot be written.

    Raises:
        OutputError: The file cannot be written.
        UsageError: The name ends in neither .csv nor .parquet.
        MissingDependencyError: Parquet without pyarrow.
    """
    require_writable(path)
    suffix = path.suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        raise UsageError(
            f"Expected a manifest's name ending in .csv or .parquet, got {path}.", hint="Such as: -o faces.csv"
        )
    if suffix == ".parquet":
        require_module("pyarrow", "pyarrow", extra="data", instead="name it .csv")


def require_other_file(target: Path, source: Path, *, what: str) -> None:
    """Refuses to write a result over what it is made from.

    Args:
        target: Where the result goes.
        source: What is read.
        what: What to call the source in an error.

    Raises:
        UsageError: Both are one file.
    """
    if target.resolve() == source.resolve():
        raise UsageError(f"Expected another file than {what}, got {target}.", hint="Choose another name or folder.")

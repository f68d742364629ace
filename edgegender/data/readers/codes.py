"""The one table that turns the codes of known data sets into words.

A code stands for what an annotator saw or a source claimed, not for an identity. Where a source has words of its own
they are kept, except that FairFace's ``Female`` and ``Male`` become the same words as the other sets', so that sets
can be joined.

Source: https://susanqq.github.io/UTKFace/, https://github.com/joojs/fairface,
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, https://github.com/JingchunCheng/All-Age-Faces-Dataset
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgegender.errors import ManifestError

SPLIT_WORDS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Lower-case names of split folders and cells → split."""

GENDER_CODES: Mapping[str, Mapping[str, str]] = {
    "utkface": {"0": "male", "1": "female"},
    "fairface": {"Female": "female", "Male": "male"},
    "celeba": {"-1": "female", "0": "female", "1": "male"},  # 0 stands in some copies that were made binary
    "all_age_faces": {"0": "female", "1": "male"},
}
"""Layout → code of the perceived gender → word."""

UTKFACE_RACES: Mapping[str, str] = {"0": "White", "1": "Black", "2": "Asian", "3": "Indian", "4": "Others"}
CELEBA_PARTITIONS: Mapping[str, str] = {"0": "train", "1": "val", "2": "test"}


def split_of(folders: Iterable[str]) -> str:
    """Returns the split that the first of some folder names with such a meaning stands for; empty without one.

    Example:
        >>> split_of(["faces", "Validation", "x"])
        'val'
    """
    return next((SPLIT_WORDS[name.lower()] for name in folders if name.lower() in SPLIT_WORDS), "")


def word_of(code: str, codes: Mapping[str, str], *, what: str, where: str) -> str:
    """Returns the word that a code of a list stands for.

    Raises:
        ManifestError: The code is not in the table.
    """
    try:
        return codes[code]
    except KeyError:
        raise ManifestError(
            f"Expected {what} to be one of {', '.join(codes)}, got {code!r} ({where}).",
            hint="Correct the row, or get the list from its source again.",
        ) from None

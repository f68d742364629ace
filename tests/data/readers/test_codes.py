"""Codes become words by one table, and a code that is not in it is no word."""

from __future__ import annotations

import pytest

from edgegender.data.manifest import SPLITS
from edgegender.data.readers.codes import CELEBA_PARTITIONS, GENDER_CODES, SPLIT_WORDS, split_of, word_of
from edgegender.errors import ManifestError


def test_every_split_word_is_in_lower_case_and_means_a_split_of_the_manifest() -> None:
    assert all(word == word.lower() for word in SPLIT_WORDS)
    assert set(SPLIT_WORDS.values()) == set(CELEBA_PARTITIONS.values()) == set(SPLITS)


def test_all_sets_say_the_same_words_so_that_they_can_be_joined() -> None:
    assert {frozenset(codes.values()) for codes in GENDER_CODES.values()} == {frozenset({"female", "male"})}


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        (["TRAIN", "x"], "train"),
        (["x", "Validation"], "val"),
        (["valid"], "val"),
        (["Testing", "train"], "test"),
        (["trains", "tests"], ""),
        ([], ""),
    ],
)
def test_the_first_folder_with_a_split_word_decides(folders: list[str], split: str) -> None:
    assert split_of(folders) == split


def test_a_code_outside_of_the_table_is_named_with_its_place() -> None:
    assert word_of("1", GENDER_CODES["utkface"], what="gender", where="a.txt, row 3") == "female"
    with pytest.raises(ManifestError, match=r"Expected gender to be one of 0, 1, got '3' \(a\.txt, row 3\)"):
        word_of("3", GENDER_CODES["utkface"], what="gender", where="a.txt, row 3")

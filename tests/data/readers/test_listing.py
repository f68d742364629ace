"""A tree of files is listed whole: each photo once, loops end, and what is left out is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgegender.data.readers import find_photos
from edgegender.data.readers.listing import is_writable_name, list_folder, require_names, require_readable
from edgegender.errors import DataError, UsageError
from tests.data.readers.trees import touch


def test_photos_are_known_by_their_endings_in_any_case_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/1.PNG", "a/3.JpEg", "c.webp", "c/d/e/4.bmp", "5.jfif", "jpg", "x.jpg.txt")
    assert list_folder(tmp_path).photos == ["5.jfif", "a/3.JpEg", "b/1.PNG", "b/2.jpg", "c.webp", "c/d/e/4.bmp"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", ".cache/2.jpg", "a/.part-3.jpg", "a/._1.jpg", ".train.txt")
    listing = list_folder(tmp_path)
    assert (listing.photos, listing.lists, listing.skipped) == (["a/1.jpg"], [], [])


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    assert list_folder(touch(tmp_path, "a/x.jpg/1.jpg")).photos == ["a/x.jpg/1.jpg"]


def test_lists_of_known_sets_are_found_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "Anno/list_attr_celeba.txt", "identity_CelebA.txt", "image sets/train.txt", "notes.txt")
    assert list_folder(tmp_path).lists == ["Anno/list_attr_celeba.txt", "identity_CelebA.txt", "image sets/train.txt"]


def test_pictures_that_are_not_read_are_told_and_other_files_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.gif", "a/2.HEIC", "a/notes.txt", "Thumbs.db", "a/3.jpg")
    assert list_folder(tmp_path).skipped == [
        ("a/1.gif", "a format that is not read (.gif)"),
        ("a/2.HEIC", "a format that is not read (.heic)"),
    ]


# Links


def test_a_link_to_a_folder_elsewhere_is_read_under_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path / "store", "deep/1.jpg", "2.jpg")
    touch(tmp_path / "photos", "y/3.jpg")
    (tmp_path / "photos" / "x").symlink_to(tmp_path / "store", target_is_directory=True)
    assert list_folder(tmp_path / "photos").photos == ["x/2.jpg", "x/deep/1.jpg", "y/3.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../..", "/", "a"], ids=["itself", "root", "above", "top", "sibling"])
def test_a_link_back_into_the_tree_or_around_it_ends(tmp_path: Path, target: str) -> None:
    root = touch(tmp_path / "photos", "a/1.jpg", "b/2.jpg")
    link = root / ("b" if target == "a" else "a") / "again"
    link.symlink_to(root / "a" if target == "a" else target, target_is_directory=True)
    listing = list_folder(root)
    assert listing.photos == ["a/1.jpg", "b/2.jpg"]
    reason = "a link to a folder that is read already, or to one around it"
    assert listing.skipped == [(link.relative_to(root).as_posix(), reason)]


def test_a_link_never_takes_photos_away_from_the_folder_they_stand_in(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "z/2.jpg")
    (tmp_path / "a" / "also").symlink_to(tmp_path / "z", target_is_directory=True)
    (tmp_path / "0").symlink_to(tmp_path / "z", target_is_directory=True)
    listing = list_folder(tmp_path)
    assert listing.photos == ["a/1.jpg", "z/2.jpg"]
    assert [path for path, _ in listing.skipped] == ["0", "a/also"]


def test_two_links_to_one_folder_are_read_once_the_first_name_counts(tmp_path: Path) -> None:
    touch(tmp_path / "store", "1.jpg")
    (tmp_path / "photos").mkdir()
    for name in ("y", "x"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "store", target_is_directory=True)
    listing = list_folder(tmp_path / "photos")
    assert listing.photos == ["x/1.jpg"]
    assert [path for path, _ in listing.skipped] == ["y"]


def test_loops_in_a_folder_behind_a_link_end(tmp_path: Path) -> None:
    touch(tmp_path / "store", "in/1.jpg")
    (tmp_path / "store" / "in" / "out").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").symlink_to(tmp_path / "store", target_is_directory=True)
    assert list_folder(tmp_path / "photos").photos == ["x/in/1.jpg"]


def test_a_broken_link_is_told_and_one_called_like_a_photo_stays_a_photo(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "none")
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "none.jpg")
    (tmp_path / "a" / "self.jpg").symlink_to(tmp_path / "a" / "self.jpg")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "notes").symlink_to(touch(tmp_path, "notes.md") / "notes.md")
    listing = list_folder(tmp_path)
    assert listing.photos == ["a/1.jpg", "a/gone.jpg", "a/self.jpg"]
    assert listing.skipped == [("a/gone", "a broken link"), ("a/self", "a broken link")]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "store", "x/1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "store", target_is_directory=True)
    assert list_folder(tmp_path / "link").photos == ["x/1.jpg"]


# What cannot be read


@pytest.mark.parametrize(("name", "what"), [("none", "nothing"), ("file", "a file")])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, what: str) -> None:
    touch(tmp_path, "file")
    with pytest.raises(UsageError, match=rf"Expected a folder of photos, got {what} at .*{name}"):
        list_folder(tmp_path / name)


def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a folder that can be read, got File name too long"):
        list_folder(tmp_path / ("a" * 300))


@pytest.mark.usefixtures("plain_user")
def test_a_folder_that_may_not_be_read_is_refused() -> None:
    Path("photos").mkdir(mode=0)
    try:
        with pytest.raises(UsageError, match=r"Expected a folder that can be read, got Permission denied \(photos\)"):
            list_folder(Path("photos"))
    finally:
        Path("photos").chmod(0o700)


@pytest.mark.usefixtures("plain_user")
def test_a_subfolder_that_may_not_be_read_is_told_with_its_path() -> None:
    touch(Path("photos"), "a/1.jpg", "b/2.jpg")
    Path("photos/b").chmod(0)
    try:
        listing = list_folder(Path("photos"))
        assert (listing.photos, listing.unreadable) == (["a/1.jpg"], [("b", "Permission denied")])
        with pytest.raises(UsageError, match=r"Expected a folder that can be read, got Permission denied \(photos/b\)"):
            require_readable(listing)
        with pytest.raises(UsageError, match=r"Permission denied \(photos/b\)"):
            find_photos(Path("photos"))
    finally:
        Path("photos/b").chmod(0o700)


# Names


@pytest.mark.parametrize("name", ["a\rb.jpg", "a\nb.jpg", "a\tb.jpg", os.fsdecode(b"caf\xe9.jpg")])
def test_a_name_that_a_manifest_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    listing = list_folder(touch(tmp_path, "y/2.jpg", f"x/{name}"))
    with pytest.raises(
        DataError, match=r"Expected file names in UTF-8 without control characters, got 'x/.*\\[rntu]"
    ) as caught:
        require_names(listing)
    assert caught.value.hint == "Rename the file: a manifest cannot hold its name."


@pytest.mark.parametrize("name", ["žofie 2.jpg", "a\u00a0b.jpg", "日本.jpg", "a,\"b'.jpg", "a\\b.jpg"])
def test_any_other_name_is_kept_as_the_file_system_spells_it(tmp_path: Path, name: str) -> None:
    listing = list_folder(touch(tmp_path, name))
    require_names(listing)
    assert listing.photos == [name]
    assert is_writable_name(name)


# Finding photos


def test_find_photos_returns_paths_that_can_be_opened(tmp_path: Path) -> None:
    assert find_photos(touch(tmp_path, "b/2.jpg", "a/1.jpg")) == [tmp_path / "a" / "1.jpg", tmp_path / "b" / "2.jpg"]


def test_a_folder_without_photos_names_the_endings_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected photos, got none \(.*\)") as caught:
        find_photos(touch(tmp_path, "a.txt"))
    assert caught.value.hint == "Endings read: .bmp .jfif .jpeg .jpg .png .webp"


def test_many_files_take_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    touch(tmp_path, *(f"x/{number:05d}.jpg" for number in range(5_000)))
    tracemalloc.start()
    listing = list_folder(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing.photos) == 5_000
    # a path of 11 letters is a string of 60 bytes and 8 in the list; a Path object would take about 300 more
    assert peak < 5_000 * 150

"""``edgegender data check``: each kind of fault in text, JSON and on a page, and the exit code that pipelines read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.data.manifest import ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.data.near_duplicates import MAX_DISTANCE
from edgegender.entities import UInt8Array
from edgegender.files import hash_file
from edgegender.images import encode_image
from tests.cli.commands import Answer, check_error, check_no_parts, run_here, snapshot
from tests.pictures import write_photo
from tests.reporting.html import Page

Run = Callable[..., Answer]
Place = tuple[str, str, str]  # picture, label, split


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_here(capfd, "data", "check", *words)


def face(seed: int) -> UInt8Array:
    rng = np.random.default_rng(seed)
    return draw_face(draw_attributes(("female", "male")[seed % 2], rng), size_px=96, rng=rng).image_rgb


def picture(name: str) -> bytes:
    """Returns the file of ``1``; ``1~`` is the same drawing, smaller and encoded again."""
    image = face(int(name.rstrip("~")))
    if name.endswith("~"):
        return encode_image(np.asarray(cv2.resize(image, (80, 80), interpolation=cv2.INTER_AREA)), jpeg_quality=70)
    return encode_image(image)


def make(folder: Path, places: Mapping[str, Place], *, groups: Mapping[str, Mapping[str, str]] | None = None) -> Path:
    """Writes photos and their manifest; ``groups`` holds further columns by path."""
    rows = []
    for path, (name, label, split) in places.items():
        (folder / path).write_bytes(picture(name))
        extra = (groups or {}).get(path, {})
        rows.append(ManifestRow(path, label, split, hash_file(folder / path), extra=extra))
    write_manifest(folder / "faces.csv", rows)
    return folder / "faces.csv"


SOUND: dict[str, Place] = {
    "a.jpg": ("1", "x", "train"),
    "b.jpg": ("2", "y", "train"),
    "c.jpg": ("3", "x", "test"),
    "d.jpg": ("4", "y", "test"),
}
FAULTS: dict[str, dict[str, Place]] = {
    "leaks": {"e.jpg": ("1", "x", "test")},
    "near_leaks": {"e.jpg": ("1~", "x", "test")},
    "conflicts": {"e.jpg": ("1", "y", "train")},
    "near_conflicts": {"e.jpg": ("1~", "y", "train")},
    "duplicates": {"e.jpg": ("1", "x", "train")},
    "near_duplicates": {"e.jpg": ("1~", "x", "train")},
}
NAMES = {
    "leaks": "leaks: the same bytes",
    "near_leaks": "leaks: near duplicates",
    "person_leaks": "leaks: the same person",
    "conflicts": "conflicting labels: the same bytes",
    "near_conflicts": "conflicting labels: near duplicates",
    "changed": "changed since indexing",
    "unreadable": "unreadable photos",
    "duplicates": "exact duplicates",
    "near_duplicates": "near duplicates",
    "tiny": "tiny photos",
}
GROUPED = frozenset(NAMES) - {"changed", "unreadable", "tiny"}


def line_of(out: str, field: str) -> int:
    """Returns the number that the text gives for a kind of fault."""
    name = re.escape(NAMES[field]) + (r" \(groups\)" if field in GROUPED else "")
    found = re.search(rf"^ +(\d+)  {name}$", out, re.MULTILINE)
    assert found is not None, out
    return int(found[1])


# What is found, and the exit code


def test_a_sound_set_gives_exit_code_0_and_counts(run: Run, tmp_path: Path) -> None:
    answer = run(make(tmp_path, SOUND).name)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert [line.split() for line in lines[:3]] == [["split", "x", "y"], ["train", "1", "1"], ["test", "1", "1"]]
    assert {field: line_of(answer.out, field) for field in NAMES if field != "person_leaks"} == dict.fromkeys(
        NAMES.keys() - {"person_leaks"}, 0
    )
    assert lines[-1] == "4 photos checked, 0 excluded before"


@pytest.mark.parametrize("field", ["leaks", "near_leaks", "conflicts", "near_conflicts"])
def test_a_leak_and_a_conflict_give_exit_code_1(run: Run, tmp_path: Path, field: str) -> None:
    make(tmp_path, {**SOUND, **FAULTS[field]})
    answer = run("faces.csv")
    expected = "got 1, 0 and 0" if "leak" in field else "got 0, 1 and 0"
    check_error(answer, 1, f"Expected no leaks, conflicts or changed files, {expected} (faces.csv)", "--output")
    assert line_of(answer.out, field) == 1
    assert f"        a.jpg {'≈' if 'near' in field else '='} e.jpg\n" in answer.out
    document = json.loads(run("faces.csv", "--json").out)
    assert document["is_sound"] is False
    assert document[field] == [["a.jpg", "e.jpg"]]


@pytest.mark.parametrize("field", ["duplicates", "near_duplicates"])
def test_duplicates_of_one_label_on_one_side_are_told_and_no_fault(run: Run, tmp_path: Path, field: str) -> None:
    make(tmp_path, {**SOUND, **FAULTS[field]})
    answer = run("faces.csv")
    assert (answer.code, answer.err) == (0, "")
    assert line_of(answer.out, field) == 1
    document = json.loads(run("faces.csv", "--json").out)
    assert document["is_sound"] is True
    assert document[field] == [["a.jpg", "e.jpg"]]


def test_a_person_on_two_sides_is_a_leak_that_only_another_split_mends(run: Run, tmp_path: Path) -> None:
    people = {"a.jpg": {"person": "p1"}, "b.jpg": {"person": "p2"}, "c.jpg": {"person": "p1"}}
    make(tmp_path, SOUND, groups=people)
    answer = run("faces.csv", "-o", "clean.csv")
    check_error(answer, 1, "got 1, 0 and 0", "edgegender data split clean.csv --group-by person -o split.csv")
    assert line_of(answer.out, "person_leaks") == 1
    assert "        a.jpg = c.jpg\n" in answer.out


def test_people_are_not_said_to_be_sound_where_nobody_looked(run: Run, tmp_path: Path) -> None:
    make(tmp_path, SOUND)
    answer = run("faces.csv")
    assert "     –  leaks: the same person: not looked for (the manifest has no column person)\n" in answer.out
    assert json.loads(run("faces.csv", "--json").out)["person_leaks"] is None
    assert "the same person" not in (run("faces.csv", "--html", "page.html"), (tmp_path / "page.html").read_text())[1]


def test_near_duplicates_are_not_said_to_be_none_where_nobody_looked(run: Run, tmp_path: Path) -> None:
    make(tmp_path, {**SOUND, **FAULTS["near_leaks"]})
    answer = run("faces.csv", "--no-near")
    assert answer.code == 0
    for field in ("near_leaks", "near_conflicts", "near_duplicates"):
        assert f"     –  {NAMES[field]}: not looked for (--no-near)\n" in answer.out
    document = json.loads(run("faces.csv", "--no-near", "--json").out)
    assert [document[field] for field in ("near_leaks", "near_conflicts", "near_duplicates")] == [None] * 3


def test_a_file_that_changed_since_it_was_indexed_gives_exit_code_1(run: Run, tmp_path: Path) -> None:
    make(tmp_path, SOUND)
    (tmp_path / "d.jpg").write_bytes(picture("9"))
    answer = run("faces.csv")
    check_error(answer, 1, "got 0, 0 and 1")
    assert line_of(answer.out, "changed") == 1
    assert "        d.jpg\n" in answer.out


def test_unreadable_and_tiny_photos_are_told_with_the_reason_and_no_fault(run: Run, tmp_path: Path) -> None:
    make(tmp_path, {**SOUND, **{f"{number}.jpg": (str(number), "x", "train") for number in (5, 6, 7, 8)}})
    (tmp_path / "5.jpg").write_bytes(b"")
    (tmp_path / "6.jpg").write_bytes(picture("6")[:900])
    (tmp_path / "7.jpg").unlink()
    write_photo(tmp_path / "8.jpg", face(8)[:20, :50])
    rows = [
        row if row.path != "8.jpg" else ManifestRow("8.jpg", "x", "train") for row in read_manifest(Path("faces.csv"))
    ]
    write_manifest(tmp_path / "faces.csv", rows)
    answer = run("faces.csv")
    assert answer.code == 0
    assert (line_of(answer.out, "unreadable"), line_of(answer.out, "tiny")) == (3, 1)
    for line in ("5.jpg (empty)", "6.jpg (truncated)", "7.jpg (missing)", "8.jpg (50 × 20)"):
        assert f"        {line}\n" in answer.out
    assert line_of(run("faces.csv", "--min-side", "20").out, "tiny") == 0
    assert json.loads(run("faces.csv", "--json").out)["tiny"] == [{"path": "8.jpg", "reason": "50 × 20"}]


def test_a_smaller_distance_finds_fewer_near_duplicates(run: Run, tmp_path: Path) -> None:
    make(tmp_path, {**SOUND, **FAULTS["near_duplicates"]})
    assert line_of(run("faces.csv", "--near-distance", MAX_DISTANCE).out, "near_duplicates") == 1
    assert line_of(run("faces.csv", "--near-distance", "0").out, "near_duplicates") == 0


def test_of_many_groups_five_are_named_and_the_others_counted(run: Run, tmp_path: Path) -> None:
    copies = {f"{name}{number}.jpg": (str(number), "x", "train") for number in range(1, 8) for name in "ab"}
    make(tmp_path, copies)
    out = run("faces.csv", "--no-near").out
    assert line_of(out, "duplicates") == 7
    assert out.count(" = ") == 5
    assert "        … 2 more (--json lists all, --html shows them)\n" in out


# Balance


def test_balance_is_told_for_columns_that_are_groups(run: Run, tmp_path: Path) -> None:
    groups = {
        path: {"race": race, "age": age, "person": path, "only": "one"}
        for path, race, age in zip(SOUND, ("a", "b", "b", ""), ("9", "10", "10", "more than 70"), strict=True)
    }
    make(tmp_path, SOUND, groups=groups)
    lines = run("faces.csv").out.splitlines()
    assert lines[3:6] == ["race: a 1, b 2, (empty) 1", "age: 9 1, 10 2, more than 70 1", ""]
    assert json.loads(run("faces.csv", "--json").out)["balance"]["race"] == {
        "a": {"x": 1, "y": 0},
        "b": {"x": 1, "y": 1},
        "(empty)": {"x": 0, "y": 1},
    }


def test_a_column_of_names_is_no_group(run: Run, tmp_path: Path) -> None:
    many = {f"{number}.jpg": ("1", "x", "train") for number in range(31)}
    make(tmp_path, many, groups={path: {"camera": path} for path in many})
    assert json.loads(run("faces.csv", "--json").out)["balance"] == {}


def test_what_was_excluded_before_is_counted_by_reason(run: Run, tmp_path: Path) -> None:
    make(tmp_path, SOUND)
    rows = [
        *read_manifest(Path("faces.csv")),
        *(ManifestRow(f"{n}.jpg", "x", exclude=f"{n}") for n in ("old", "blurred")),
    ]
    write_manifest(tmp_path / "faces.csv", rows)
    assert run("faces.csv").out.endswith("4 photos checked, 2 excluded before (1 blurred, 1 old)\n")


# What is written


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A set with every fault at once."""
    places = {
        f"{number:02d}.jpg": (str(number), "xy"[number % 2], ("train", "test")[number % 2]) for number in range(12)
    }
    copies: dict[str, Place] = {
        "leak.jpg": ("0", "x", "test"),
        "near leak.jpg": ("1~", "y", "train"),
        "conflict.jpg": ("2", "y", "train"),
        "near conflict.jpg": ("3~", "x", "test"),
        "copy.jpg": ("4", "x", "train"),
        "near copy.jpg": ("5~", "y", "test"),
        "empty.jpg": ("20", "x", "train"),
        "changed.jpg": ("21", "x", "train"),
        "<b>&amp;'\".jpg": ("22", "x", "train"),
    }
    make(tmp_path, {**places, **copies})
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "changed.jpg").write_bytes(picture("23"))
    (tmp_path / "<b>&amp;'\".jpg").write_bytes(b"GIF89a")
    return tmp_path / "faces.csv"


def test_the_clean_manifest_passes_a_second_check(run: Run, spoilt: Path, tmp_path: Path) -> None:
    answer = run(spoilt.name, "-o", "clean.csv")
    check_error(answer, 1, "got 2, 2 and 1", "Train with clean.csv.")
    assert "faults excluded → clean.csv\n" in answer.out
    again = run("clean.csv")
    assert (again.code, again.err) == (0, "")
    excluded = {row.path: row.exclude for row in read_manifest(tmp_path / "clean.csv") if row.exclude}
    assert excluded == {
        "00.jpg": "exact_duplicate",  # of a leak, the photo in test stays
        "02.jpg": "label_conflict",
        "03.jpg": "label_conflict_near_duplicate",
        "<b>&amp;'\".jpg": "unreadable: format",
        "changed.jpg": "sha256_mismatch",
        "conflict.jpg": "label_conflict",
        "copy.jpg": "exact_duplicate",
        "empty.jpg": "unreadable: empty",
        "near conflict.jpg": "label_conflict_near_duplicate",
        "near copy.jpg": "near_duplicate",
        "near leak.jpg": "near_duplicate",
    }
    assert len(read_manifest(tmp_path / "clean.csv")) == len(read_manifest(spoilt))  # nothing is deleted


def test_the_clean_manifest_may_stand_elsewhere_and_be_parquet(run: Run, spoilt: Path, tmp_path: Path) -> None:
    run(spoilt.name, "-o", "out/clean.parquet")
    assert run("out/clean.parquet").code == 0
    assert read_manifest(tmp_path / "out" / "clean.parquet").row(1).path == "../01.jpg"


def test_the_page_holds_every_picture_and_loads_nothing(run: Run, spoilt: Path, tmp_path: Path) -> None:
    answer = run(spoilt.name, "--html", "out/page.html")
    assert answer.code == 1
    assert "pictures → out/page.html\n" in answer.out
    page = Page(tmp_path / "out" / "page.html")
    shown = {"leaks": 2, "near leaks": 2, "conflicts": 2, "near conflicts": 2, "changed": 1, "copies": 4, "near": 6}
    assert len(page.all("img")) == sum(shown.values())
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert (page.all("script"), page.all("link"), page.handlers) == ([], [], [])
    assert "default-src 'none'" in page.policy
    assert any("<b>&amp;'\".jpg" in text for text in page.texts)  # as text, and not as markup
    assert page.all("b") == []
    shutil.rmtree(tmp_path / "out")
    run(spoilt.name, "--html", "again.html")
    assert Page(tmp_path / "again.html").tags == page.tags  # no time, no machine


def test_each_leak_on_the_page_says_what_two_photos_share(run: Run, tmp_path: Path) -> None:
    people = {"a.jpg": {"person": "p1"}, "c.jpg": {"person": "p1"}}
    make(tmp_path, {**SOUND, **FAULTS["leaks"]}, groups=people)
    run("faces.csv", "--html", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "2 photos: the same bytes" in page
    assert "2 photos: the same person" in page


def test_json_is_one_document_also_when_the_check_fails(run: Run, spoilt: Path) -> None:
    answer = run(spoilt.name, "-o", "clean.csv", "--json")
    check_error(answer, 1, "Expected no leaks")
    document = json.loads(answer.out)
    assert set(document) == {"is_sound", "num_photos", "num_excluded", "counts", "balance", *NAMES}
    assert document["changed"] == ["changed.jpg"]
    assert document["unreadable"] == [
        {"path": "empty.jpg", "reason": "empty"},
        {"path": "<b>&amp;'\".jpg", "reason": "format"},
    ]


def test_photos_and_manifest_stay_as_they_are(run: Run, spoilt: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    run(spoilt.name)
    assert snapshot(tmp_path) == before
    check_no_parts(tmp_path)


# Refused


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--near-distance", "99"), "Invalid value for '--near-distance': 99 is not in the range 0<=x<=24"),
        (("--near-distance", "-1"), "Invalid value for '--near-distance'"),
        (("--min-side", "-1"), "Invalid value for '--min-side': -1 is not in the range"),
        (("--workers", "-2"), "Invalid value for '--workers'"),
        (("-o", "clean.json"), "Expected a manifest's name ending in .csv or .parquet, got clean.json"),
        (("--html", "faces.csv"), "Expected another file than the manifest, got faces.csv"),
        (("-o", "x.csv", "--html", "./x.csv"), "Expected another file than the manifest of --output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_nonsense_is_refused_before_a_photo_is_read(
    run: Run, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    make(tmp_path, SOUND)
    before = snapshot(tmp_path)
    answer = run("faces.csv", *words)
    check_error(answer, 2, expected)
    assert answer.out == ""
    assert snapshot(tmp_path) == before


def test_a_manifest_without_its_photos_is_no_sound_set(run: Run, tmp_path: Path) -> None:
    make(tmp_path, SOUND)
    shutil.move(tmp_path / "faces.csv", tmp_path / "moved.csv")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "moved.csv", tmp_path / "elsewhere" / "faces.csv")
    answer = run("elsewhere/faces.csv")
    check_error(answer, 2, "Expected photos that can be read, got 4 that cannot", "elsewhere/a.jpg is missing")


def test_a_manifest_of_excluded_rows_is_no_sound_set(run: Run, tmp_path: Path) -> None:
    write_manifest(tmp_path / "faces.csv", [ManifestRow("a.jpg", "x", exclude="blurred")])
    check_error(run("faces.csv"), 2, "Expected photos to check, got none (faces.csv)", "All rows are excluded.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label\nx\n", "Expected the columns path and label, got label (faces.csv)"),
        ("path,label\na.jpg,x\nb.jpg,x\na.jpg,y\n", "Expected each path once, got a.jpg in rows 2 and 4"),
        ("path,label\na.jpg,x\n/home/you/b.jpg,x\n", "got the absolute '/home/you/b.jpg' (faces.csv, row 3)"),
        ("path,label\na.jpg,x\r\nD:\\b.jpg,x\n", "got the absolute 'D:\\\\b.jpg' (faces.csv, row 3)"),
    ],
    ids=["missing column", "twice", "absolute", "Windows"],
)
def test_a_manifest_that_breaks_its_format_is_told_with_file_and_row(
    run: Run, tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "faces.csv").write_text(text)
    check_error(run("faces.csv"), 2, expected)


def test_line_endings_of_a_manifest_may_be_mixed(run: Run, tmp_path: Path) -> None:
    make(tmp_path, SOUND)
    first, second, *rest = (tmp_path / "faces.csv").read_text().splitlines()
    (tmp_path / "faces.csv").write_bytes("\r\n".join([first, f"{second}\n{rest[0]}", *rest[1:]]).encode() + b"\r\n")
    assert run("faces.csv").out.endswith("4 photos checked, 0 excluded before\n")


# The page needs a package that the base install does not have


@pytest.mark.parametrize(
    ("module", "words", "expected"),
    [
        ("imagehash", (), ("Expected the package ImageHash", "pip install 'edgegender[data]', or look", "--no-near")),
        ("jinja2", ("--no-near", "--html", "page.html"), ("Expected the package Jinja2", "edgegender[data]")),
        ("pyarrow", ("--no-near", "-o", "x.parquet"), ("Expected the package pyarrow", "edgegender[data]", ".csv")),
    ],
)
def test_a_missing_package_is_told_before_a_photo_is_read(  # noqa: PLR0917
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    words: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    from importlib import util

    make(tmp_path, SOUND)
    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == module else real(name, *rest))
    answer = run("faces.csv", *words)
    check_error(answer, 3, *expected)
    assert answer.out == ""

"""``edgegender data index``: every option, what it tells, and what it leaves behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.journal import Journal
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest
from tests.cli.commands import Answer, check_error, check_no_parts, run_here, snapshot
from tests.pictures import noise, write_photo

Run = Callable[..., Answer]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_here(capfd, "data", "index", *words)


def photos(folder: Path, *names: str) -> Path:
    """Writes a photo under each name."""
    for number, name in enumerate(names):
        write_photo(folder / name, noise(40, 30, seed=number))
    return folder


def index(run: Run, *words: object, output: str = "faces.csv") -> Manifest:
    answer = run(*words, "-o", output)
    assert answer.code == 0, answer
    return read_manifest(Path(output))


def rows(manifest: Manifest, *columns: str) -> dict[str, tuple[str, ...]]:
    cells = zip(*(manifest.column(name) for name in columns), strict=True)
    return dict(zip(manifest.column("path"), cells, strict=True))


# What is written


def test_class_folders_become_a_manifest_with_size_hashes_and_splits(run: Run, tmp_path: Path) -> None:
    write_drawn_faces(tmp_path / "photos", num_faces=20, seed=7, size_px=64)
    answer = run("photos", "-o", "faces.csv")
    assert (answer.code, answer.err) == (0, "")
    assert [line.split() for line in answer.out.splitlines()[:4]] == [
        ["split", "female", "male"],
        ["train", "7", "7"],
        ["val", "1", "1"],
        ["test", "2", "2"],
    ]
    assert answer.out.splitlines()[4] == "20 photos (layout folders), 0 of them excluded (0 unreadable) → faces.csv"
    manifest = read_manifest(tmp_path / "faces.csv")
    assert set(manifest.column("width")) == set(manifest.column("height")) == {"64"}
    assert all(len(cell) == 64 for name in ("sha256", "phash") for cell in manifest.column(name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "photos"]  # and no journal


def test_the_same_folder_gives_the_same_bytes_and_another_seed_another_split(run: Run, tmp_path: Path) -> None:
    write_drawn_faces(tmp_path / "photos", num_faces=20, seed=7, size_px=48)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        index(run, "photos", "--seed", seed, output=f"{name}.csv")
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_paths_are_relative_to_the_manifest_wherever_it_stands(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "female/1.png", "male/2.png")
    assert list(index(run, tmp_path / "in", output="out/deep/faces.csv").column("path")) == [
        "../../in/female/1.png",
        "../../in/male/2.png",
    ]
    assert list(index(run, "in", output="in/faces.csv").column("path")) == ["female/1.png", "male/2.png"]


def test_parquet_holds_what_the_csv_does(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "female/1.png", "male/2.png")
    text, table = index(run, "in"), index(run, "in", output="faces.parquet")
    assert table.column_names == text.column_names
    assert list(table) == list(text)


def test_json_tells_counts_and_lists_what_was_left_out(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "female/1.png", "male/2.png", "male/3.png")
    (tmp_path / "in" / "male" / "3.png").write_bytes(b"")
    (tmp_path / "in" / "male" / "4.gif").touch()
    answer = run("in", "-o", "faces.csv", "--ratios", "1,1", "--json")
    assert json.loads(answer.out) == {
        "manifest": "faces.csv",
        "layout": "folders",
        "num_photos": 3,
        "num_excluded": 1,
        "num_unreadable": 1,
        "num_unlisted": 0,
        "num_resumed": 0,
        "counts": read_manifest(tmp_path / "faces.csv").counts(),
        "unreadable": [{"path": "in/male/3.png", "reason": "unreadable: empty"}],
        "skipped": [{"path": "male/4.gif", "reason": "a format that is not read (.gif)"}],
    }
    assert answer.err.splitlines() == [
        "warning: in/male/3.png: unreadable: empty",
        "warning: male/4.gif: left out, a format that is not read (.gif)",
    ]


def test_of_many_faults_ten_are_named_and_the_others_counted(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "female/1.png", "male/2.png")
    for number in range(12):
        (tmp_path / "in" / "male" / f"{number:02d}.jpg").touch()
        (tmp_path / "in" / "male" / f"{number:02d}.tif").touch()
    lines = run("in", "-o", "faces.csv").err.splitlines()
    assert len(lines) == 22
    assert lines[9:11] == [
        "warning: in/male/09.jpg: unreadable: empty",
        "warning: and 2 more unreadable photos; all are marked in the manifest's exclude column",
    ]
    assert lines[-1] == "warning: and 2 more left out; --json lists them all"


# Layouts


def test_layouts_are_found_and_may_be_said(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "utk", "26_1_2_20170116184024662.jpg", "100_0_0_20170112213303693.jpg.chip.jpg")
    fair = photos(tmp_path / "fair", "train/1.jpg", "val/1.jpg")
    (fair / "fairface_label_train.csv").write_text(
        "file,age,gender,race,service_test\ntrain/1.jpg,3-9,Male,White,True\n"
    )
    (fair / "fairface_label_val.csv").write_text("file,age,gender,race,service_test\nval/1.jpg,3-9,Female,White,True\n")
    celeba = photos(tmp_path / "celeba", "img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg")
    (celeba / "list_attr_celeba.txt").write_text("2\nMale Smiling Young\n000001.jpg -1 1 1\n000002.jpg 1 -1 -1\n")
    photos(tmp_path / "aaf", "aglined faces/00000A02.jpg", "aglined faces/07381A02.jpg")
    names = {"utk": "utkface", "fair": "fairface", "celeba": "celeba", "aaf": "all_age_faces"}
    for folder, layout in names.items():
        found = json.loads(run(folder, "-o", "found.csv", "--json").out)
        said = json.loads(run(folder, "-o", "said.csv", "--layout", layout, "--json").out)
        assert found["layout"] == said["layout"] == layout
        assert (tmp_path / "found.csv").read_bytes() == (tmp_path / "said.csv").read_bytes()
        assert sorted(set(read_manifest(tmp_path / "said.csv").column("label"))) == ["female", "male"]
    utk = index(run, "utk", "--label-column", "race")
    assert rows(utk, "label", "age")["utk/26_1_2_20170116184024662.jpg"] == ("Asian", "26")


def test_a_layout_that_is_said_wins_over_what_is_found(run: Run, tmp_path: Path) -> None:
    names = [f"{folder}/26_{sex}_2_2017011618402466{sex}.jpg" for sex, folder in enumerate(("yes", "no"))]
    photos(tmp_path / "in", *names)
    check_error(run("in", "-o", "faces.csv"), 2, "Expected one layout, got signs of utkface and folders", "--layout")
    assert set(index(run, "in", "--layout", "folders").labels) == {"yes", "no"}
    assert set(index(run, "in", "--layout", "utkface").labels) == {"female", "male"}


def test_a_table_names_photos_labels_splits_and_groups(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "1.png", "2.png", "3.png")
    (tmp_path / "table.csv").write_text("file,sex,part,race\n1.png,w,train,a\n2.png,m,test,b\n")
    options = ("--path-column", "file", "--label-column", "sex", "--split-column", "part")
    answer = run("in", "-o", "faces.csv", "--labels", "table.csv", *options)
    assert rows(read_manifest(tmp_path / "faces.csv"), "label", "split", "race") == {
        "in/1.png": ("w", "train", "a"),
        "in/2.png": ("m", "test", "b"),
    }
    assert answer.err == "warning: 1 photos in the folder stand in no list and were left out\n"


def test_levels_say_what_folders_mean_and_blanks_do_not_matter(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "train/asian/w/1.png", "test/black/m/2.png")
    manifest = index(run, "in", "--levels", "split, race ,label")
    assert rows(manifest, "label", "split", "race") == {
        "in/test/black/m/2.png": ("m", "test", "black"),
        "in/train/asian/w/1.png": ("w", "train", "asian"),
    }


def test_labels_are_renamed_and_may_become_one(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "woman/1.png", "man/2.png", "Man/3.png", "child/4.png")
    manifest = index(run, "in", "--rename", "woman=female", "--rename", "man= male ", "--rename", "Man=male")
    assert rows(manifest, "label") == {
        "in/Man/3.png": ("male",),
        "in/child/4.png": ("child",),
        "in/man/2.png": ("male",),
        "in/woman/1.png": ("female",),
    }


def test_ratios_hold_where_no_split_is_given_and_nowhere_else(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", *(f"{label}/{number}.png" for label in "ab" for number in range(10)))
    assert index(run, "in", "--ratios", "50,20,30").counts() == {
        "train": {"a": 5, "b": 5},
        "val": {"a": 2, "b": 2},
        "test": {"a": 3, "b": 3},
    }
    assert index(run, "in", "--ratios", "80,20").counts() == {"train": {"a": 8, "b": 8}, "test": {"a": 2, "b": 2}}
    photos(tmp_path / "split", "train/a/1.png", "train/b/2.png")
    assert index(run, "split", "--ratios", "0.5,0.5").counts() == {"train": {"a": 1, "b": 1}}


def test_without_perceptual_hashes_headers_are_enough(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "a/1.png", "b/2.png")
    plain = index(run, "in", "--no-phash")
    assert "phash" not in plain.column_names
    assert list(plain.column("sha256")) == list(index(run, "in").column("sha256"))


@pytest.mark.parametrize("workers", ["0", "1", "2"])
def test_any_number_of_processes_is_taken(run: Run, tmp_path: Path, workers: str) -> None:
    photos(tmp_path / "in", "a/1.png", "b/2.png")
    assert len(index(run, "in", "--workers", workers)) == 2


# A run that was stopped


def test_a_stopped_run_is_gone_on_with_and_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegender.data import index as module

    names = [f"{label}/{number}.png" for label in "ab" for number in range(5)]
    photos(tmp_path / "in", *names)
    real, calls = module.measure_photo, []

    def stop(*words: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "measure_photo", stop)
    answer = run("in", "-o", "out/faces.csv")
    check_error(answer, 130, "Interrupted.", "The same command goes on where it stopped.")
    assert [file.name for file in (tmp_path / "out").iterdir()] == [".faces.csv.journal"]
    answer = run("in", "-o", "out/faces.csv")
    assert answer.err == "note: 6 photos were measured by a run that was stopped\n"
    assert len(calls) == 7 + 4
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["faces.csv"]
    resumed = (tmp_path / "out" / "faces.csv").read_bytes()
    assert json.loads(run("in", "-o", "out/faces.csv", "--json").out)["num_resumed"] == 0
    assert (tmp_path / "out" / "faces.csv").read_bytes() == resumed


def test_a_second_run_of_the_same_output_waits_for_nobody_and_says_so(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "a/1.png", "b/2.png")
    with Journal(tmp_path / ".faces.csv.journal", {}):
        check_error(run("in", "-o", "faces.csv"), 2, "Expected one run at a time", "Wait for it")


# Refused


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--layout", "folder"), "Expected a layout of folders, csv, utkface"),
        (("--layout", "csv"), "Name it with --labels FILE."),
        (("--labels", "none.csv"), "none.csv"),
        (("--labels", "table.csv", "--path-column", "file"), "file"),
        (("--labels", "table.csv", "--levels", "label"), "Expected no labels with the layout folders"),
        (("--levels", ""), "Expected folder levels such as split,label"),
        (("--levels", "label,,race"), "Expected folder levels such as split,label"),
        (("--levels", "race,age"), "Expected folder levels such as split,label"),
        (("--rename", "woman"), "Expected --rename OLD=NEW, got 'woman'"),
        (("--rename", "=female"), "Expected --rename OLD=NEW, got '=female'"),
        (("--rename", "a= "), "Expected --rename OLD=NEW, got 'a= '"),
        (("--rename", "a=x", "--rename", "a=y"), "Expected one new name for 'a', got 'x' and 'y'"),
        (("--rename", "woman=female"), "Expected to rename a label that is there, got 'woman'"),
        (("--ratios", ""), "Expected ratios such as 70,10,20, got ''"),
        (("--ratios", "70"), "Expected ratios such as 70,10,20, got '70'"),
        (("--ratios", "70,-10,40"), "Expected ratios such as 70,10,20, got '70,-10,40'"),
        (("--ratios", "0,50,50"), "Expected ratios such as 70,10,20"),
        (("--ratios", "1,nan,1"), "Expected ratios such as 70,10,20"),
        (("--ratios", "1,2,3,4"), "Expected ratios such as 70,10,20"),
        (("--seed", "x"), "Invalid value for '--seed'"),
        (("--workers", "-1"), "Invalid value for '--workers': -1 is not in the range"),
        (("-o", "faces.txt"), "Expected a manifest's name ending in .csv or .parquet, got faces.txt"),
        (("-o", "photos/a/0.png"), "Expected a manifest's name ending in .csv or .parquet"),
        (("--labels", "table.csv", "-o", "photos/../table.csv"), "Expected another file than the table of labels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_nonsense_is_refused_before_a_photo_is_read(
    run: Run, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    photos(tmp_path / "photos", "a/0.png", "b/1.png")
    (tmp_path / "table.csv").write_text("path,label\na/0.png,x\nb/1.png,y\n")
    before = snapshot(tmp_path)
    answer = run("photos", *(() if "-o" in words else ("-o", "faces.csv")), *words)
    check_error(answer, 2, expected)
    assert answer.out == ""
    assert snapshot(tmp_path) == before


def test_an_unknown_label_names_those_that_are_there(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "female/1.png", "male/2.png")
    check_error(run("in", "-o", "faces.csv", "--rename", "woman=female"), 2, "hint: Labels: female, male")


def test_photos_that_are_elsewhere_than_the_table_says_are_told_with_the_first(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "a/1.png", "b/2.png")
    (tmp_path / "table.csv").write_text("path,label\nin/a/1.png,x\nin/b/2.png,y\n")
    answer = run("in", "-o", "faces.csv", "--labels", "table.csv")
    check_error(
        answer, 2, "Expected photos that can be read, got 2 that cannot", "in/in/a/1.png is unreadable: missing"
    )
    assert not (tmp_path / "faces.csv").exists()


# Trees that people really have


def test_links_in_a_circle_end(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "a/1.png", "b/2.png")
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b" / "self").symlink_to("self")
    answer = run("in", "-o", "faces.csv")
    assert answer.code == 0
    assert len(read_manifest(tmp_path / "faces.csv")) == 2
    assert answer.err.splitlines() == [
        "warning: a/up: left out, a link to a folder that is read already, or to one around it",
        "warning: b/self: left out, a broken link",
    ]


def test_a_folder_that_cannot_be_read_is_named_and_nothing_is_written(run: Run, plain_user: Path) -> None:
    del plain_user  # a superuser may read all
    photos(Path("in"), "a/1.png", "b/2.png", "b/secret/3.png")
    Path("in/b/secret").chmod(0)
    answer = run("in", "-o", "faces.csv")
    Path("in/b/secret").chmod(0o700)
    check_error(answer, 2, "Expected a folder that can be read, got Permission denied (in/b/secret)")
    assert [path.name for path in Path().iterdir()] == ["in"]


def test_a_photo_that_may_not_be_read_is_marked(run: Run, plain_user: Path) -> None:
    del plain_user
    photos(Path("in"), "a/1.png", "b/2.png", "b/3.png")
    Path("in/b/3.png").chmod(0)
    answer = run("in", "-o", "faces.csv")
    assert answer.code == 0, answer
    assert answer.err == "warning: in/b/3.png: unreadable: missing\n"


def test_a_folder_that_may_not_be_written_is_told_before_a_photo_is_read(run: Run, plain_user: Path) -> None:
    del plain_user
    photos(Path("in"), "a/1.png", "b/2.png")
    Path("in").chmod(0o500)
    answer = run("in", "-o", "in/faces.csv")
    Path("in").chmod(0o700)
    check_error(answer, 3, "Expected a file that can be written, got in/faces.csv")


def test_photos_that_vanish_while_indexing_are_marked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegender.data import index as module

    photos(tmp_path / "in", "a/1.png", "a/2.png", "b/3.png")
    real = module.read_layout

    def read_and_lose(folder: Path, **options: object) -> object:
        found = real(folder, **options)  # type: ignore[arg-type]
        (tmp_path / "in" / "a" / "2.png").unlink()
        return found

    monkeypatch.setattr(module, "read_layout", read_and_lose)
    answer = run("in", "-o", "faces.csv")
    assert answer.code == 0
    assert answer.err == "warning: in/a/2.png: unreadable: missing\n"
    assert rows(read_manifest(tmp_path / "faces.csv"), "exclude")["in/a/2.png"] == ("unreadable: missing",)


def test_empty_truncated_and_foreign_files_are_marked_with_the_reason(run: Run, tmp_path: Path) -> None:
    photos(tmp_path / "in", "a/1.png", "b/2.png", "b/cut.png")
    (tmp_path / "in" / "b" / "empty.jpg").touch()
    cut = tmp_path / "in" / "b" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:100])
    (tmp_path / "in" / "b" / "text.jpg").write_text("no photo")
    reasons = rows(index(run, "in"), "exclude")
    assert {path.rpartition("/")[2]: reason for path, (reason,) in reasons.items()} == {
        "1.png": "",
        "2.png": "",
        "cut.png": "unreadable: truncated",
        "empty.jpg": "unreadable: empty",
        "text.jpg": "unreadable: format",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_endings_of_a_table_may_be_mixed(run: Run, tmp_path: Path, end: str) -> None:
    photos(tmp_path / "in", "1.png", "2.png", "3.png")
    text = f"path,label\n1.png,x\r\n2.png,y{end}3.png,x\r\n"
    (tmp_path / "table.csv").write_bytes(text.encode())
    assert len(index(run, "in", "--labels", "table.csv")) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,sex\n1.png,x\n", "Expected the column"),
        ("path,label\n1.png,x\n2.png,y\n1.png,y\n", "rows 2 and 4"),
        ("path,label\n1.png,x\n/home/me/2.png,y\n", "row 3"),
        ("path,label\n1.png,x\nC:\\photos\\2.png,y\n", "It may come from another machine"),
        ("path,label\n1.png,x\n2.png\n", "row 3"),
        ("path,label\n1.png,\n", "row 2"),
    ],
    ids=["missing column", "twice", "absolute", "Windows", "short row", "no label"],
)
def test_a_table_that_breaks_its_format_is_told_with_file_and_row(
    run: Run, tmp_path: Path, text: str, expected: str
) -> None:
    photos(tmp_path / "in", "1.png", "2.png")
    (tmp_path / "table.csv").write_text(text)
    check_error(run("in", "-o", "faces.csv", "--labels", "table.csv"), 2, "table.csv", expected)
    assert not (tmp_path / "faces.csv").exists()


def test_a_manifest_of_old_is_a_table_of_labels(run: Run, tmp_path: Path) -> None:
    """What the hint for absolute paths says: index the folder with the old manifest as the table."""
    photos(tmp_path / "in", "a/1.png", "b/2.png")
    index(run, "in")
    (tmp_path / "in" / "old.csv").write_text(
        (tmp_path / "faces.csv").read_text().replace("in/", f"{tmp_path}/in/").replace(",a,", ",x,")
    )
    again = index(run, "in", "--labels", "in/old.csv", output="new.csv")
    assert rows(again, "label")["in/a/1.png"] == ("x",)
    with (tmp_path / "new.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    assert len(header) == len(set(header))
    check_no_parts(tmp_path)

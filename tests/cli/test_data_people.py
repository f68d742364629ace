"""``data group`` and ``data audit-labels``: people and doubtful labels, from photos to a manifest that can be split."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest_file import read_manifest, write_manifest
from tests.cli.commands import Answer, check_error, check_no_parts, run_here, snapshot

NUM_PEOPLE = 12


@pytest.fixture(scope="module")
def people_folder(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photos, some of them twice as other files of the same face, with a manifest of two labels."""
    folder = tmp_path_factory.mktemp("people")
    lines = ["path,label,split"]
    for label in ("female", "male"):
        photos = sorted((sample_folder / "faces" / label).glob("gen_*.jpg"))[:NUM_PEOPLE]
        assert len(photos) == NUM_PEOPLE
        for number, photo in enumerate(photos):
            shutil.copy(photo, folder / f"{label}_{number}.jpg")
            lines.append(f"{label}_{number}.jpg,{label},train")
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def networks(mobilefacenet_file: Path, yunet_file: Path) -> tuple[str, ...]:
    return ("--embedder", str(mobilefacenet_file), "--detector-path", str(yunet_file), "--workers", "1")


def drawn(folder: Path) -> Path:
    """Writes a manifest of drawn faces."""
    write_manifest(folder / "faces.csv", write_drawn_faces(folder, num_faces=8, seed=1))
    return folder / "faces.csv"


def cells(path: Path, column: str) -> list[str]:
    with path.open(newline="") as stream:
        return [row[column] for row in csv.DictReader(stream)]


def people_of(folder: Path, networks: tuple[str, ...], capfd: pytest.CaptureFixture[str], output: Path) -> Answer:
    return run_here(capfd, "data", "group", folder / "faces.csv", "-o", output, *networks)


def test_each_stranger_gets_a_name_of_its_own_and_copies_of_a_face_one(
    people_folder: Path, networks: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(people_folder, folder)
    shutil.copy(folder / "female_0.jpg", folder / "again.jpg")
    (folder / "blank.png").write_bytes(b"no photo")
    with (folder / "faces.csv").open("a") as stream:
        stream.write("again.jpg,female,test\nblank.png,male,test\n")
    # generated faces are more alike than photographed ones: at the default of 0.45 some would be joined
    answer = people_of(folder, ("--threshold", "0.75", *networks), capfd, folder / "people.csv")
    assert answer.code == 0, answer
    assert "blank.png: unreadable: format" in answer.err
    people = dict(zip(cells(folder / "people.csv", "path"), cells(folder / "people.csv", "person"), strict=True))
    assert people["again.jpg"] == people["female_0.jpg"] != ""
    assert people["blank.png"] == ""
    assert len({name for name in people.values() if name}) == 2 * NUM_PEOPLE
    assert not list(folder.glob(".*.journal"))


def test_a_person_in_two_splits_is_a_leak_until_the_split_is_made_anew(
    people_folder: Path, networks: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(people_folder, folder)
    main_photo = (folder / "male_1.jpg").read_bytes()
    (folder / "later.jpg").write_bytes(main_photo + b"\n")  # other bytes, the same face
    with (folder / "faces.csv").open("a") as stream:
        stream.write("later.jpg,male,test\n")
    assert people_of(folder, networks, capfd, folder / "people.csv").code == 0
    check_error(run_here(capfd, "data", "check", folder / "people.csv", "--no-near"), 1, "leaks")
    names = ("--group-by", "person", "--ratios", "60,20,20")
    assert run_here(capfd, "data", "split", folder / "people.csv", "-o", folder / "split.csv", *names).code == 0
    assert run_here(capfd, "data", "check", folder / "split.csv", "--no-near").code == 0
    sides = defaultdict(set)
    for row in read_manifest(folder / "split.csv"):
        sides[row.extra["person"]].add(row.split)
    assert all(len(found) == 1 for found in sides.values())


def test_blocks_and_duplicates_need_no_network(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest = drawn(tmp_path)
    blocks, copies = tmp_path / "blocks.csv", tmp_path / "copies.csv"
    assert run_here(capfd, "data", "group", manifest, "--by", "block", "--block-size", 2, "-o", blocks).code == 0
    assert sorted(cells(blocks, "block")) == sorted(
        [f"{label}-0000{n}" for label in ("female", "male") for n in "0011"]
    )
    shutil.copy(tmp_path / "male" / "male_00001.jpg", tmp_path / "male" / "copy.jpg")
    assert run_here(capfd, "data", "index", tmp_path, "-o", tmp_path / "all.csv").code == 0
    answer = run_here(capfd, "data", "group", tmp_path / "all.csv", "--by", "duplicates", "-o", copies)
    assert answer.code == 0
    named = dict(zip(cells(copies, "path"), cells(copies, "duplicates"), strict=True))
    assert named["male/male_00001.jpg"] == named["male/copy.jpg"] == "male/copy.jpg"
    assert sum(map(bool, named.values())) == 2


def test_an_audit_marks_rows_deletes_none_and_takes_decisions(
    people_folder: Path, networks: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(people_folder, folder)
    audited, sheet = folder / "audited.csv", folder / "sheet.html"
    options = ("--sheet", sheet, "--num-photos", 5, *networks)
    answer = run_here(capfd, "data", "audit-labels", folder / "faces.csv", "-o", audited, *options)
    assert answer.code == 0, answer
    assert "24 labels judged" in answer.out
    assert cells(audited, "path") == cells(folder / "faces.csv", "path")
    assert cells(audited, "exclude") == [""] * 24
    assert set(cells(audited, "suggested_label")) <= {"female", "male"}
    quality = {
        path: float(cell) for path, cell in zip(cells(audited, "path"), cells(audited, "label_quality"), strict=True)
    }
    assert all(0 <= value <= 1 for value in quality.values())
    worst = sorted(quality, key=lambda path: quality[path])[:5]
    page = sheet.read_text()
    assert page.count("data:image/") == 5
    assert all(path in page for path in worst)

    decisions = folder / "decisions.csv"
    decisions.write_text(f"path,label,decision\n{worst[0]},x,wrong\n{worst[1]},x,unclear\n{worst[2]},x,right\n")
    answer = run_here(capfd, "data", "audit-labels", audited, "--decisions", decisions, "-o", folder / "clean.csv")
    assert (answer.code, answer.out.strip()) == (0, f"1 right, 1 unclear, 1 wrong → {folder / 'clean.csv'}")
    excluded = dict(zip(cells(folder / "clean.csv", "path"), cells(folder / "clean.csv", "exclude"), strict=True))
    reasons = {path: reason for path, reason in excluded.items() if reason}
    assert reasons == {worst[0]: "label_wrong", worst[1]: "label_unclear"}
    issue = dict(zip(cells(folder / "clean.csv", "path"), cells(folder / "clean.csv", "label_issue"), strict=True))
    assert issue[worst[2]] == ""
    check_no_parts(folder)


def test_issues_can_be_excluded_without_a_look(
    people_folder: Path, networks: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(people_folder, folder)
    options = ("--exclude-issues", "--json", *networks)
    answer = run_here(capfd, "data", "audit-labels", folder / "faces.csv", "-o", folder / "a.csv", *options)
    assert answer.code == 0
    issues = [bool(cell) for cell in cells(folder / "a.csv", "label_issue")]
    assert [cell == "label_issue" for cell in cells(folder / "a.csv", "exclude")] == issues


def test_vectors_are_kept_only_when_asked_for(
    people_folder: Path, networks: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(people_folder, folder)
    before = set(snapshot(folder))
    assert people_of(folder, networks, capfd, folder / "people.csv").code == 0
    assert set(snapshot(folder)) - before == {"people.csv"}
    cached = (*networks, "--cache", str(folder / "vectors.journal"))
    answer = people_of(folder, cached, capfd, folder / "people.csv")
    assert answer.code == 0
    assert "delete them" in answer.err
    assert (folder / "vectors.journal").is_file()


# Bad input


@pytest.mark.parametrize("command", ["group", "audit-labels"])
def test_a_network_that_was_not_pulled_is_named(
    command: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answer = run_here(capfd, "data", command, drawn(tmp_path), "-o", tmp_path / "out.csv")
    check_error(answer, 2, "edgegender models pull mobilefacenet")
    assert not (tmp_path / "out.csv").exists()


def test_a_file_that_is_no_network_is_refused(
    yunet_file: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network")
    options = ("--embedder", tmp_path / "net.onnx", "--detector-path", yunet_file)
    answer = run_here(capfd, "data", "group", drawn(tmp_path), "-o", tmp_path / "out.csv", *options)
    check_error(answer, 2, "net.onnx")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("path,label,decision\nnobody.jpg,x,wrong\n", "nobody.jpg"),
        ("path,label,decision\nfemale/female_00001.jpg,x,maybe\n", "maybe"),
        ("path,label\nfemale/female_00001.jpg,x\n", "decision"),
    ],
    ids=["another photo", "another word", "no column"],
)
def test_decisions_that_do_not_fit_change_nothing(
    content: str, word: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    manifest = drawn(tmp_path)
    (tmp_path / "decisions.csv").write_text(content)
    answer = run_here(
        capfd, "data", "audit-labels", manifest, "--decisions", tmp_path / "decisions.csv", "-o", tmp_path / "out.csv"
    )
    check_error(answer, 2, word)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("group", ("--by", "block", "--block-size", 0)),
        ("audit-labels", ("--num-photos", 0)),
        ("group", ("--by", "colour")),
        ("group", ("--threshold", "1.5")),
        ("group", ("--detector", "cascade")),
    ],
    ids=["no block", "no photo", "no such way", "no threshold", "no eyes"],
)
def test_options_out_of_range_are_refused(
    command: str, options: tuple[object, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = run_here(capfd, "data", command, drawn(tmp_path), "-o", tmp_path / "out.csv", *options)
    check_error(answer, 2)
    assert not (tmp_path / "out.csv").exists()

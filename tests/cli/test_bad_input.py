"""Bad input gets one line that says what is wrong, one that says what to do, and the documented exit code."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender.data.drawn_faces import draw_attributes, draw_face, write_drawn_faces
from edgegender.data.manifest import ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.images import encode_image
from edgegender.runtime.model_file import embedded_model_path
from tests.cli.commands import Answer, check_error, check_no_parts, environment, run_here, snapshot
from tests.pictures import black_png, exif_segment, insert_segment, noise, write_photo
from tests.tiny_model import build_network, build_tiny_model, grey_picture

Run = Callable[..., Answer]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_here(capfd, *words)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """A drawn person of 240 × 240 pixels, in whom the cascade finds the face."""
    rng = np.random.default_rng(3)
    return draw_face(draw_attributes("male", rng), size_px=240, rng=rng).image_rgb


def make_manifest(folder: Path, *, num_photos: int = 6) -> Path:
    """Writes noise with alternating labels and splits, and its manifest."""
    rows = []
    for number in range(num_photos):
        write_photo(folder / f"{number}.png", noise(40, 40, seed=number))
        split = ("train", "train", "val", "val", "test", "test")[number % 6]
        rows.append(ManifestRow(f"{number}.png", ("female", "male")[number % 2], split, sha256=f"{number:064d}"))
    write_manifest(folder / "faces.csv", rows)
    return folder / "faces.csv"


# Folders of photos


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_error(run("data", "index", "empty", "-o", "faces.csv"), 2, "Expected photos, got none (empty)", ".jpg")
    check_error(run("predict", "empty"), 2, "Expected photos, got none (empty)")
    assert not (tmp_path / "faces.csv").exists()


def test_a_folder_that_is_not_there(run: Run) -> None:
    check_error(run("data", "index", "none", "-o", "faces.csv"), 2, "Expected a folder of photos, got nothing at none")
    check_error(run("predict", "none"), 1, "Expected a readable file, got No such file", "none")


def test_one_class_only(run: Run, tmp_path: Path) -> None:
    write_photo(tmp_path / "photos" / "female" / "a.png", noise(40, 40, seed=1))
    answer = run("data", "index", "photos", "-o", "faces.csv")
    check_error(answer, 2, "Expected at least two labels, got 'female' only", "a folder of its own")
    assert not (tmp_path / "faces.csv").exists()


def test_a_folder_of_text_files_named_jpg(run: Run, tmp_path: Path) -> None:
    for label in ("female", "male"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "photos" / label / f"{number}.jpg").write_text("not a photo")
    check_error(run("data", "index", "photos", "-o", "f.csv"), 2, "Expected photos that can be read, got 6 that cannot")
    answer = run("predict", "photos")
    check_error(answer, 1, "Expected at least one photo with a face, got none of 6")
    assert answer.out.count(" error\n") == 6
    assert not (tmp_path / "f.csv").exists()


def test_truncated_jpegs_among_others_are_reported_and_left_out(run: Run, tmp_path: Path) -> None:
    write_drawn_faces(tmp_path / "photos", num_faces=8, seed=7)
    cut = tmp_path / "photos" / "male" / "male_00002.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    answer = run("data", "index", "photos", "-o", "faces.csv")
    assert answer.code == 0
    assert "male_00002.jpg: unreadable: truncated" in answer.err
    rows = {row.path: row.exclude for row in read_manifest(tmp_path / "faces.csv")}
    assert [path for path, exclude in rows.items() if exclude] == ["photos/male/male_00002.jpg"]
    check_error(run("predict", cut), 1, "Expected a complete photo, got a truncated file", "again")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """20,000 × 20,000 pixels are 1.2 GB decoded; the whole process stays under 300 MB."""
    bomb = tmp_path / "photos" / "male" / "bomb.png"
    write_photo(tmp_path / "photos" / "female" / "a.png", noise(40, 40, seed=1))
    write_photo(tmp_path / "photos" / "male" / "b.png", noise(40, 40, seed=2))
    bomb.write_bytes(black_png(20_000, 20_000))
    watched = (
        "import sys; from edgegender.cli.main import main; from edgegender.memory import memory_bytes\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(memory_bytes('VmHWM'), file=sys.stderr)"
    )
    index = ("data", "index", "photos", "-o", "faces.csv")
    told = {
        ("predict", bomb): "Expected at most 50,000,000 pixels",
        index: "warning: photos/male/bomb.png: unreadable: too_large",
        (*index, "--no-phash"): "",  # its header is sound
        ("data", "check", "faces.csv"): "photos/male/bomb.png (too_large)",
    }
    for words, expected in told.items():
        command = [sys.executable, "-c", watched, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, cwd=tmp_path)
        *lines, peak_bytes = done.stderr.splitlines()
        assert int(peak_bytes) < 300e6, words
        assert expected in done.stdout + "\n".join(lines)
        if words[0] == "predict":
            check_error(Answer(done.returncode, done.stdout, "\n".join(lines)), 1)
        else:
            assert done.returncode == 0


def test_a_photo_without_a_face(run: Run, tmp_path: Path) -> None:
    write_photo(tmp_path / "wall.png", grey_picture(200, 200))
    check_error(run("predict", "wall.png"), 1, "Expected a face, found none (wall.png)", "--detector none")
    answer = run("predict", "wall.png", "--json")
    check_error(answer, 1, "Expected a face")
    assert json.loads(answer.out)["status"] == "no_face"


def test_no_photo_of_several_has_a_face(run: Run, tmp_path: Path) -> None:
    for number in range(2):
        write_photo(tmp_path / f"{number}.png", grey_picture(200, 200))
    check_error(run("predict", "0.png", "1.png"), 1, "Expected at least one photo with a face, got none of 2")


def test_a_pattern_that_matches_nothing(run: Run) -> None:
    check_error(run("predict", "*.jpg"), 2, "Expected photos, got none for the pattern *.jpg")


def test_photos_of_any_kind_are_answered(run: Run, tmp_path: Path, face: np.ndarray) -> None:
    bgr = cv2.cvtColor(face, cv2.COLOR_RGB2BGR)
    pictures = {
        "16 bit.png": cv2.imencode(".png", bgr.astype(np.uint16) * 257)[1].tobytes(),
        "grey.png": cv2.imencode(".png", cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))[1].tobytes(),
        "rgba.png": cv2.imencode(".png", np.dstack([bgr, np.full(bgr.shape[:2], 77, np.uint8)]))[1].tobytes(),
        "turned.jpg": insert_segment(encode_image(np.ascontiguousarray(np.rot90(face))), exif_segment(6)),
        "ünïcode 人 ☺.webp": cv2.imencode(".webp", bgr)[1].tobytes(),
        f"{'x' * 251}.bmp": cv2.imencode(".bmp", bgr)[1].tobytes(),
    }
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    answer = run("predict", *pictures, "--json", "--annotate", "out")
    events = {event["path"]: event for event in map(json.loads, answer.out.splitlines())}
    assert {name: event["status"] for name, event in events.items()} == dict.fromkeys(pictures, "ok")
    assert answer.code == 0
    assert len(list((tmp_path / "out").iterdir())) == len(pictures)
    boxes = np.asarray([event["faces"][0]["box_xyxy"] for event in events.values()])
    # the same person at the same place; compression moves a cascade's box by a few pixels, a turn would by 50
    assert np.ptp(boxes, axis=0).max() < 20


# Model files


def spoil_model(folder: Path, fault: str) -> Path:
    path = folder / "m.tflite"
    content = bytearray(embedded_model_path().read_bytes())
    if fault == "truncated":
        content = content[: len(content) // 2]
    elif fault == "altered":
        content[len(content) // 3] ^= 1
    elif fault == "foreign":
        content = bytearray(build_network())
    elif fault == "text":
        content = bytearray(b"no model")
    elif fault == "empty":
        content = bytearray()
    path.write_bytes(content)
    if fault == "other sha256":
        path.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}))
    if fault == "missing":
        path.unlink()
    return path


FAULTS = {
    "truncated": "got a truncated or damaged one",
    "altered": "Expected the digest that stands in the model",
    "foreign": "Expected a model made by edgegender",
    "text": "Expected a .tflite model, got another file",
    "empty": "Expected a .tflite model, got another file",
    "other sha256": "Expected sha256 000000000000…",
    "missing": "No such file",
}


@pytest.mark.parametrize("command", ["inspect", "predict", "evaluate", "benchmark"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_file_that_is_not_what_it_was(run: Run, tmp_path: Path, command: str, fault: str) -> None:
    model = spoil_model(tmp_path, fault)
    manifest = make_manifest(tmp_path)
    words = {
        "inspect": ("inspect", model),
        "predict": ("predict", "--model", model, "0.png"),
        "evaluate": ("evaluate", model, "--data", manifest),
        "benchmark": ("benchmark", model, "--data", manifest, "--short"),
    }
    answer = run(*words[command])
    check_error(answer, 1, FAULTS[fault])
    assert answer.out == ""


def test_a_run_folder_that_holds_no_run(run: Run, tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    (tmp_path / "run").mkdir()
    for words in (("evaluate", "run", "--data", manifest), ("convert", "run", "--data", manifest)):
        check_error(run(*words), 2, "Expected a run folder, got none at run", "edgegender train")


def test_a_model_for_other_labels(run: Run, tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    build_tiny_model(tmp_path / "m.tflite", labels=("old", "young"), positive_label="young")
    check_error(run("evaluate", "m.tflite", "--data", manifest), 2, "Expected labels of old, young, got female, male")


# Manifests


def test_a_missing_manifest(run: Run) -> None:
    for words in (("data", "check"), ("data", "crop", "-o", "out"), ("data", "split", "-o", "out.csv")):
        check_error(run(*words[:2], "none.csv", *words[2:]), 2, "none.csv")
    for words in (("train",), ("evaluate",), ("benchmark",)):
        check_error(run(*words, "--data", "none.csv"), 2, "none.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expected the columns path and label"),
        ("a,b\n1,2\n", "Expected the columns path and label, got a, b"),
        ("path,label\n", "Expected at least one photo, got none"),
        ("path,label\n1.png,\n", "Expected a label, got an empty cell"),
        ("path,label,split\n1.png,a,later\n", "Expected a split of train, val, test, got 'later'"),
        ("path,label\n1.png,a\n1.png,b\n", "Expected each path once"),
        ("path,label\n\xff\xfe", "faces.csv"),
    ],
)
def test_a_manifest_that_breaks_its_format(run: Run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "faces.csv").write_bytes(text.encode("latin-1"))
    for command in (
        ("data", "check", "faces.csv"),
        ("data", "split", "faces.csv", "-o", "split.csv"),
        ("data", "crop", "faces.csv", "-o", "crops"),
        ("train", "--data", "faces.csv"),
        ("evaluate", "--data", "faces.csv"),
    ):
        check_error(run(*command), 2, words)


def test_a_manifest_without_the_split_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    rows = [dataclasses.replace(row, split="train") for row in read_manifest(manifest)]
    write_manifest(manifest, rows)
    check_error(run("train", "--data", manifest, "--recipe", "demo"), 2, "Expected photos, got none (split val)")
    check_error(run("evaluate", "--data", manifest), 2, "Expected photos, got none", "split test")
    check_error(run("evaluate", "--data", manifest, "--split", "later"), 2, "Expected --split of train, val, test, all")
    assert not (tmp_path / "run").exists()


def test_a_leak_fails_the_check_and_the_clean_manifest_is_written(run: Run, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("female", "male"):
            write_photo(tmp_path / split / label / "a.png", noise(40, 40, seed=len(label)))
    assert run("data", "index", ".", "-o", "faces.csv").code == 0
    answer = run("data", "check", "faces.csv", "-o", "clean.csv")
    check_error(answer, 1, "Expected no leaks, conflicts or changed files, got 2, 0 and 0", "Train with clean.csv")
    assert sum(1 for row in read_manifest(tmp_path / "clean.csv") if row.exclude == "exact_duplicate") == 2


def test_photos_without_a_face_cannot_be_cropped(run: Run, tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    for number in range(6):
        write_photo(tmp_path / f"{number}.png", grey_picture(30 * number, 200))
    check_error(run("data", "crop", manifest, "-o", "out", "--workers", "1"), 2, "Expected faces, got none in 6 photos")
    assert not (tmp_path / "out" / "faces.csv").exists()


# Targets that cannot be written


TARGETS = {
    "no folder": "/proc/none/x.csv",
    "below a file": "file/x.csv",
    "long": f"{'long' * 70}.csv",
    "a folder": "folder",
}
WRITERS = ("index", "check", "split", "crop", "evaluate", "predict", "benchmark", "train")
INTO_FOLDERS = ("crop", "evaluate", "predict", "train")


@pytest.mark.parametrize(
    ("command", "name"),
    [(command, name) for command in WRITERS for name in TARGETS if name != "a folder" or command not in INTO_FOLDERS],
)
def test_a_target_that_cannot_be_written(run: Run, tmp_path: Path, face: np.ndarray, command: str, name: str) -> None:
    target = TARGETS[name]
    manifest = make_manifest(tmp_path / "data")
    write_photo(tmp_path / "face.png", face)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    photos = tmp_path / "photos"
    write_drawn_faces(photos, num_faces=2, seed=1, size_px=64)
    words = {
        "index": ("data", "index", photos, "-o", target),
        "check": ("data", "check", manifest, "-o", target),
        "split": ("data", "split", manifest, "-o", target),
        "crop": ("data", "crop", manifest, "-o", target, "--workers", "1"),
        "evaluate": ("evaluate", "--data", manifest, "-o", target),
        "predict": ("predict", "face.png", "--annotate", target),
        "benchmark": ("benchmark", "--short", "-o", target),
        "train": ("train", "--recipe", "demo", "--data", manifest, "-o", target),
    }
    before = snapshot(tmp_path)
    check_error(run(*words[command]), 3, "Expected ")
    assert snapshot(tmp_path) == before
    check_no_parts(tmp_path)

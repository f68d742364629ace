"""The whole path as a user types it: from a folder of photos to a checked int8 file and its answers."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgegender.data.drawn_faces import draw_background, write_drawn_faces
from edgegender.images import read_image
from edgegender.runtime.model_file import read_model
from tests.cli.commands import (
    SOME_LOSS,
    Answer,
    check_error,
    check_no_parts,
    noise_lines,
    run_apart,
    run_here,
    snapshot,
)
from tests.pictures import write_photo
from tests.tiny_model import build_tiny_model

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

NUM_FACES = 200
SETTINGS = ("epochs=10", "batch_size=16", "input_size_px=48", "learning_rate=0.002", "architecture=cnn", "alpha=0.5")


@dataclass(frozen=True)
class Walk:
    """The folder of the walk and what each command answered."""

    folder: Path
    answers: dict[str, Answer]

    def json(self, name: str) -> dict[str, object]:
        """Returns the JSON document that a command printed."""
        document: dict[str, object] = json.loads(self.answers[name].out)
        return document


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Each command in a process of its own, in the user's folder, with relative paths."""
    folder = tmp_path_factory.mktemp("walk")
    write_drawn_faces(folder / "photos", num_faces=NUM_FACES, seed=7, size_px=160)
    faces = folder / "photos" / "female"
    (faces / "female_00003.jpg").write_bytes(b"no photo at all")  # one bad photo among many
    (faces / "copy of 4.jpg").write_bytes((faces / "female_00004.jpg").read_bytes())
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    data = ("--data", "crops/faces.csv")
    commands = {
        "index": ("data", "index", "photos", "-o", "photos.csv", "--ratios", "60,15,25", "--json"),
        "check": ("data", "check", "photos.csv", "-o", "clean.csv", "--json"),
        "crop": ("data", "crop", "clean.csv", "-o", "crops", "--workers", "2", "--json"),
        "train": ("train", "--recipe", "demo", *settings, *data, "-o", "run", "--json"),
        "evaluate run": ("evaluate", "run", *data, "-o", "evaluation", "--json"),
        "convert": ("convert", "run", "--int8", *data, "-o", "m.tflite", *SOME_LOSS, "--undated", "--json"),
        "evaluate file": ("evaluate", "m.tflite", *data, "--json"),
        "inspect": ("inspect", "m.tflite", "--json"),
        "predict": ("predict", "--model", "m.tflite", "photos/male", "--json"),
    }
    answers = {name: run_apart(*words, cwd=folder) for name, words in commands.items()}
    return Walk(folder, answers)


def test_every_command_does_its_work(walk: Walk) -> None:
    assert {name: answer.code for name, answer in walk.answers.items()} == dict.fromkeys(walk.answers, 0), walk.answers


def test_standard_error_holds_messages_of_ours_only(walk: Walk) -> None:
    """No banner of TensorFlow, no warning of Keras, no traceback."""
    allowed = ("warning: ", "hint: ", "epoch ", "measuring the float network", "converting", "quantizing")
    noise = {name: noise_lines(answer.err, allowed) for name, answer in walk.answers.items()}
    assert {name: lines for name, lines in noise.items() if lines} == {}


def test_no_temporary_file_is_left(walk: Walk) -> None:
    check_no_parts(walk.folder)


def test_the_index_reports_the_bad_photo_and_keeps_the_others(walk: Walk) -> None:
    document = walk.json("index")
    assert (document["num_photos"], document["num_unreadable"]) == (NUM_FACES + 1, 1)
    assert "female_00003.jpg: unreadable" in walk.answers["index"].err


def test_the_check_finds_the_copy(walk: Walk) -> None:
    document = walk.json("check")
    assert document["is_sound"] is True
    assert document["duplicates"] == [["photos/female/copy of 4.jpg", "photos/female/female_00004.jpg"]]


def test_the_crops_stand_in_a_manifest_with_their_face_boxes(walk: Walk) -> None:
    with (walk.folder / "crops" / "faces.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if not row["exclude"]]
    document = walk.json("crop")
    assert document["num_cropped"] == len(rows) > 0.8 * NUM_FACES
    assert all(row["face_box"] and (walk.folder / "crops" / row["path"]).is_file() for row in rows)


def test_the_run_folder_has_record_history_weights_and_curves(walk: Walk) -> None:
    names = {path.name for path in (walk.folder / "run").iterdir()}
    assert names == {
        "run.json", "history.csv", "best.weights.h5", "curves.png", "curves.svg", "checkpoint.npz", "faces.csv", ".lock"
    }  # fmt: skip
    document = walk.json("train")
    # some 30 validation faces; the drawings are learnt: guessing reaches 75 % once in 200 tries
    assert document["val_accuracy"] > 0.75  # type: ignore[operator]


def test_the_evaluation_has_intervals_and_a_figure(walk: Walk) -> None:
    document = walk.json("evaluate run")
    accuracy = document["accuracy"]
    assert isinstance(accuracy, dict)
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert json.loads((walk.folder / "evaluation" / "evaluation.json").read_text()) == document
    assert (walk.folder / "evaluation" / "confusion.png").stat().st_size > 1000


def test_the_converted_file_passed_its_gate_and_verifies(walk: Walk) -> None:
    document = walk.json("convert")
    file = read_model(walk.folder / "m.tflite")
    assert document["is_passed"] is True
    assert (document["sha256"], document["size_bytes"]) == (file.sha256, len(file.content))
    assert document["peak_memory_bytes"] > 1e8  # type: ignore[operator]
    assert file.metadata.provenance["recipe"] == "demo"


def test_the_file_measured_again_has_the_figures_that_stand_in_it(walk: Walk) -> None:
    document, stored = walk.json("evaluate file"), walk.json("convert")
    for name in ("num_photos", "accuracy", "f1"):
        assert document[name] == stored[name], name
    assert document["model_sha256"] == stored["sha256"]


def test_inspect_shows_what_the_file_says(walk: Walk) -> None:
    document = walk.json("inspect")
    assert document["input"] == "uint8 [1, 48, 48, 3] RGB"
    assert document["output"] == "uint8 [1, 2]"
    assert document["labels"] == ["female", "male"]
    assert document["sha256"] == walk.json("convert")["sha256"]
    assert document["operator_counts"]["CONV_2D"] == 3  # type: ignore[index]


def test_predict_gives_a_line_a_photo(walk: Walk) -> None:
    events = [json.loads(line) for line in walk.answers["predict"].out.splitlines()]
    assert [event["path"] for event in events] == [
        f"photos/male/male_{n:05d}.jpg" for n in range(1, NUM_FACES // 2 + 1)
    ]
    answered = [event for event in events if event["status"] == "ok"]
    right = sum(event["predicted_label"] == "male" for event in answered)
    assert right > 0.75 * len(answered) > 0.5 * len(events)


def test_the_same_words_give_the_same_bytes(walk: Walk, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--undated, in another process, from another folder."""
    target = tmp_path / "m.tflite"
    data = walk.folder / "crops" / "faces.csv"
    words = ("convert", walk.folder / "run", "--int8", "--data", data, "-o", target, *SOME_LOSS, "--undated")
    answer = run_here(capfd, *words)
    assert answer.code == 0, answer
    assert "✅ passed" in answer.out
    assert target.read_bytes() == (walk.folder / "m.tflite").read_bytes()


# Text for people


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("data", "check", "photos.csv"), "exact duplicates"),
        (("evaluate", "m.tflite", "--data", "crops/faces.csv"), "recall male %"),
        (("inspect", "m.tflite"), "preprocessing.crop_margin"),
        (("predict", "--model", "m.tflite", "photos/male/male_00001.jpg"), "male_00001.jpg  "),
        (("train", "--list-recipes"), "edge\n"),
        (("doctor",), "embedded model"),
        (("--help",), "benchmark"),
        (("data", "--help"), "index"),
        (("--version",), "edgegender, version "),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_the_text_for_people(
    walk: Walk,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.chdir(walk.folder)
    answer = run_here(capfd, *words)
    assert answer.code == 0, answer
    assert expected in answer.out
    assert "\x1b" not in answer.out  # no colours where nobody looks


# predict: files, folders, globs, pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three drawn people, a wall, a text file; under names that shells and formats dislike."""
    write_drawn_faces(tmp_path / "in", num_faces=2, seed=7)
    folder = tmp_path / "in" / "ünïcode 人 [1]"
    folder.mkdir()
    (tmp_path / "in" / "male" / "male_00001.jpg").rename(folder / f"{'long' * 50}.jpg")
    write_photo(folder / "wall.png", draw_background(200, np.random.default_rng(1)))
    (folder / "text.jpg").write_text("no photo")
    return tmp_path / "in"


def test_a_folder_gives_a_line_a_photo_and_goes_on_after_a_bad_one(
    photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = run_here(capfd, "predict", photos, "--json")
    events = {Path(event["path"]).name[:9]: event for event in map(json.loads, answer.out.splitlines())}
    assert answer.code == 0
    assert {name: event["status"] for name, event in events.items()} == {
        "female_00": "ok", "longlongl": "ok", "text.jpg": "error", "wall.png": "no_face",
    }  # fmt: skip
    assert "warning: " in answer.err
    assert "text.jpg" in answer.err


def test_globs_files_and_folders_are_told_once_each(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = (photos / "female" / "female_00001.jpg", f"{photos}/**/*.jpg", photos / "female")
    answer = run_here(capfd, "predict", *words, "--json")
    paths = [json.loads(line)["path"] for line in answer.out.splitlines()]
    assert len(paths) == len(set(paths)) == 3
    assert paths[0].endswith("female_00001.jpg")


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = run_here(capfd, "predict", photos / "ünïcode 人 [1]" / f"{'long' * 50}.jpg", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["status"] == "ok"


def test_annotated_pictures_are_written_for_answered_photos(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = photos.parent / "out" / "deep"
    before = snapshot(photos)
    answer = run_here(capfd, "predict", photos, "--annotate", output)
    assert answer.code == 0
    assert sorted(path.name[:6] for path in output.iterdir()) == ["female", "longlo"]
    assert all(read_image(path).shape == (160, 160, 3) for path in output.iterdir())
    assert snapshot(photos) == before
    check_no_parts(photos.parent)


def test_annotated_pictures_of_the_same_name_do_not_replace_each_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        write_drawn_faces(tmp_path / name, num_faces=2, seed=7)
    answer = run_here(capfd, "predict", f"{tmp_path}/?/female/*", "--annotate", tmp_path / "out")
    assert answer.code == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_photo_that_is_a_crop_is_answered_without_a_detector(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write_photo(tmp_path / "wall.png", draw_background(96, np.random.default_rng(1)))
    for options in (("--detector", "none"), ("--assume-face",)):
        answer = run_here(capfd, "predict", file, "--json", *options)
        assert answer.code == 0
        assert json.loads(answer.out)["faces"][0]["box_xyxy"] is None


@pytest.mark.parametrize("options", [["--threads", "1"], ["--threads", "2"]])
def test_the_number_of_threads_is_taken(photos: Path, capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert run_here(capfd, "predict", photos / "female", *options).code == 0


# convert: what it refuses


def test_a_calibration_photo_that_is_evaluated_on_is_refused(
    walk: Walk, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = (walk.folder / "crops" / "faces.csv").read_text().splitlines()
    leaked = next(line for line in lines if ",train," in line)
    copied = leaked.replace(",train,", ",test,").replace(leaked.split(",")[0], "copy.jpg", 1)
    manifest = walk.folder / "crops" / "leak.csv"  # beside the crops, since paths are relative to it
    manifest.write_text("\n".join([*lines, copied]) + "\n")
    answer = run_here(capfd, "convert", walk.folder / "run", "--data", manifest, "-o", tmp_path / "m.tflite")
    manifest.unlink()
    check_error(answer, 1, "Expected calibration photos that are not evaluated on, got 1", "data check")
    assert not list(tmp_path.iterdir())


def test_a_fall_beyond_max_drop_is_refused_and_the_earlier_model_stays(
    walk: Walk, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegender.conversion import convert as conversion

    real = conversion.score_inputs
    monkeypatch.setattr(conversion, "score_inputs", lambda *arguments, **options: real(*arguments, **options)[:, ::-1])
    build_tiny_model(tmp_path / "m.tflite")
    before = snapshot(tmp_path)
    data = walk.folder / "crops" / "faces.csv"
    answer = run_here(capfd, "convert", walk.folder / "run", "--data", data, "-o", tmp_path / "m.tflite")
    check_error(answer, 1, "accuracy falls by", "more than 0.5", "--max-drop")
    assert "refused: nothing was written" in answer.out
    assert snapshot(tmp_path) == before
    answer = run_here(capfd, "convert", walk.folder / "run", "--data", data, "-o", tmp_path / "m.tflite", "--json")
    check_error(answer, 1, "accuracy falls by")
    document = json.loads(answer.out)
    assert (document["is_passed"], document["model"], document["sha256"]) == (False, None, None)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("-o", "model.bin"), 2, "Expected a file name ending in .tflite"),
        (("--evaluation-split", "later"), 2, "Expected --evaluation-split of train, val, test"),
        (("--max-drop", "-1"), 2, "Expected max-drop in [0, 100]"),
        (("--representative", "0"), 2, "Expected at least one representative photo, got 0"),
        (("--evaluation-split", "train"), 1, "Expected calibration photos that are not evaluated on"),
        (("-o", "/proc/none/m.tflite"), 3, "Expected to write /proc/none"),
    ],
)
def test_options_that_make_no_sense_are_refused(  # noqa: PLR0917
    walk: Walk,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = walk.folder / "crops" / "faces.csv"
    before = snapshot(walk.folder)
    answer = run_here(capfd, "convert", walk.folder / "run", "--data", data, "-o", "m.tflite", *SOME_LOSS, *options)
    check_error(answer, code, words)
    assert not list(tmp_path.iterdir())
    assert snapshot(walk.folder) == before


def test_a_run_folder_in_use_is_refused(walk: Walk, capfd: pytest.CaptureFixture[str]) -> None:
    data = walk.folder / "crops" / "faces.csv"
    before = snapshot(walk.folder / "run")
    answer = run_here(capfd, "train", "--recipe", "demo", "--data", data, "-o", walk.folder / "run")
    check_error(answer, 2, "Expected a new run folder", "Choose another -o")
    assert snapshot(walk.folder / "run") == before

"""``edgegender convert``: schemes, the ladder, what is written beside the file, and what bad input gets."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegender.cli.main import main
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.model_file import read_model
from tests.cli.commands import (
    ANY_LOSS,
    SOME_LOSS,
    Answer,
    check_error,
    check_no_parts,
    interrupt,
    run_here,
    snapshot,
    started,
)
from tests.tiny_model import build_tiny_model
from tests.trained_run import TrainedRun, trained

__all__ = ["trained"]

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

SCHEMES = ("float32", "float16", "weight_only", "dynamic_range", "int16x8", "full_integer", "mixed_integer")


def convert(
    capfd: pytest.CaptureFixture[str], trained: TrainedRun, *words: object, source: Path | None = None
) -> Answer:
    """Converts the trained run, or another source."""
    return run_here(capfd, "convert", source or trained.run.folder, "--data", trained.manifest_path, *words)


def document_of(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer
    document: dict[str, Any] = json.loads(answer.out)
    return document


# All schemes in one table


@dataclasses.dataclass(frozen=True)
class Table:
    folder: Path
    document: dict[str, Any]


@pytest.fixture(scope="module")
def table(trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Table:
    from edgegender.cli import convert_speed

    folder = tmp_path_factory.mktemp("table") / "schemes"
    words = ["--scheme", "all", "-o", str(folder), *SOME_LOSS, "--float-layers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_ROUNDS", 1), ("_MIN_SECONDS", 0.01), ("_MIN_RUNS", 5)):
            patch.setattr(convert_speed, name, value)  # the latency itself is not what these tests are about
        with pytest.raises(SystemExit) as caught:
            main(["convert", str(trained.run.folder), "--data", str(trained.manifest_path), *words])
    assert caught.value.code == 0
    return Table(folder, json.loads((folder / "schemes.json").read_text()))


def test_every_scheme_stands_in_one_table(table: Table) -> None:
    rows = {row["name"]: row for row in table.document["rows"]}
    assert {name.split("-")[0] for name in rows} == set(SCHEMES)
    assert {row["mark"] for row in rows.values()} <= {"✅", "❎"}
    assert all(0 < row["p50_ms"] <= row["p90_ms"] for row in rows.values())
    assert rows["float32"]["flips"] == 0
    # two bytes a weight against four, and one against two; the rest of a small file are names and structure
    assert rows["float16"]["size_bytes"] < 0.6 * rows["float32"]["size_bytes"]
    assert rows["full_integer"]["size_bytes"] < 0.35 * rows["float32"]["size_bytes"]
    text = (table.folder / "schemes.md").read_text()
    assert all(f"| {name} |" in text for name in rows)


def test_each_file_of_the_table_verifies_and_says_its_scheme(table: Table) -> None:
    passed = [row["name"] for row in table.document["rows"] if row["mark"] == "✅"]
    assert len(passed) >= 6
    assert {path.stem for path in table.folder.glob("*.tflite")} == set(passed)
    for name in passed:
        file = read_model(table.folder / f"{name}.tflite")
        assert file.metadata.scheme.value == name.split("-")[0]
        assert file.metadata.name == name


def test_each_file_of_the_table_answers_as_its_row_says(table: Table, trained: TrainedRun) -> None:
    """From the file alone: its own scaling, temperature and threshold."""
    from edgegender.reporting.evaluation import score_photos

    rows = {row["name"]: row for row in table.document["rows"]}
    rows_of_test = trained.manifest.select(split="test")
    for path in sorted(table.folder.glob("*.tflite")):
        classifier = Classifier(path, num_threads=1)
        scored = score_photos(classifier, rows_of_test)
        is_male = scored.scores[:, 1] >= classifier.metadata.threshold
        accuracy = float((is_male == (scored.annotated == 1)).mean())
        assert accuracy == pytest.approx(rows[path.stem]["accuracy"]["value"], abs=1e-6), path.stem  # six digits


# One file


def test_what_was_done_stands_in_the_file(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target, report = tmp_path / "m.tflite", tmp_path / "report.json"
    words = ("-o", target, *SOME_LOSS, "--io", "int8", "--ranges", "percentile", "--stability", "--report", report)
    document = document_of(convert(capfd, trained, *words, "--json"))
    assert json.loads(report.read_text()) == document
    metadata = read_model(target).metadata
    assert metadata.created == ""  # the time stands beside the file, so that the same inputs give the same bytes
    assert json.loads(target.with_suffix(".json").read_text())["created"].endswith("+00:00")
    assert metadata.provenance["conversion"] == {
        "ranges": "percentile",
        "bias_correction": True,
        "per_channel": True,
        "io_type": "int8",
        "evaluations": 1,
    }
    assert metadata.provenance["representative_counts"] == {"female": 72, "male": 72}
    assert Classifier(target).interpreter.input_dtype == np.int8
    assert document["stability"]["num_photos"] == 72
    noise = [layer["signal_to_noise_db"] for layer in document["layers"] if layer["signal_to_noise_db"] is not None]
    assert noise
    assert min(noise) > 10  # a tenth of the power: a good quantization is far above
    groups = {(group["column"], group["value"]) for group in document["gate"]["groups"]}
    assert groups == {("label", "female"), ("label", "male")}


def test_other_forms_are_written_beside_the_file(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="the [onnx] extra is not installed")
    target = tmp_path / "face net.tflite"
    answer = convert(capfd, trained, "-o", target, *SOME_LOSS, "--onnx", "--c-header", "--edge-tpu")
    assert answer.code == 0, answer
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "face net.h",
        "face net.json",
        "face net.onnx",
        "face net.tflite",
    ]
    assert read_model(target).sha256 in (tmp_path / "face net.h").read_text()
    assert "also → " in answer.out


def test_auto_climbs_until_the_gate_passes_and_shows_each_rung(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "m.tflite"
    document = document_of(convert(capfd, trained, "--auto", "-o", target, *SOME_LOSS, "--json"))
    assert [step["mark"] for step in document["steps"]] == ["❎"] * (len(document["steps"]) - 1) + ["✅"]
    assert document["conversion"]["rung"] == document["steps"][-1]["rung"]
    assert document["steps"][0]["rung"] == "plain"
    assert read_model(target).metadata.provenance["conversion"] == document["conversion"]


def test_training_with_simulated_rounding_gives_a_file_that_says_so(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "m.tflite"
    document = document_of(convert(capfd, trained, "--qat", "8", "-o", target, *SOME_LOSS, "--json"))
    assert (document["conversion"]["rung"], document["conversion"]["num_steps"]) == ("qat", 8)
    assert document["scheme"] == "full_integer"
    assert Classifier(target).interpreter.input_dtype == np.uint8
    assert "tf_keras" not in sys.modules
    assert "tensorflow_model_optimization" not in sys.modules


def test_a_pruned_network_is_small_when_compressed_only(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgegender.cli import convert_speed

    monkeypatch.setattr(convert_speed, "_ROUNDS", 1)
    words = ("--prune", "0.7", "--steps", "12", "-o", tmp_path / "pruned.tflite", *ANY_LOSS, "--json")
    pruned = document_of(convert(capfd, trained, *words))
    assert pruned["compression"]["sparsity"] == 0.7
    assert pruned["compression"]["least_sparsity_of_a_kernel"] >= 0.69
    before, after = pruned["sizes"]["before"], pruned["sizes"]["after"]
    # the same weights, each in its byte; only the metadata's text differs
    assert after["size_bytes"] == pytest.approx(before["size_bytes"], abs=4000)
    assert after["compressed_bytes"] < 0.75 * before["compressed_bytes"]
    assert 0 < after["p50_ms"] <= after["p90_ms"]
    assert read_model(tmp_path / "pruned.tflite").metadata.provenance["compression"] == pruned["compression"]


# A Keras classifier that somebody brings


@pytest.fixture(scope="module")
def keras_file(trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgegender.training.run_folder import load_model

    path = tmp_path_factory.mktemp("brought") / "classifier.keras"
    load_model(trained.run).save(path)
    return path


def brought(trained: TrainedRun, *changes: str) -> list[str]:
    scaling = trained.run.preprocessing.scaling
    return ["--labels", "female,male", "--scaling", scaling, *changes]


def test_a_keras_file_gives_the_same_network_as_the_run(
    trained: TrainedRun, keras_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = document_of(convert(capfd, trained, "-o", tmp_path / "run.tflite", *SOME_LOSS, "--json"))
    margin = str(trained.run.preprocessing.crop_margin)
    words = ("-o", tmp_path / "file.tflite", *SOME_LOSS, "--json", "--crop-margin", margin)
    other = document_of(convert(capfd, trained, *words, *brought(trained), source=keras_file))
    assert (other["gate"]["accuracy"], other["gate"]["flips"]) == (own["gate"]["accuracy"], own["gate"]["flips"])
    metadata = read_model(tmp_path / "file.tflite").metadata
    assert metadata.provenance["network"] == "classifier.keras"
    assert metadata.labels == ("female", "male")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scaling", "unit"], "Expected --labels with the network's labels"),
        (["--labels", "female,male"], "Expected --scaling, which says what numbers the network takes"),
        (["--labels", "a,b,c", "--scaling", "unit"], "got 2 outputs for 3 labels"),
        (["--labels", "female,male", "--scaling", "raw"], "Expected --scaling tf, unit or caffe, got raw"),
    ],
)
def test_a_keras_file_has_to_be_described(  # noqa: PLR0917
    trained: TrainedRun,
    keras_file: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    answer = convert(capfd, trained, "-o", tmp_path / "m.tflite", *options, source=keras_file)
    check_error(answer, 2, words)
    assert not list(tmp_path.iterdir())


def test_a_run_describes_itself(trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = convert(capfd, trained, "-o", tmp_path / "m.tflite", "--labels", "female,male")
    check_error(answer, 2, "Expected --labels, --scaling and --positive-label with a .keras file only")


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--int8", "--scheme", "float16"], "Expected --int8 or --scheme float16, got both"),
        (["--auto", "--scheme", "float16"], "Expected --auto or --scheme float16, got both"),
        (["--auto", "--qat", "5"], "Expected --auto or --qat"),
        (["--qat", "5", "--scheme", "int16x8"], "Expected --qat or --scheme int16x8, got both"),
        (["--qat", "5", "--per-tensor"], "Expected --per-tensor or --qat, got both"),
        (["--edge-tpu", "--scheme", "float32"], "Expected --edge-tpu or --scheme float32, got both"),
        (["--scheme", "all", "--onnx"], "Expected --scheme all or --c-header and --onnx, got both"),
        (["--stability", "--scheme", "float32"], "Expected --stability or --scheme float32, got both"),
        (["--learning-rate", "2"], "2.0 is not in the range 0<x<1"),
        (["--max-flips", "101"], "Expected max-flips in [0, 100]"),
        (["--prune", "0.5", "--cluster", "8"], "Expected --prune or --cluster, got both"),
        (["--group", "age"], "Expected --group to name columns of the manifest, got 'age'"),
        (["--representative", "60"], "Expected at least 100 representative photos, got 60"),
        (["--scheme", "all", "-o", "m.tflite"], "Expected a folder for the files of all schemes"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    target = () if "-o" in options else ("-o", tmp_path / "m.tflite")
    check_error(convert(capfd, trained, *target, *options), 2, words)
    assert not list(tmp_path.iterdir())


def test_few_photos_are_calibrated_on_when_somebody_insists(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = convert(capfd, trained, "-o", tmp_path / "m.tflite", "--representative", "60", "--force", *ANY_LOSS)
    assert answer.code == 0, answer
    assert "warning: only 60 representative photos" in answer.err


def test_a_run_without_weights_is_refused(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(trained.run.folder, bare)
    (bare / "best.weights.h5").unlink()
    before = snapshot(bare)
    check_error(convert(capfd, trained, source=bare), 2, "best.weights.h5")
    assert snapshot(bare) == before


def test_an_evaluation_split_with_one_label_is_refused(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = trained.manifest_path.read_text().splitlines()
    kept = [line for line in lines if not (",test," in line and ",male," in line)]
    manifest = trained.manifest_path.parent / "one label.csv"
    manifest.write_text("\n".join(kept) + "\n")
    answer = run_here(capfd, "convert", trained.run.folder, "--data", manifest, "-o", tmp_path / "m.tflite")
    manifest.unlink()
    check_error(answer, 2, "Expected evaluation photos of at least two labels, got one")
    assert not list(tmp_path.iterdir())


def test_a_refused_file_leaves_a_report_that_names_the_layers(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges collected on numbers from 0 to 255 for a network that takes -1 to 1 or 0 to 1."""
    from edgegender.conversion import quantization

    real = quantization.collect_histograms

    def on_wrong_numbers(content: bytes, inputs: Any, **options: Any) -> Any:
        return real(content, [255 * tensor for tensor in inputs], **options)

    monkeypatch.setattr(quantization, "collect_histograms", on_wrong_numbers)
    report = tmp_path / "report.json"
    words = ("-o", tmp_path / "m.tflite", "--no-bias-correction", "--report", report)
    answer = convert(capfd, trained, *words)
    check_error(answer, 1, "Expected the full_integer network to be as good as the float one")
    assert "❎ converted but refused: nothing was written" in answer.out
    assert "layers with the lowest signal-to-noise ratio" in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    document = json.loads(report.read_text())
    assert document["is_passed"] is False
    assert document["problems"]
    assert len(document["layers"]) >= 5


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ("one label", "Expected calibration photos of each label, got none of male"),
        ("black", "Expected calibration photos that show something, got 144 of 144 in one colour"),
    ],
)
def test_a_spoilt_calibration_set_is_refused(  # noqa: PLR0917
    trained: TrainedRun,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoilt: str,
    words: str,
) -> None:
    data = trained.manifest_path
    if spoilt == "one label":
        lines = data.read_text().splitlines()
        data = data.parent / "no men to learn from.csv"
        data.write_text("\n".join(line for line in lines if not (",train," in line and ",male," in line)) + "\n")
    else:
        from edgegender import preprocess

        monkeypatch.setattr(preprocess, "to_input", lambda *_: np.zeros((48, 48, 3), np.uint8))
    answer = run_here(
        capfd, "convert", trained.run.folder, "--data", data, "-o", tmp_path / "m.tflite", "--force", *ANY_LOSS
    )
    check_error(answer, 1, words)
    assert not list(tmp_path.iterdir())
    if data != trained.manifest_path:
        data.unlink()


@pytest.mark.parametrize("moment", ["measuring", "converting", "quantizing"])
def test_a_kill_at_any_moment_leaves_the_earlier_model(trained: TrainedRun, tmp_path: Path, moment: str) -> None:
    build_tiny_model(tmp_path / "m.tflite")
    before = snapshot(tmp_path)
    words = ("convert", trained.run.folder, "--data", trained.manifest_path, "-o", "m.tflite", *ANY_LOSS)
    with started([sys.executable, "-m", "edgegender", *words], tmp_path) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith(moment):
            assert process.poll() is None
        assert interrupt(process, signal.SIGKILL).code == -signal.SIGKILL
    assert snapshot(tmp_path) == before
    check_no_parts(tmp_path)
    assert read_model(tmp_path / "m.tflite").metadata.name == "tiny"

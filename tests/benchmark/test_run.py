"""Accuracy and latency come from the same file in the same run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

from edgegender.benchmark import run
from edgegender.benchmark.answers import answer_samples
from edgegender.benchmark.conditions import Conditions
from edgegender.benchmark.engines import create_engine
from edgegender.benchmark.golden import golden_images
from edgegender.benchmark.measure import Measured, StagePhoto, Subject, subject_of
from edgegender.benchmark.presets import PUBLISHABLE
from edgegender.benchmark.presets import SHORT as SHORT_PRESET
from edgegender.benchmark.records import Durations
from edgegender.benchmark.run import NUM_SPEED_INPUTS, DataSource, Sample, benchmark_model, speed_inputs
from edgegender.entities import QuantizationScheme
from edgegender.errors import DataError, MeasurementError, ModelFileError, UsageError
from edgegender.metrics import evaluate_scores
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.model_file import embedded_model_path
from tests.benchmark.examples import latency_record
from tests.pictures import write_photo
from tests.tiny_model import build_tiny_model, grey_picture

SHORT = Durations(min_seconds=0.02, min_runs=20, max_seconds=20, warmup_seconds=0.0, warmup_runs=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_model(
        tmp_path_factory.mktemp("model") / "tiny.tflite", threshold=0.7, temperature=2.0, name="tiny"
    )


@pytest.fixture
def no_measuring(monkeypatch):
    """Answers instead of measuring, and keeps what it was asked."""
    asked = []

    def measure(subject, inputs, *, num_threads, durations, **_):
        asked.append((subject, inputs, num_threads, durations))
        return measured(latency_record(num_threads=num_threads))

    monkeypatch.setattr(run, "measure_repeatedly", measure)
    return asked


def measured(record):
    return Measured(record, (record,), (Conditions(0.0, 0.0, record.state_before, record.state_after),))


def samples(count=40, seed=0):
    random = np.random.default_rng(seed)
    return [Sample(grey_picture(int(value)), int(value > 120)) for value in random.integers(0, 256, count)]


def test_one_real_run_from_photos_to_result(tiny, tmp_path):
    values = [0, 60, 120, 200, 250]
    given = [
        Sample(
            grey_picture(value),
            int(value > 100),
            photo=StagePhoto(write_photo(tmp_path / f"{value}.png", grey_picture(value))),
        )
        for value in values
    ]
    result = benchmark_model(tiny, given, threads=[1, 2], durations=SHORT, source=DataSource("faces.csv", "test"))
    assert [record.num_threads for record in result.latencies] == [1, 2]
    assert all(record.is_output_equal for record in result.latencies)
    assert all(record.num_inputs == record.num_stage_photos == 5 for record in result.latencies)
    assert [stage.name for stage in result.latencies[0].stages][-1] == "total"
    assert result.evaluation is not None
    assert result.evaluation.num_photos == 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", result.created)
    assert (result.target, result.durations) == ("cpu", SHORT)


def test_accuracy_is_that_of_calibrated_scores_at_the_models_threshold(tiny, no_measuring):
    given = samples()
    result = benchmark_model(tiny, given, threads=[1])
    classifier = Classifier(tiny)
    scores = np.stack([classifier.calibrate(classifier.forward(sample.image)) for sample in given])
    wanted = evaluate_scores(
        scores,
        np.array([sample.label_index for sample in given]),
        labels=("female", "male"),
        positive_label="male",
        threshold=0.7,
    )
    assert result.evaluation == wanted
    assert len(no_measuring) == 1


def test_the_model_is_described_by_its_own_metadata(tiny, no_measuring):
    model = benchmark_model(tiny, None, threads=[1]).model
    assert (model.name, model.file_name, model.scheme) == ("tiny", "tiny.tflite", "full_integer")
    assert model.sha256 == hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert (model.size_bytes, model.input_size_px) == (tiny.stat().st_size, 32)
    assert (model.labels, model.threshold, model.temperature) == (("female", "male"), 0.7, 2.0)
    assert len(no_measuring) == 1


def test_a_model_without_a_name_takes_that_of_its_file(tmp_path, no_measuring):
    path = build_tiny_model(tmp_path / "small.tflite", name="")
    assert benchmark_model(path, None, threads=[1]).model.name == "small"
    assert len(no_measuring) == 1


def test_a_loaded_classifier_is_measured_as_it_is(tiny, no_measuring):
    classifier = Classifier(tiny)
    benchmark_model(classifier, None, threads=[1])
    assert (no_measuring[0][0].path, no_measuring[0][0].record.sha256) == (tiny, classifier.file.sha256)


def test_without_photos_only_latency_is_measured_on_noise(tiny, no_measuring):
    result = benchmark_model(tiny, None, threads=[1, 3])
    assert (result.data, result.evaluation) == (None, None)
    assert [asked[2] for asked in no_measuring] == [1, 3]
    tensors = no_measuring[0][1].tensors
    assert tensors.shape == (NUM_SPEED_INPUTS, 1, 32, 32, 3)
    assert len({tensor.tobytes() for tensor in tensors}) == NUM_SPEED_INPUTS


def test_the_speed_run_cycles_over_at_most_64_distinct_pictures_and_their_scores(tiny, no_measuring):
    benchmark_model(tiny, samples(500), threads=[1])
    inputs = no_measuring[0][1]
    assert len(inputs.tensors) == NUM_SPEED_INPUTS
    assert len({tensor.tobytes() for tensor in inputs.tensors}) == NUM_SPEED_INPUTS
    classifier = Classifier(tiny)
    wanted = np.stack([classifier.forward(tensor[0]) for tensor in inputs.tensors])
    assert np.array_equal(inputs.scores[:, 0], wanted)


def test_float_networks_get_float_tensors(tmp_path, no_measuring):
    path = build_tiny_model(tmp_path / "f.tflite", scheme=QuantizationScheme.FLOAT32)
    benchmark_model(path, samples(3), threads=[1])
    tensors = no_measuring[0][1].tensors
    assert tensors.dtype == np.float32
    assert np.abs(tensors).max() <= 1


def test_samples_are_read_once_and_not_kept(tiny, no_measuring):
    given = (sample for sample in samples(10))
    seen = []
    result = benchmark_model(tiny, given, threads=[1], on_sample=seen.append, on_configuration=seen.append)
    assert result.data.num_photos == 10
    assert seen == [*range(1, 11), 1]
    assert next(given, None) is None
    assert len(no_measuring) == 1


def test_the_data_hash_knows_photos_and_labels_but_not_their_order(tiny, no_measuring):
    given = [replace_hash(sample, f"{number:064x}") for number, sample in enumerate(samples(6))]

    def data_hash(listed):
        return benchmark_model(tiny, listed, threads=[1]).data.sha256

    first = data_hash(given)
    assert data_hash(given[::-1]) == first
    assert data_hash(given[:-1]) != first
    assert data_hash([given[0]._replace(label_index=1 - given[0].label_index), *given[1:]]) != first
    assert data_hash([replace_hash(given[0], "f" * 64), *given[1:]]) != first
    lines = sorted(f"{sample.photo_sha256} {('female', 'male')[sample.label_index]}\n" for sample in given)
    assert first == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert len(no_measuring) == 5


def replace_hash(sample, sha256):
    return sample._replace(photo_sha256=sha256)


def test_inputs_without_a_photo_are_hashed_themselves(tiny, no_measuring):
    one, other = (benchmark_model(tiny, samples(6, seed), threads=[1]).data.sha256 for seed in (0, 1))
    assert one != other
    assert len(no_measuring) == 2


def test_photos_that_gave_no_input_are_counted_and_named(tiny, no_measuring):
    given = [
        *samples(120),
        Sample(None, 0, problem="unreadable"),
        Sample(None, 1, problem="no_face"),
        Sample(None, 1, problem="no_face"),
    ]
    result = benchmark_model(tiny, given, threads=[1])
    assert (result.data.num_photos, result.data.num_no_face, result.data.num_unreadable) == (120, 2, 1)
    assert "left_out" in [warning.kind for warning in result.warnings]
    assert len(no_measuring) == 1


def test_the_origin_of_the_face_boxes_is_recorded(tiny, no_measuring):
    first, second, *_ = samples(2)
    given = [first._replace(box_source="manifest"), second._replace(box_source="cascade")]
    source = DataSource("faces.csv", "test", "cascade")
    data = benchmark_model(tiny, given, threads=[1], source=source).data
    assert (data.detector, data.name, data.split) == ("cascade+manifest", "faces.csv", "test")
    assert len(no_measuring) == 1


def test_warnings_of_machine_data_and_configurations_stand_in_the_result(tiny, monkeypatch):
    def measure(*_, num_threads, **__):
        return measured(replace(latency_record(num_threads=num_threads), is_output_equal=num_threads == 1))

    monkeypatch.setattr(run, "measure_repeatedly", measure)
    result = benchmark_model(tiny, samples(5), threads=[1, 2])
    found = {(warning.kind, warning.num_threads) for warning in result.warnings}
    assert {("few_photos", None), ("output", 2)} <= found
    assert ("output", 1) not in found
    assert not result.is_valid


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample(grey_picture(1, 16), 0), r"got uint8 \(16, 16, 3\)"),
        (Sample(grey_picture(1).astype(np.float32), 0), "got float32"),
        (Sample(grey_picture(1), 2), "and 2"),
        (Sample(grey_picture(1), -1), "and -1"),
    ],
)
def test_a_sample_that_does_not_fit_the_model_is_refused(tiny, sample, message):
    with pytest.raises(DataError, match=f"Expected uint8 inputs .*{message}"):
        benchmark_model(tiny, [sample], threads=[1])


def test_no_photo_with_an_answer_is_an_error_that_says_why(tiny):
    with pytest.raises(DataError, match="Expected photos to answer, got none"):
        benchmark_model(tiny, [], threads=[1])
    given = [Sample(None, 0, problem=name) for name in ("no_face", "unreadable", "no_face")]
    with pytest.raises(DataError, match="got 2 no_face, 1 unreadable"):
        benchmark_model(tiny, given, threads=[1])


@pytest.mark.parametrize("threads", [[], [0], [1, 1], [2, -1]])
def test_threads_that_make_no_sense_are_refused(tiny, threads):
    with pytest.raises(UsageError, match="Expected different numbers of threads from 1 on"):
        benchmark_model(tiny, None, threads=threads)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        benchmark_model(tmp_path / "none.tflite", None, threads=[1])


def test_a_process_that_dies_ends_the_run(tiny, monkeypatch):
    monkeypatch.setattr("edgegender.benchmark.worker_process._BOOT", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(MeasurementError, match="got SIGKILL"):
        benchmark_model(tiny, samples(3), threads=[1])


# engines


def test_accuracy_speed_and_golden_answers_come_from_the_engine_that_was_asked_for(tiny):
    result = benchmark_model(tiny, samples(4), threads=[1], durations=SHORT, engine="litert-no-xnnpack")
    assert (result.engine.delegate, result.evaluation.num_photos) == ("none", 4)
    assert result.latencies[0].is_output_equal
    assert len(result.parity.scores) == 64


def test_reference_kernels_are_measured_for_a_second_only(tiny, no_measuring):
    result = benchmark_model(tiny, None, threads=[1], durations=PUBLISHABLE, engine="litert-reference")
    assert result.durations == SHORT_PRESET
    assert no_measuring[0][3] == SHORT_PRESET


def test_an_unknown_engine_is_refused(tiny):
    with pytest.raises(UsageError, match="Expected an engine of"):
        benchmark_model(tiny, None, threads=[1], engine="warp")


def test_a_network_of_others_is_measured_by_what_is_said_about_it(tiny, no_measuring):
    record = replace(subject_of(Classifier(tiny).file).record, name="rival", threshold=0.9)
    result = benchmark_model(Subject(tiny, record), samples(5), threads=[1])
    assert (result.model.name, result.evaluation.threshold) == ("rival", 0.9)
    assert len(no_measuring) == 1


def test_batches_are_filled_up_with_the_first_pictures():
    path = embedded_model_path()
    record = subject_of(Classifier(path).file).record
    single, batch = (create_engine("litert", path, num_threads=1, batch_size=size) for size in (1, 4))
    images = golden_images(record.input_size_px)[:6]
    answers = answer_samples(single, record, [Sample(image, 0) for image in images], on_sample=lambda _: None)
    inputs = speed_inputs(batch, answers)
    assert (inputs.tensors.shape[:2], inputs.scores.shape) == ((2, 4), (2, 4, 2))
    assert np.array_equal(np.concatenate(inputs.tensors), batch.to_tensor(images[[0, 1, 2, 3, 4, 5, 0, 1]]))

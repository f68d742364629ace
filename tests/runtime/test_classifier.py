"""The classifier: temperature, threshold and "unsure" band of the file decide the answer, and nothing else does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgegender
from edgegender.conversion.metadata import add_metadata
from edgegender.entities import FaceBox, ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import ModelFileError, UsageError
from edgegender.preprocess import SCALINGS, to_float, to_input
from edgegender.runtime.classifier import Classifier
from tests.pictures import gradient
from tests.tiny_model import build_network, build_tiny_model, grey_picture

METADATA = ModelMetadata(
    labels=("female", "male"),
    positive_label="male",
    preprocessing=Preprocessing(32, 1.3),
    architecture="brightness",
    scheme=QuantizationScheme.FULL_INTEGER,
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.tflite"), num_threads=1)


def build(tmp_path: Path, **options: object) -> Classifier:
    return Classifier(build_tiny_model(tmp_path / "m.tflite", **options), num_threads=1)  # type: ignore[arg-type]


def scores_of(male: float) -> np.ndarray:
    return np.array([1 - male, male])


# Scaling


@pytest.mark.tensorflow
@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_float_file_answers_as_the_network_that_it_was_made_from(tmp_path: Path, scaling: str) -> None:
    keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
    tf = pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(4, 3, strides=8)(image)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(features)))
    largest = float(np.abs(to_float(np.uint8([[[0, 0, 0]], [[255, 255, 255]]]), scaling)).max())
    model.set_weights([array / np.sqrt(largest) for array in model.get_weights()])  # or the scores are 0 and 1
    serve = tf.function(lambda picture: model(picture, training=False))
    concrete = serve.get_concrete_function(tf.TensorSpec((1, 32, 32, 3), tf.float32))
    network = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    metadata = dataclasses.replace(
        METADATA, preprocessing=Preprocessing(32, 1.3, scaling), scheme=QuantizationScheme.FLOAT32
    )
    (tmp_path / "float.tflite").write_bytes(add_metadata(network, metadata))
    classifier = Classifier(tmp_path / "float.tflite", num_threads=1)
    assert classifier.metadata.preprocessing.scaling == scaling
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    expected = np.asarray(model(to_float(picture, scaling)[np.newaxis], training=False))[0]
    np.testing.assert_allclose(classifier.forward(picture), expected, atol=1e-5)  # float32 sums in another order


# Scores


@given(st.integers(0, 255))
def test_scores_sum_to_one_and_the_answer_holds_the_highest(classifier: Classifier, value: int) -> None:
    answer = classifier.classify(grey_picture(value))
    # after the temperature step scores are float64: only rounding is left
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-12)
    assert answer.score == answer.scores[answer.predicted_label] == max(answer.scores.values())


def test_a_temperature_above_one_makes_answers_less_certain_and_changes_no_label(tmp_path: Path) -> None:
    plain, soft = build(tmp_path), build(tmp_path, temperature=3.0)
    for value in (0, 60, 200, 255):
        first, second = plain.classify(grey_picture(value)), soft.classify(grey_picture(value))
        assert second.score < first.score
        assert second.predicted_label == first.predicted_label


def test_a_temperature_below_one_makes_answers_more_certain(tmp_path: Path) -> None:
    assert build(tmp_path, temperature=0.5).post_process(scores_of(0.7), None).score > 0.8


def test_the_temperature_divides_the_log_scores(tmp_path: Path) -> None:
    answer = build(tmp_path, temperature=2.0).post_process(scores_of(0.9), None)
    odds = np.sqrt(0.9 / 0.1)  # the log odds are halved
    assert answer.scores["male"] == pytest.approx(odds / (1 + odds), rel=1e-12)  # float64 arithmetic


def test_the_raw_scores_are_without_the_temperature(tmp_path: Path) -> None:
    plain = build(tmp_path).forward(grey_picture(200))
    np.testing.assert_array_equal(build(tmp_path, temperature=3.0).forward(grey_picture(200)), plain)


def test_many_photos_are_calibrated_as_each_by_itself(classifier: Classifier) -> None:
    rows = np.stack([scores_of(0.2), scores_of(0.99), scores_of(0.0)])
    np.testing.assert_array_equal(classifier.calibrate(rows), np.stack([classifier.calibrate(row) for row in rows]))


# Threshold


@pytest.mark.parametrize(
    ("male", "expected"), [(0.0, "female"), (0.69, "female"), (0.7, "male"), (0.71, "male"), (1.0, "male")]
)
def test_the_positive_label_is_answered_from_the_threshold_on(tmp_path: Path, male: float, expected: str) -> None:
    # a hair below 0.7, since 0.7 goes through log and exp and comes back an ulp lower or higher
    answer = build(tmp_path, threshold=0.7 - 1e-9).post_process(scores_of(male), None)
    assert answer.predicted_label == expected
    assert answer.score == pytest.approx(min(max(male if expected == "male" else 1 - male, 1 / 512), 511 / 512), 1e-2)


def test_below_the_threshold_the_answer_may_have_the_lower_score(tmp_path: Path) -> None:
    answer = build(tmp_path, threshold=0.9).post_process(scores_of(0.8), None)
    assert (answer.predicted_label, round(answer.score, 6)) == ("female", 0.2)


def test_the_threshold_speaks_of_the_positive_label_wherever_it_stands(tmp_path: Path) -> None:
    classifier = build(tmp_path, labels=("old", "young"), positive_label="old", threshold=0.3)
    assert classifier.post_process(np.array([0.35, 0.65]), None).predicted_label == "old"
    assert classifier.post_process(np.array([0.25, 0.75]), None).predicted_label == "young"


def test_the_threshold_is_held_against_the_calibrated_score(tmp_path: Path) -> None:
    """0.9 at temperature 4 is 0.634: under a threshold of 0.7."""
    assert build(tmp_path, threshold=0.7).post_process(scores_of(0.9), None).predicted_label == "male"
    soft = build(tmp_path, threshold=0.7, temperature=4.0)
    assert soft.post_process(scores_of(0.9), None).predicted_label == "female"


def test_with_three_labels_the_highest_score_wins_whatever_the_threshold(tmp_path: Path) -> None:
    classifier = build(tmp_path, labels=("a", "b", "c"), positive_label="c", threshold=0.01)
    assert classifier.post_process(np.array([0.3, 0.4, 0.3]), None).predicted_label == "b"


# The unsure band


@pytest.mark.parametrize(("male", "is_unsure"), [(0.5, True), (0.89, True), (0.91, False), (0.11, True), (0.09, False)])
def test_an_answer_below_the_band_is_called_unsure(tmp_path: Path, male: float, is_unsure: bool) -> None:
    answer = build(tmp_path, unsure_below=0.9).post_process(scores_of(male), None)
    assert answer.is_unsure is is_unsure
    assert answer.predicted_label == ("male" if male >= 0.5 else "female")  # the label is told all the same


def test_a_band_of_zero_is_never_unsure(classifier: Classifier) -> None:
    assert not any(classifier.classify(grey_picture(value)).is_unsure for value in range(0, 256, 5))


# Input


def test_the_input_is_made_by_the_one_preprocessing(classifier: Classifier) -> None:
    picture, box = gradient(90, 120), FaceBox(20, 10, 60, 50)
    expected = to_input(picture, box, classifier.metadata.preprocessing)
    np.testing.assert_array_equal(classifier.pre_process(picture, box), expected)
    assert classifier.classify(picture, box).box is box


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (31, 33), (4000, 10)])
def test_photos_of_any_shape_get_an_answer(classifier: Classifier, shape: tuple[int, int]) -> None:
    picture = gradient(*shape)
    assert classifier.classify(picture).predicted_label in ("female", "male")
    assert classifier.classify(picture, FaceBox(-1e5, -1e5, 1e5, 1e5)).score >= 0.5


# Files


@pytest.mark.parametrize("size_px", [16, 48])
def test_metadata_with_another_input_size_than_the_network_are_refused(tmp_path: Path, size_px: int) -> None:
    path = tmp_path / "m.tflite"
    metadata = dataclasses.replace(METADATA, preprocessing=Preprocessing(size_px, 1.3))
    path.write_bytes(add_metadata(build_network(input_size_px=32), metadata))
    with pytest.raises(
        ModelFileError, match=rf"Expected input \(1, {size_px}, {size_px}, 3\) and 2 scores, got"
    ) as caught:
        Classifier(path)
    assert caught.value.hint


def test_metadata_with_another_number_of_labels_than_the_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(add_metadata(build_network(num_labels=3), METADATA))
    with pytest.raises(ModelFileError, match=r"and 2 scores, got .* and 3"):
        Classifier(path)


def test_a_verified_file_that_is_no_network_is_refused_by_the_runtime(tmp_path: Path) -> None:
    """The digest holds, and the operators are of a version that nobody has."""
    from ai_edge_litert import schema_py_generated as tfl

    model = tfl.ModelT.InitFromPackedBuf(build_network())
    model.operatorCodes[0].version = 99
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path / "m.tflite"
    path.write_bytes(add_metadata(bytes(builder.Output()), METADATA))
    with pytest.raises(ModelFileError, match="Expected a network that"):
        Classifier(path)


@pytest.mark.parametrize("folder", ["größe", "写真 と 空白", 'it\'s "quoted"', "%s{0}$HOME"])
def test_a_model_is_found_under_any_name(tmp_path: Path, folder: str) -> None:
    classifier = Classifier(build_tiny_model(tmp_path / folder / "модель.tflite"))
    assert classifier.file.path.parent.name == folder
    assert classifier.classify(grey_picture(255)).predicted_label == "male"


def test_without_a_path_the_embedded_model_is_taken() -> None:
    classifier = edgegender.Classifier(num_threads=2)
    assert classifier.file.path.name == "default.tflite"
    assert classifier.interpreter.num_threads == 2
    answer = classifier.classify(gradient(300, 200))
    assert set(answer.scores) == {"female", "male"}


def test_a_number_of_threads_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="threads, got 0"):
        Classifier(num_threads=0)


def test_a_float_model_answers_like_its_quantized_twin(tmp_path: Path) -> None:
    quantized = build(tmp_path)
    plain = build(tmp_path, scheme=QuantizationScheme.FLOAT32)
    for value in (0, 100, 140, 255):
        first, second = quantized.classify(grey_picture(value)), plain.classify(grey_picture(value))
        assert first.predicted_label == second.predicted_label
        assert first.score == pytest.approx(second.score, abs=0.03)  # a step of the logits is worth 1/64

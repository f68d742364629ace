"""The tiny model of the tests is a real one: it loads, verifies itself, and answers by brightness."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from edgegender import files
from edgegender.entities import QuantizationScheme
from edgegender.errors import ModelFileError
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import read_model
from tests.tiny_model import build_network, build_tiny_model, grey_picture

SCHEMES = list(QuantizationScheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bright_pictures_get_the_positive_label(tmp_path, scheme):
    classifier = Classifier(build_tiny_model(tmp_path / "tiny.tflite", scheme=scheme), num_threads=1)
    assert classifier.classify(grey_picture(255)).predicted_label == "male"
    assert classifier.classify(grey_picture(0)).predicted_label == "female"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_score_rises_with_brightness_from_near_zero_to_near_one(tmp_path, scheme):
    classifier = Classifier(build_tiny_model(tmp_path / "tiny.tflite", scheme=scheme), num_threads=1)
    scores = [classifier.forward(grey_picture(value))[1] for value in range(0, 256, 15)]
    assert scores == sorted(scores)
    assert scores[0] < 0.01
    assert scores[-1] > 0.99


@pytest.mark.parametrize("size_px", [16, 96, 224])
def test_any_input_size_averages_the_whole_picture(tmp_path, size_px):
    classifier = Classifier(build_tiny_model(tmp_path / "tiny.tflite", input_size_px=size_px), num_threads=1)
    half = grey_picture(0, size_px)
    half[size_px // 2 :] = 255
    # half white and half black is mid-grey: one half, to a step of the logits
    assert classifier.forward(half)[1] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("is_reference", [False, True])
def test_scores_of_a_uint8_network_are_steps_of_1_256_in_both_kernels(is_reference):
    network = Interpreter(build_network(), num_threads=1, is_reference=is_reference)
    assert network.input_dtype == np.uint8
    assert network.output_dtype == np.uint8
    scores = network.run(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert np.array_equal(scores * 256, np.round(scores * 256))


def test_labels_threshold_and_temperature_are_as_asked(tmp_path):
    path = build_tiny_model(
        tmp_path / "m.tflite", labels=("old", "mid", "young"), positive_label="mid", threshold=0.6, temperature=2.0
    )
    classifier = Classifier(path, num_threads=1)
    assert (classifier.metadata.threshold, classifier.metadata.temperature) == (0.6, 2.0)
    assert classifier.classify(grey_picture(255)).predicted_label == "mid"


def test_an_inverted_model_answers_the_opposite(tmp_path):
    classifier = Classifier(build_tiny_model(tmp_path / "m.tflite", is_inverted=True), num_threads=1)
    assert classifier.classify(grey_picture(255)).predicted_label == "female"


def test_the_sidecar_holds_the_files_sha256(tmp_path):
    path = build_tiny_model(tmp_path / "m.tflite")
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["sha256"] == files.hash_file(path) == read_model(path).sha256
    assert sidecar["size_bytes"] == path.stat().st_size < 4096
    assert "digest" not in sidecar
    assert not build_tiny_model(tmp_path / "bare.tflite", has_sidecar=False).with_suffix(".json").exists()


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    first, second = (build_tiny_model(tmp_path / name).read_bytes() for name in ("a.tflite", "b.tflite"))
    assert first == second


def test_one_altered_byte_is_refused(tmp_path):
    path = build_tiny_model(tmp_path / "m.tflite", has_sidecar=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="Expected"):
        read_model(path)


def test_tensorflow_is_not_needed():
    code = "import sys, tests.tiny_model; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

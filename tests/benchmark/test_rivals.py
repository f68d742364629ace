"""Networks of others: what descriptions may say, and that every form of input and output gives the right scores."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgegender.benchmark.presets import SHORT
from edgegender.benchmark.records import Durations
from edgegender.benchmark.rival_numbers import (
    InputSpec,
    OutputSpec,
    Quantization,
    to_numbers,
    to_real,
    to_scores,
    to_stored,
)
from edgegender.benchmark.rival_source import (
    RIVAL_ENGINES,
    parse_variant,
    read_onnx_metadata,
    read_source,
    rival_entry,
    rival_subject,
)
from edgegender.benchmark.rival_tflite import load
from edgegender.benchmark.rivals import SCHEMA_FILE, parse_rival, read_rival
from edgegender.benchmark.run import Sample, benchmark_model
from edgegender.errors import ModelFileError, UsageError
from tests.benchmark.exported_pair import NETWORK, answer, describe, litert_scores, pictures, write_rival
from tests.conv_model import SIZE_PX, build_conv_network
from tests.tiny_model import build_network, build_tiny_model

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "rivals.md"
VERY_SHORT = Durations(min_seconds=0.05, min_runs=20, max_seconds=5, warmup_seconds=0, warmup_runs=1)


# Descriptions


def test_a_description_says_all_that_an_engine_needs() -> None:
    description = parse_rival(
        describe(
            model="nets/rival.onnx",
            name="rival",
            input={"size_px": 224, "layout": "NCHW", "channels": "BGR", "scaling": {"mean": [1, 2, 3], "std": 4}},
            output={"tensor": 1, "kind": "logits", "columns": [8, 7]},
            crop_margin=1.25,
            threshold=0.4,
        ),
        where="rival.json",
    )
    assert description.input == InputSpec(224, "NCHW", "BGR", "", (1.0, 2.0, 3.0), (4.0, 4.0, 4.0))
    assert description.output == OutputSpec(1, "logits", (8, 7))
    assert (description.preprocessing.input_size_px, description.preprocessing.crop_margin) == (224, 1.25)
    assert (description.threshold, description.temperature) == (0.4, 1.0)


def without(key: str) -> dict[str, Any]:
    values = describe()
    del values[key]
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "Expected the description to be an object"),
        ({}, "Expected the key schema, got none"),
        (describe(schema="edgegender.rival/2"), "Expected a description of schema edgegender.rival/1"),
        (without("license"), "Expected the key license, got none"),
        (describe(licence="MIT"), "Expected known keys only, got licence"),
        (describe(model="../rival.onnx"), "Expected model to be a file below the description's folder"),
        (describe(model="/rival.onnx"), "Expected model to be"),
        (describe(model="rival.h5"), "Expected model to be"),
        (describe(sha256="12"), "Expected sha256 to be 64 hexadecimal digits"),
        (describe(labels=["a", "a"]), "Expected labels to be a list of two different labels"),
        (describe(positive_label="x"), "Expected positive_label to be one of female, male"),
        (describe(threshold=2), "Expected threshold to be a number from 0 to 1"),
        (describe(name=7), "Expected name to be text, got 7"),
        (describe(input=3), "Expected input to be an object"),
        (describe(input={"scaling": "tf"}), r"Expected the key input\.size_px"),
        (describe(input={"size_px": 8, "scaling": "tf"}), r"Expected input\.size_px to be a whole number from 16"),
        (describe(input={"size_px": True, "scaling": "tf"}), r"Expected input\.size_px to be"),
        (describe(input={"size_px": 32, "scaling": "x"}), r"Expected input\.scaling to be one of tf"),
        (describe(input={"size_px": 32, "scaling": "caffe"}), r"Expected input\.channels to be BGR"),
        (describe(input={"size_px": 32, "channels": "GRAY", "scaling": "caffe"}), r"Expected input\.scaling to be"),
        (describe(input={"size_px": 32, "layout": "HW", "scaling": "tf"}), r"Expected input\.layout to be one of"),
        (
            describe(input={"size_px": 32, "scaling": {"mean": 0, "std": 0}}),
            r"Expected input\.scaling\.std to be numbers other than 0",
        ),
        (
            describe(input={"size_px": 32, "scaling": {"mean": [1, 2], "std": 1}}),
            r"Expected input\.scaling\.mean to be a number or a list of 3",
        ),
        (describe(output={}), r"Expected the key output\.kind"),
        (describe(output={"kind": "sigmoid"}), r"Expected the key output\.label"),
        (describe(output={"kind": "logits", "columns": [0]}), r"Expected output\.columns to be a list of 2"),
        (describe(output={"kind": "logits", "columns": [1, 1]}), r"Expected output\.columns to be different"),
        (
            describe(labels=["a", "b", "c"], positive_label="a", output={"kind": "sigmoid", "label": "a"}),
            r"Expected output\.kind to be probabilities, scores or logits",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_key(values: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_rival(values, where="rival.json")


def test_the_documented_schema_takes_what_the_parser_takes() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(describe(), schema)
    for wrong in (
        describe(licence="MIT"),
        describe(model="../a.onnx"),
        describe(input={"size_px": 8, "scaling": "tf"}),
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_documents_examples_are_descriptions() -> None:
    blocks = [part.split("```")[0] for part in DOCUMENT.read_text().split("```json\n")[1:]]
    found = {Path(parse_rival(json.loads(block), where="docs").model).suffix for block in blocks}
    assert found == {".tflite", ".onnx", ".keras"}
    for block in blocks:
        jsonschema.validate(json.loads(block), json.loads(SCHEMA_FILE.read_text()))


def test_a_file_with_another_hash_is_refused_before_native_code_sees_it(tmp_path: Path) -> None:
    right = hashlib.sha256(NETWORK).hexdigest()
    rival = read_rival(write_rival(tmp_path, NETWORK, model="rival.tflite", sha256=right))
    assert rival.record().sha256 == right
    with pytest.raises(ModelFileError, match=r"Expected sha256 000000000000…, got .*rival\.tflite"):
        read_rival(write_rival(tmp_path, NETWORK, model="rival.tflite", sha256="0" * 64))


def test_a_file_that_changes_after_it_was_read_is_refused_by_the_engine(tmp_path: Path) -> None:
    rival = read_rival(write_rival(tmp_path, NETWORK, model="rival.tflite"))
    entry = rival_entry(rival)
    rival.path.write_bytes(build_network(is_float=True))
    with pytest.raises(ModelFileError, match="Expected sha256"):
        read_source(rival.path, entry.variant, "tflite")


def test_files_that_are_no_description_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rival.json"
    with pytest.raises(UsageError, match="got No such file"):
        read_rival(path)
    for content, message in ((b"{", "Expected JSON"), (b"[]", "to be an object"), (b" " * 2_000_000, "a larger file")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            read_rival(path)
    path.write_text(json.dumps(describe()))
    with pytest.raises(ModelFileError, match="Expected the rival's network, got No such file"):
        read_rival(path)
    (tmp_path / "rival.onnx").mkdir()
    with pytest.raises(ModelFileError, match="Expected a network of 1 byte"):
        read_rival(path)


# Numbers in


def test_each_layout_order_and_scaling_gives_the_networks_numbers() -> None:
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 255, 51, 0
    assert to_numbers(image, InputSpec(16, scaling="unit"))[0, 0, 0].tolist() == pytest.approx([1, 0.2, 0])
    assert to_numbers(image, InputSpec(16, channels="BGR", scaling="raw"))[0, 0, 0].tolist() == [0, 51, 255]
    caffe = to_numbers(image, InputSpec(16, channels="BGR", scaling="caffe"))[0, 0, 0]
    np.testing.assert_allclose(caffe, [0 - 103.939, 51 - 116.779, 255 - 123.68], atol=1e-4)
    own = InputSpec(16, layout="NCHW", scaling="", mean=(255, 1, 0), std=(1, 50, 1))
    first = to_numbers(image, own)
    assert first.shape == own.shape(1) == (1, 3, 16, 16)
    assert first[0, :, 0, 0].tolist() == [0, 1, 0]
    grey = InputSpec(16, channels="GRAY", scaling="raw")
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B
    assert to_numbers(image, grey)[0, 0, 0].tolist() == [round(0.299 * 255 + 0.587 * 51)]
    assert grey.shape(2) == (2, 16, 16, 1)


def test_quantized_inputs_are_rounded_and_clipped_by_the_files_own_scale() -> None:
    values = np.asarray([-1.0, 0.0, 0.004, 1.0, 2.0], np.float32)
    stored = to_stored(values, np.int8, Quantization(1 / 127.5, -1))
    assert stored.tolist() == [-128, -1, 0, 126, 127]
    np.testing.assert_allclose(to_real(stored, Quantization(1 / 127.5, -1))[:2], [-127 / 127.5, 0])
    assert to_stored(np.asarray([0.0, 255.0], np.float32), np.uint8).tolist() == [0, 255]
    with pytest.raises(UsageError, match="Expected numbers that uint8 holds"):
        to_stored(values, np.uint8)


# Numbers out


def test_each_kind_of_answer_becomes_one_score_a_label() -> None:
    rows = np.asarray([[0.0, 2.0, 0.0], [1.0, 3.0, 5.0]])
    raised = np.exp([2.0, 0.0])
    logits = to_scores(rows, OutputSpec(kind="logits", columns=(1, 2)), batch_size=2)
    np.testing.assert_allclose(logits[0], raised / raised.sum())
    scores = to_scores(rows, OutputSpec(kind="scores", columns=(0, 1)), batch_size=2)
    assert scores.tolist() == [[0, 1], [0.25, 0.75]]
    same = to_scores(rows, OutputSpec(columns=(2, 0)), batch_size=2)
    assert same.tolist() == [[0, 0], [5, 1]]
    single = np.asarray([[0.25]])
    for label, expected in ((0, [0.25, 0.75]), (1, [0.75, 0.25])):
        spec = OutputSpec(kind="sigmoid", columns=(0,), label_index=label)
        assert to_scores(single, spec, batch_size=1)[0].tolist() == expected
    extreme = to_scores(
        np.asarray([[-800.0]]), OutputSpec(kind="sigmoid_logit", columns=(0,), label_index=1), batch_size=1
    )
    assert extreme.tolist() == [[1, 0]]
    with pytest.raises(ModelFileError, match=r"Expected at least 4 numbers a picture, got shape \(2, 3\)"):
        to_scores(rows, OutputSpec(columns=(0, 3)), batch_size=2)


# Engines


def test_a_float_tflite_answers_as_edgegenders_own_engine_does() -> None:
    images = pictures()
    engine = load(NETWORK, spec=InputSpec(SIZE_PX), output=OutputSpec())
    assert answer(engine, images).tolist() == litert_scores(images).tolist()  # the same kernels, the same bytes
    batch = load(NETWORK, spec=InputSpec(SIZE_PX), output=OutputSpec(), batch_size=2)
    np.testing.assert_allclose(answer(batch, images), litert_scores(images), atol=1e-6)  # sums in another order


def test_a_quantized_tflite_takes_its_scale_from_the_file() -> None:
    images = pictures()
    engine = load(build_network(input_size_px=SIZE_PX), spec=InputSpec(SIZE_PX), output=OutputSpec())
    stored = engine.to_tensor(images[:1])
    assert stored.dtype == np.uint8
    # its zero point is 128, that of the scaling 127.5: half a step, which is rounded either way
    assert np.abs(stored.astype(np.int64) - images[:1]).max() <= 1
    reference = load(
        build_network(input_size_px=SIZE_PX), spec=InputSpec(SIZE_PX), output=OutputSpec(), is_reference=True
    )
    assert reference.record.delegate == "reference"
    np.testing.assert_allclose(answer(engine, images), answer(reference, images), atol=1 / 256)  # one step of a score
    int8 = load(build_conv_network(), spec=InputSpec(SIZE_PX), output=OutputSpec())
    assert int8.to_tensor(images[:1]).dtype == np.int8


def test_a_tflite_that_does_not_fit_its_description_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"Expected one input of shape \(1, 64, 64, 3\), got \(1, 16, 16, 3\)"):
        load(NETWORK, spec=InputSpec(64), output=OutputSpec())
    with pytest.raises(ModelFileError, match="Expected output 1, got a network with 1"):
        load(NETWORK, spec=InputSpec(SIZE_PX), output=OutputSpec(tensor=1))
    with pytest.raises(ModelFileError, match=r"Expected a \.tflite, got another file"):
        load(b"onnx" * 9, spec=InputSpec(SIZE_PX), output=OutputSpec())


def test_a_rival_is_measured_by_the_same_harness(tmp_path: Path) -> None:
    rival = read_rival(write_rival(tmp_path, NETWORK, model="rival.tflite", name="theirs"))
    samples = [Sample(image, place % 2) for place, image in enumerate(pictures(8))]
    result = benchmark_model(
        rival_subject(rival), samples, threads=(1,), durations=VERY_SHORT, engine=rival_entry(rival)
    )
    assert (result.model.name, result.model.sha256) == ("theirs", rival.sha256)
    assert result.latencies[0].is_output_equal
    assert result.evaluation is not None
    assert result.evaluation.num_photos == 8
    assert SHORT.preset == "short"


def test_an_engine_that_does_not_run_a_rivals_kind_is_refused(tmp_path: Path) -> None:
    rival = read_rival(write_rival(tmp_path, NETWORK, model="rival.tflite"))
    with pytest.raises(UsageError, match=r"Expected an engine of litert, litert-reference for rival\.tflite, got 'ope"):
        rival_entry(rival, "openvino")
    with pytest.raises(UsageError, match=r"Expected a rival that ends in \.onnx"):
        read_source(rival.path, rival_entry(rival).variant, "onnx")
    with pytest.raises(UsageError, match=r"Expected a described network or a \.tflite of edgegender"):
        read_source(rival.path, "xnnpack", "tflite")
    assert parse_variant("xnnpack") is None
    assert set(RIVAL_ENGINES) == {"tflite", "onnx", "keras"}


def test_only_a_float32_tflite_has_an_onnx_beside_it(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "tiny.tflite")
    with pytest.raises(UsageError, match=r"Expected a float32 \.tflite, .* got full_integer"):
        read_source(model, "", "onnx")


def test_damaged_onnx_metadata_is_refused_in_python() -> None:
    assert read_onnx_metadata(b"") == {}
    entry = b"\x0a\x01k\x12\x01v"
    assert read_onnx_metadata(b"\x08\x07" + bytes([0x72, len(entry)]) + entry) == {"k": "v"}
    with pytest.raises(ValueError, match="a field beyond the end"):
        read_onnx_metadata(b"\x72\x7f")
    with pytest.raises(ValueError, match="it ends too soon"):
        read_onnx_metadata(b"\x72")
    with pytest.raises(ValueError, match="an unknown kind of field"):
        read_onnx_metadata(b"\x77")

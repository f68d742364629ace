"""The C header: compiled as C11 and C++17 with all warnings, run, and held against Python."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from edgegender.conversion.c_header import score_threshold, to_c_header, to_identifier
from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import ModelFileError, UsageError
from edgegender.metrics import apply_temperature, predict_labels
from tests.conv_model import alter_network, build_conv_network
from tests.tiny_model import build_network

ODD = ('say "x" \\ ', "fräulein??/\n*/ 1")  # quotes, a backslash at the end, UTF-8, a trigraph, the end of a comment
METADATA = ModelMetadata(
    labels=ODD,
    positive_label=ODD[1],
    preprocessing=Preprocessing(16),
    architecture="conv",
    scheme=QuantizationScheme.FULL_INTEGER,
    threshold=0.7,
    temperature=1.5,
    unsure_below=0.8,
    name="a \\",  # a backslash at a line's end would swallow the next line of a // comment
    license="Apache-2.0 */",
    intended_use="Tests.\nOf two lines.",
)
# CRC-32, bit by bit, as zlib has it
PROGRAM = r"""
#include "model.h"
#include "model.h"
#include <stdint.h>
#include <stdio.h>

int main(void) {
  uint32_t crc = 0xffffffffu;
  for (unsigned int i = 0; i < model_96_tflite_len; ++i) {
    crc ^= model_96_tflite[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  printf("%u %u %u\n", (unsigned)(crc ^ 0xffffffffu), model_96_tflite_len, (unsigned)sizeof model_96_tflite);
  printf("%u\n", (unsigned)((uintptr_t)model_96_tflite % 16));
  for (int i = 0; i < model_96_num_labels; ++i) printf("%s%c", model_96_labels[i], 0);
  printf("%d %d %d %d\n", model_96_positive_label, model_96_input_height, model_96_input_width,
         model_96_input_channels);
  printf("%.9g %d %.9g %d\n", model_96_input_scale, model_96_input_zero_point, model_96_output_scale,
         model_96_output_zero_point);
  printf("%.9g %.9g %.9g %.9g %d\n", model_96_threshold, model_96_score_threshold, model_96_temperature,
         model_96_unsure_below, model_96_output_threshold);
  return 0;
}
"""
COMPILERS = {"C11": ("cc", "c", "c11"), "C++17": ("c++", "cc", "c++17")}


def run_header(header: str, folder: Path, language: str) -> bytes:
    """Returns what the program prints, compiled with every warning an error."""
    compiler, suffix, standard = COMPILERS[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"no compiler {compiler} on this machine")
    (folder / "model.h").write_text(header, "ascii")
    (folder / f"main.{suffix}").write_text(PROGRAM)
    flags = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wtrigraphs", f"-std={standard}")
    command = [compiler, *flags, "-o", "program", f"main.{suffix}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return subprocess.run([folder / "program"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("language", COMPILERS)
def test_a_compiled_program_sees_what_python_sees(tmp_path: Path, language: str) -> None:
    content = build_conv_network()
    printed = run_header(to_c_header(content, METADATA, name="model 96"), tmp_path, language)
    head, rest = printed.split(b"\n", 2)[:2], printed.split(b"\n", 2)[2]
    assert head[0].split() == [b"%d" % zlib.crc32(content), *[b"%d" % len(content)] * 2]
    assert head[1] == b"0"  # aligned
    *labels, numbers = rest.split(b"\0")
    assert tuple(label.decode() for label in labels) == ODD
    lines = numbers.decode().splitlines()
    assert lines[0].split() == ["1", "16", "16", "3"]
    scale, zero_point, output_scale, output_zero_point = map(float, lines[1].split())
    assert (np.float32(scale), zero_point) == (np.float32(1 / 127.5), 0)
    assert (output_scale, output_zero_point) == (1 / 256, -128)
    threshold, score, temperature, unsure_below, output = map(float, lines[2].split())
    assert (np.float32(threshold), np.float32(temperature), np.float32(unsure_below)) == tuple(
        np.float32([0.7, 1.5, 0.8])
    )
    assert np.float32(score) == np.float32(score_threshold(METADATA))
    assert output == np.ceil(score * 256 - 128)


def test_the_header_is_ascii_and_names_the_sha256_scheme_and_licence() -> None:
    content = build_conv_network()
    header = to_c_header(content, METADATA, name="model 96")
    assert header.isascii()
    comments = header.split("#ifndef")[0].splitlines()
    assert all(line.startswith("//") for line in comments)
    assert f'// sha256: "{hashlib.sha256(content).hexdigest()}"' in comments
    assert '// scheme: "full_integer"' in comments
    assert '// license: "Apache-2.0 */"' in comments


def test_the_resolver_names_each_kind_of_operator_once() -> None:
    header = to_c_header(build_conv_network(), METADATA, name="model")
    assert "//   tflite::MicroMutableOpResolver<5> resolver;" in header
    added = [line.split("resolver.")[1].split(";")[0] for line in header.splitlines() if "resolver.Add" in line]
    assert added == ["AddConv2D()", "AddDepthwiseConv2D()", "AddFullyConnected()", "AddMean()", "AddSoftmax()"]
    assert "// 2 x CONV_2D" in header


def test_an_operator_that_micro_does_not_have_is_named() -> None:
    def alter(model: tfl.ModelT) -> None:
        """Puts a GELU behind the float network's logits."""
        graph = model.subgraphs[0]
        gelu, code, tensor = tfl.OperatorT(), tfl.OperatorCodeT(), tfl.TensorT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = tfl.BuiltinOperator.GELU, 127, 1
        model.operatorCodes.append(code)
        tensor.name, tensor.shape, tensor.type, tensor.buffer = "gelu", [1, 2], tfl.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
        softmax = graph.operators.pop()
        gelu.opcodeIndex, gelu.inputs = len(model.operatorCodes) - 1, [int(softmax.inputs[0])]
        gelu.outputs = softmax.inputs = [len(graph.tensors) - 1]
        gelu.builtinOptionsType, gelu.builtinOptions = tfl.BuiltinOptions.GeluOptions, tfl.GeluOptionsT()
        graph.operators += [gelu, softmax]

    metadata = dataclasses.replace(METADATA, scheme=QuantizationScheme.FLOAT32)
    header = to_c_header(alter_network(build_conv_network(is_float=True), alter), metadata, name="model")
    assert "MicroMutableOpResolver<5>" in header
    assert "//   1 x GELU: none of TensorFlow Lite Micro's operators" in header


def test_a_float_network_names_its_scaling_instead_of_scales() -> None:
    metadata = dataclasses.replace(METADATA, scheme=QuantizationScheme.FLOAT32)
    header = to_c_header(build_conv_network(is_float=True), metadata, name="model")
    assert 'by the scaling "tf"' in header
    assert "model_input_scale" not in header
    assert "model_output_scale" not in header
    assert "model_score_threshold" in header


def test_more_than_two_labels_have_no_threshold() -> None:
    metadata = dataclasses.replace(METADATA, labels=("a", "b", "c"), positive_label="c")
    header = to_c_header(build_network(num_labels=3), metadata, name="model")
    assert "The label with the highest score is the answer." in header
    assert "threshold" not in header


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_limit_before_calibration_answers_as_the_runtime_does(threshold: float, temperature: float) -> None:
    metadata = dataclasses.replace(METADATA, threshold=threshold, temperature=temperature)
    header = to_c_header(build_conv_network(), metadata, name="m")
    raw_limit = int(header.split("m_output_threshold = ")[1].split(" ")[0])
    raw = np.arange(-128, 128)
    positive = (raw + 128) / 256
    calibrated = apply_temperature(np.stack([1 - positive, positive], axis=1), temperature)
    predicted = predict_labels(calibrated, positive_index=1, threshold=threshold)
    np.testing.assert_array_equal(raw >= raw_limit, predicted == 1)
    np.testing.assert_array_equal(positive >= score_threshold(metadata) - 1e-9, predicted == 1)  # float64 rounding


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_limit_at_an_end_stays_there(threshold: float) -> None:
    assert score_threshold(dataclasses.replace(METADATA, threshold=threshold)) == threshold


@pytest.mark.parametrize(
    ("name", "expected"),
    [("face", "face"), ("edgegender-mobilenetv2-96", "edgegender_mobilenetv2_96"), ("96 px", "model_96_px"),
     ("__a__b__", "a_b"), ("größe", "gr_e"), ("a/b.tflite", "a_b_tflite")],
)  # fmt: skip
def test_a_name_becomes_an_identifier(name: str, expected: str) -> None:
    assert to_identifier(name) == expected


@pytest.mark.parametrize("name", ["", "___", "日本"])
def test_a_name_without_a_letter_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"Expected a name with a letter or a digit, got {name!r}"):
        to_c_header(build_conv_network(), METADATA, name=name)


def test_labels_of_another_network_are_refused() -> None:
    with pytest.raises(UsageError, match="Expected 3 labels for as many scores, got 2"):
        to_c_header(build_network(num_labels=3), METADATA, name="model")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ModelFileError, match="Expected a network that"):
        to_c_header(b"hello", METADATA, name="model")

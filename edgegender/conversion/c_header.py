"""A ``.tflite`` as a C header, for TensorFlow Lite for Microcontrollers."""

from __future__ import annotations

import hashlib
import math
import re

import numpy as np

from edgegender.entities import ModelMetadata
from edgegender.errors import UsageError
from edgegender.runtime.interpreter import Interpreter

_BYTES_A_LINE = 20  # 20 x "0x00," make 100 columns
# Operators of TensorFlow Lite Micro that a classifier of pictures may hold.
# Source: github.com/tensorflow/tflite-micro, tensorflow/lite/micro/micro_mutable_op_resolver.h
_MICRO_OPERATORS = """
    ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CAST CEIL CONCATENATION
    CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV
    FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D LEAKY_RELU
    LESS LESS_EQUAL LOG LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX RELU RELU6 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V
    SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNPACK
    ZEROS_LIKE"""
_METHODS = {"PADV2": "AddPadV2", "CUMSUM": "AddCumSum", "BATCH_MATMUL": "AddBatchMatMul"}


def to_identifier(name: str) -> str:
    """Returns a name as C allows it: letters, digits and underscores, not starting with a digit or an underscore.

    Raises:
        UsageError: Nothing of the name is left.

    Example:
        >>> to_identifier("96px model-v1.2")
        'model_96px_model_v1_2'
    """
    kept = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_")
    kept = re.sub(r"__+", "_", kept)  # two in a row belong to the compiler, in C++ anywhere in a name
    if not kept:
        raise UsageError(f"Expected a name with a letter or a digit, got {name!r}.")
    return f"model_{kept}" if kept[0].isdigit() else kept


def _quote(text: str) -> str:
    """Returns a C string literal of the text's UTF-8.

    Octal escapes, for a hexadecimal one would swallow the digits behind it; ``?`` is escaped for the sake of trigraphs.
    """
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'


def _float(value: float) -> str:
    text = f"{np.float32(value):.9g}"  # nine digits tell any two float32 apart
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _method(name: str) -> str:
    """Returns what MicroMutableOpResolver calls the function that adds an operator."""
    words = "".join(word.capitalize() for word in name.split("_"))
    return _METHODS.get(name, f"Add{re.sub('2d$', '2D', words)}")


def score_threshold(metadata: ModelMetadata) -> float:
    """Returns the network's own score from which on the positive label is answered, for two labels.

    The threshold of the metadata speaks of the calibrated score, sigmoid(logit(score) / temperature); this is the same
    limit before the calibration: sigmoid(temperature * logit(threshold)).

    Example:
        >>> from edgegender.entities import Preprocessing, QuantizationScheme
        >>> metadata = ModelMetadata(("a", "b"), "b", Preprocessing(), "cnn", QuantizationScheme.FULL_INTEGER, 0.8, 2.0)
        >>> round(score_threshold(metadata), 4)  # odds of 4 become odds of 16
        0.9412
    """
    if not 0 < metadata.threshold < 1:
        return metadata.threshold
    odds: float = (metadata.threshold / (1 - metadata.threshold)) ** metadata.temperature
    return odds / (1 + odds)


def _operator_lines(network: Interpreter) -> list[str]:
    counts = network.count_operators()
    known = frozenset(_MICRO_OPERATORS.split()) & set(counts)
    lines = [
        "// Its operators, with how often each of them stands there:",
        "//",
        f"//   tflite::MicroMutableOpResolver<{len(known)}> resolver;",
    ]
    lines += [f"//   resolver.{_method(name)}();  // {counts[name]} x {name}" for name in sorted(known)]
    lines += [
        f"//   {counts[name]} x {name}: none of TensorFlow Lite Micro's operators"
        for name in sorted(counts)
        if name not in known
    ]
    return lines


def _description(content: bytes, metadata: ModelMetadata, network: Interpreter) -> list[str]:
    quoted = {
        "name": metadata.name,
        "architecture": metadata.architecture,
        "scheme": metadata.scheme.value,
        "license": metadata.license,
        "intended use": metadata.intended_use,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return [
        "// A model for TensorFlow Lite for Microcontrollers, written by edgegender. Do not edit: convert again.",
        "//",
        *(f"// {key}: {_quote(value)}" for key, value in quoted.items() if value),
        "//",
        *_operator_lines(network),
    ]


def _input_lines(prefix: str, metadata: ModelMetadata, network: Interpreter) -> list[str]:
    _, height, width, channels = network.input_shape
    lines = [
        f"// The input: {network.input_dtype}, {list(network.input_shape)}, a face crop, RGB, row by row.",
        f"enum {{ {prefix}_input_height = {height}, {prefix}_input_width = {width} }};",
        f"enum {{ {prefix}_input_channels = {channels} }};",
    ]
    if network.input_scale:
        step = "less 128, are" if network.input_dtype == np.int8 else "are"
        return [
            *lines,
            f"// The picture's bytes, 0 to 255, {step} the tensor: its scale and zero point do the rest.",
            f"static const float {prefix}_input_scale = {_float(network.input_scale)};",
            f"enum {{ {prefix}_input_zero_point = {network.input_zero_point} }};",
        ]
    return [*lines, f"// The picture's bytes become numbers by the scaling {_quote(metadata.preprocessing.scaling)}."]


def _output_lines(prefix: str, metadata: ModelMetadata, network: Interpreter) -> list[str]:
    lines = [f"// The output: {network.output_dtype}, one score a label, in their order."]
    if network.output_scale:
        lines += [
            "// score = (value - zero point) * scale",
            f"static const float {prefix}_output_scale = {_float(network.output_scale)};",
            f"enum {{ {prefix}_output_zero_point = {network.output_zero_point} }};",
        ]
    lines += [
        "// calibrated scores = softmax(log(scores) / temperature); below unsure_below, an answer is called unsure",
        f"static const float {prefix}_temperature = {_float(metadata.temperature)};",
        f"static const float {prefix}_unsure_below = {_float(metadata.unsure_below)};",
    ]
    if len(metadata.labels) != 2:
        return [*lines, "// The label with the highest score is the answer."]
    limit = score_threshold(metadata)
    lines += [
        "// The positive label is answered from this calibrated score of it on, or from this score before calibration:",
        f"static const float {prefix}_threshold = {_float(metadata.threshold)};",
        f"static const float {prefix}_score_threshold = {_float(limit)};",
    ]
    if network.output_scale:
        # the small number: a limit that is a step's own value must not be missed by a rounding error
        raw = math.ceil(limit / network.output_scale + network.output_zero_point - 1e-6)
        lines += [
            "// and so from this value of the output tensor on:",
            f"enum {{ {prefix}_output_threshold = {raw} }};",
        ]
    return lines


def _array_lines(prefix: str, content: bytes) -> list[str]:
    lines = [
        "0x" + content[start : start + _BYTES_A_LINE].hex(",").replace(",", ",0x") + ","
        for start in range(0, len(content), _BYTES_A_LINE)
    ]
    return [
        f"alignas(16) static const unsigned char {prefix}_tflite[] = {{",
        *lines,
        "};",
        f"static const unsigned int {prefix}_tflite_len = {len(content)}u;",
    ]


def to_c_header(content: bytes, metadata: ModelMetadata, *, name: str) -> str:
    """Returns a header with the model's bytes, its labels and all the numbers that its answers need.

    It is valid C11 and C++17, and pure ASCII. Everything in it is ``static const`` or an enumerator, so that several
    sources may include it; what one does not use, its compiler drops.

    Args:
        content: A ``.tflite`` with one picture in and one row of scores out. TensorFlow Lite Micro's kernels are made
            for int8; a file with uint8 in and out has a QUANTIZE operator at each end.
        metadata: Labels, threshold, temperature, licence.
        name: What the constants are called; other characters than letters, digits and underscores are replaced.

    Raises:
        UsageError: Nothing of the name is left, or the network has another number of scores than there are labels.
        ModelFileError: The runtime refuses the network, or it has another signature.
    """
    prefix = to_identifier(name)
    guard = f"EDGEGENDER_{prefix.upper()}_TFLITE_H"
    network = Interpreter(content, num_threads=1, scaling=metadata.preprocessing.scaling)
    if network.num_outputs != len(metadata.labels):
        raise UsageError(f"Expected {network.num_outputs} labels for as many scores, got {len(metadata.labels)}.")
    lines = [
        *_description(content, metadata, network),
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#ifndef __cplusplus",
        "#include <stdalign.h>",
        "#endif",
        "",
        f"enum {{ {prefix}_num_labels = {len(metadata.labels)}, "
        f"{prefix}_positive_label = {metadata.labels.index(metadata.positive_label)} }};",
        f"static const char *const {prefix}_labels[{prefix}_num_labels] = {{",
        *(f"  {_quote(label)}," for label in metadata.labels),
        "};",
        "",
        *_input_lines(prefix, metadata, network),
        "",
        *_output_lines(prefix, metadata, network),
        "",
        *_array_lines(prefix, content),
        "",
        f"#endif  // {guard}",
        "",
    ]
    return "\n".join(lines)

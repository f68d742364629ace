"""Which bytes an engine runs, and what they take and give: a rival's, or the ``.onnx`` beside a ``.tflite``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgegender.benchmark.engines import EngineEntry
from edgegender.benchmark.measure import Subject
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec
from edgegender.benchmark.rivals import FORMATS, RivalDescription, RivalModel, parse_rival, read_network
from edgegender.entities import QuantizationScheme
from edgegender.errors import ModelFileError, UsageError
from edgegender.runtime.model_file import metadata_to_json, read_model

# Source: onnx/onnx.proto, ModelProto.metadata_props; StringStringEntryProto has key 1 and value 2
_METADATA_PROPS = 14
# Source: protobuf.dev/programming-guides/encoding, wire types
_LENGTH_DELIMITED = 2
_FIXED_BYTES = {1: 8, 5: 4}
_TFLITE, _KERAS = "edgegender.benchmark.rival_tflite", "edgegender.keras_engine"
_ONNX, _OPENVINO = "edgegender.benchmark.engine_onnx", "edgegender.benchmark.engine_openvino"
# format → engine's name → (module, its own variant)
RIVAL_ENGINES = {
    "tflite": {"litert": (_TFLITE, "xnnpack"), "litert-reference": (_TFLITE, "reference")},
    "onnx": {
        "onnxruntime": (_ONNX, ""),
        "openvino": (_OPENVINO, "as_stored"),
        "openvino-float32": (_OPENVINO, "float32"),
    },
    "keras": {
        f"keras-{backend}{suffix}": (_KERAS, f"{backend} {precision}")
        for backend in ("tensorflow", "jax", "torch")
        for suffix, precision in (("", "float32"), ("-bfloat16", "bfloat16"))
    },
}
_KIND_HINT = (
    "A .tflite runs in litert, an .onnx in onnxruntime and openvino, a .keras in keras-tensorflow, -jax, -torch."
)
_EXPORT_HINT = "Make both with: edgegender convert RUN --scheme float32 --onnx"


@dataclass(frozen=True)
class NetworkSource:
    """What an engine needs of a network, whoever made it.

    Args:
        content: The file's bytes, whose hash was checked.
        input: How a picture goes in.
        output: How scores come out.
    """

    content: bytes
    input: InputSpec
    output: OutputSpec


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80 or shift > 63:
            return value, position


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (number, bytes) of the length-delimited fields of a protocol buffer; the others are passed over."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            size, position = _varint(content, position)
            if position + size > len(content):
                raise ValueError("a field beyond the end")
            yield tag >> 3, content[position : position + size]
            position += size
        elif kind == 0:
            _, position = _varint(content, position)
        elif kind in _FIXED_BYTES:
            position += _FIXED_BYTES[kind]
        else:
            raise ValueError("an unknown kind of field")


def read_onnx_metadata(content: bytes) -> dict[str, str]:
    """Returns the ``metadata_props`` of an ONNX file, without any native code.

    Raises:
        ValueError: It is no ONNX file, or a damaged one.
    """
    found = {}
    try:
        for number, entry in _fields(content):
            if number == _METADATA_PROPS:
                pair = dict(_fields(entry))
                found[pair.get(1, b"").decode()] = pair.get(2, b"").decode()
    except IndexError as error:
        raise ValueError("it ends too soon") from error
    return found


def _exported_beside(model: Path) -> NetworkSource:
    """Returns the ``.onnx`` that was exported with a float32 ``.tflite``: it carries the same provenance."""
    file = read_model(model)
    metadata = file.metadata
    if metadata.scheme is not QuantizationScheme.FLOAT32:
        raise UsageError(
            f"Expected a float32 .tflite, whose network is exported as ONNX, got {metadata.scheme.value} ({model}).",
            hint=_EXPORT_HINT,
        )
    path = model.with_suffix(".onnx")
    if not path.is_file():
        raise ModelFileError(f"Expected the network as ONNX beside it, got none ({path}).", hint=_EXPORT_HINT)
    content = read_network(path)
    try:
        props = read_onnx_metadata(content)
    except ValueError as error:
        raise ModelFileError(
            f"Expected an ONNX file, got a damaged one: {error} ({path}).", hint=_EXPORT_HINT
        ) from error
    stored = metadata_to_json(metadata, digest="")
    for key in ("provenance", "labels", "preprocessing"):
        if props.get(key) != json.dumps(stored[key], sort_keys=True, ensure_ascii=False):
            raise ModelFileError(
                f"Expected the ONNX of the same network as {model.name}, got one with other {key} ({path}).",
                hint=_EXPORT_HINT,
            )
    preprocessing = metadata.preprocessing
    spec = InputSpec(
        preprocessing.input_size_px,
        channels="BGR" if preprocessing.scaling == "caffe" else "RGB",
        scaling=preprocessing.scaling,
    )
    return NetworkSource(content, spec, OutputSpec(columns=tuple(range(len(metadata.labels)))))


@dataclass(frozen=True)
class Rival:
    """A rival as a measuring process knows it: what an engine's variant holds.

    Args:
        description: With the sha256 that the network had when it was read first.
        option: What the engine calls a variant, such as a precision; empty for its own choice.
    """

    description: RivalDescription
    option: str


def parse_variant(variant: str) -> Rival | None:
    """Returns the rival that a variant of :func:`rival_entry` speaks of; ``None`` for any other variant."""
    if not variant.startswith("{"):
        return None
    values = json.loads(variant)
    return Rival(parse_rival(values["description"], where="description"), str(values["option"]))


def read_source(model: Path, variant: str, kind: str) -> tuple[NetworkSource, str]:
    """Returns (the network that an engine is asked to run, the engine's own variant).

    Args:
        model: The network of a rival, or a float32 ``.tflite`` of edgegender with its ``.onnx`` beside it.
        variant: From :func:`rival_entry`, or the engine's own.
        kind: What the engine runs: ``tflite``, ``onnx`` or ``keras``.

    Raises:
        UsageError: The file is of another kind.
        ModelFileError: A file is missing, damaged or altered.
    """
    rival = parse_variant(variant)
    if rival is not None:
        about = rival.description
        if FORMATS.get(model.suffix) != kind:
            raise UsageError(f"Expected a rival that ends in .{kind} for this engine, got {model}.", hint=_KIND_HINT)
        return NetworkSource(read_network(model, sha256=about.sha256), about.input, about.output), rival.option
    if kind == "onnx" and model.suffix == ".tflite":
        return _exported_beside(model), variant
    raise UsageError(
        f"Expected a described network or a .tflite of edgegender for this engine, got {model}.",
        hint="See docs/rivals.md.",
    )


def rival_subject(rival: RivalModel) -> Subject:
    """Returns a rival as what :func:`edgegender.benchmark.run.benchmark_model` measures."""
    return Subject(rival.path, rival.record())


def rival_entry(rival: RivalModel, engine: str = "") -> EngineEntry:
    """Returns the engine that runs a rival, told all that it must know.

    Args:
        rival: The network.
        engine: One of ``RIVAL_ENGINES`` of its format; empty takes the first of them.

    Raises:
        UsageError: The engine does not run such a file.
    """
    known = RIVAL_ENGINES[rival.format]
    if engine and engine not in known:
        raise UsageError(
            f"Expected an engine of {', '.join(known)} for {rival.path.name}, got {engine!r}.", hint=_KIND_HINT
        )
    module, option = known[engine or next(iter(known))]
    description = {**rival.values, "sha256": rival.sha256}
    variant = json.dumps({"description": description, "option": option}, ensure_ascii=False)
    return EngineEntry(module, variant, is_parity_only=option == "reference")

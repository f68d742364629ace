"""Classifiers of others under the same harness: a network's file and a small description of what it takes and gives.

A description is a JSON file of schema :data:`RIVAL_SCHEMA`, checked by hand here and documented in
``rival.schema.json``. The network's bytes are read once and hashed before native code sees them; where the description
names a sha256 and it is another, no engine is made.
"""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgegender.benchmark.records import ModelRecord
from edgegender.benchmark.rival_numbers import CHANNELS, KINDS, LAYOUTS, InputSpec, OutputSpec
from edgegender.entities import Preprocessing
from edgegender.errors import ModelFileError, UsageError
from edgegender.preprocess import SCALINGS
from edgegender.runtime.model_file import MAX_MODEL_BYTES

RIVAL_SCHEMA = "edgegender.rival/1"
SCHEMA_FILE = Path(__file__).with_name("rival.schema.json")
FORMATS = {".tflite": "tflite", ".onnx": "onnx", ".keras": "keras"}
MAX_DESCRIPTION_BYTES = 1 << 20
SIZES_PX = range(16, 2049)
_HINT = "What each key means stands in docs/rivals.md."
_MAX_TEXT = 1000
_HEX_DIGITS = 64


@dataclass(frozen=True)
class RivalDescription:
    """What a network of somebody else takes, gives, and is.

    Args:
        name: Short name for tables.
        model: The network's file, relative to the description; no way out of its folder.
        sha256: Of that file; empty where nobody said.
        input: How a picture becomes its input tensor.
        output: How its output tensors become one score a label.
        crop_margin: Side of the crop divided by the side of the face box.
        labels: In the order of the scores.
        positive_label: The label that ``threshold`` and F1 speak of.
        threshold: The positive label is answered from this score on.
        temperature: Divides the log scores before the softmax.
        architecture: For people.
        scheme: How weights and activations are stored, for people, such as ``float32``.
        license: Of the network.
        source: Where it comes from.
    """

    name: str
    model: str
    sha256: str
    input: InputSpec
    output: OutputSpec
    crop_margin: float
    labels: tuple[str, ...]
    positive_label: str
    threshold: float
    temperature: float
    architecture: str
    scheme: str
    license: str
    source: str

    @property
    def preprocessing(self) -> Preprocessing:
        """How a photo is cropped for it; the numbers that the crop becomes are those of ``input``."""
        return Preprocessing(self.input.size_px, self.crop_margin, "raw")


@dataclass(frozen=True)
class RivalModel:
    """A network of somebody else, read and hashed, with its description.

    Args:
        path: The network's file.
        content: Its bytes, as they were hashed: nobody can change them between check and use.
        sha256: Of ``content``.
        format: ``tflite``, ``onnx`` or ``keras``.
        description: What it takes and gives.
        values: The description as it was read, for a measuring process.
    """

    path: Path
    content: bytes
    sha256: str
    format: str
    description: RivalDescription
    values: Mapping[str, object]

    def record(self) -> ModelRecord:
        """Returns what a result says about the network; its folder is not in it."""
        about = self.description
        return ModelRecord(
            name=about.name,
            file_name=self.path.name,
            sha256=self.sha256,
            size_bytes=len(self.content),
            scheme=about.scheme,
            architecture=about.architecture,
            input_size_px=about.input.size_px,
            crop_margin=about.crop_margin,
            labels=about.labels,
            positive_label=about.positive_label,
            threshold=about.threshold,
            temperature=about.temperature,
        )


def _wrong(key: str, expected: str, got: object, where: str) -> UsageError:
    return UsageError(f"Expected {key} to be {expected}, got {got!r:.80} ({where}).", hint=_HINT)


class _Keys:
    """One object of the description: each key is taken once, and what is left over is an error."""

    def __init__(self, value: object, place: str, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place or "the description", "an object", value, where)
        self._values = dict(value)
        self._place, self._where = place, where

    def _name(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def wrong(self, key: str, expected: str, got: object) -> UsageError:
        return _wrong(self._name(key), expected, got, self._where)

    def take(self, key: str, default: object = ...) -> object:
        if key in self._values:
            return self._values.pop(key)
        if default is ...:
            raise UsageError(f"Expected the key {self._name(key)}, got none ({self._where}).", hint=_HINT)
        return default

    def inner(self, key: str) -> _Keys:
        return _Keys(self.take(key), self._name(key), self._where)

    def text(self, key: str, default: object = ...) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or len(value) > _MAX_TEXT or (default is ... and not value.strip()):
            raise self.wrong(key, "text", value)
        return value

    def choice(self, key: str, allowed: Sequence[str], default: object = ...) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(key, f"one of {', '.join(allowed)}", value)
        return value

    def whole(self, key: str, allowed: range, default: object = ...) -> int:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            raise self.wrong(key, f"a whole number from {allowed[0]} to {allowed[-1]}", value)
        return value

    def number(self, key: str, low: float, high: float, default: object = ...) -> float:
        value = self.take(key, default)
        if not _is_number(value) or not low <= float(str(value)) <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}", value)
        return float(str(value))

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.take(key)
        is_sound = isinstance(value, list) and all(isinstance(entry, str) and entry.strip() for entry in value)
        if not isinstance(value, list) or not is_sound or len(value) < 2 or len(set(value)) != len(value):
            raise self.wrong(key, "a list of two different labels or more", value)
        return tuple(value)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self.take(key)
        entries = value if isinstance(value, list) else [value] * count
        if len(entries) != count or not all(_is_number(entry) for entry in entries):
            raise self.wrong(key, f"a number or a list of {count} numbers", value)
        return tuple(float(str(entry)) for entry in entries)

    def end(self) -> None:
        if self._values:
            unknown = ", ".join(self._name(str(key)) for key in self._values)
            raise UsageError(f"Expected known keys only, got {unknown:.200} ({self._where}).", hint=_HINT)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _parse_input(keys: _Keys) -> InputSpec:
    channels = keys.choice("channels", CHANNELS, "RGB")
    count = 1 if channels == "GRAY" else 3
    scaling = keys.take("scaling")
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    if isinstance(scaling, Mapping):
        inner = _Keys(scaling, "input.scaling", keys._where)
        mean, std = inner.numbers("mean", count), inner.numbers("std", count)
        if 0.0 in std:
            raise inner.wrong("std", "numbers other than 0", list(std))
        inner.end()
        scaling = ""
    elif not isinstance(scaling, str) or scaling not in SCALINGS:
        raise keys.wrong("scaling", f"one of {', '.join(SCALINGS)}, or an object with mean and std", scaling)
    elif scaling == "caffe" and channels == "GRAY":
        raise keys.wrong("scaling", "tf, unit, raw or an object for a grey picture", scaling)
    elif scaling == "caffe" and channels != "BGR":
        raise keys.wrong("channels", "BGR with the scaling caffe, which has them in that order", channels)
    spec = InputSpec(
        size_px=keys.whole("size_px", SIZES_PX),
        layout=keys.choice("layout", LAYOUTS, "NHWC"),
        channels=channels,
        scaling=scaling,
        mean=mean,
        std=std,
    )
    keys.end()
    return spec


def _parse_output(keys: _Keys, labels: tuple[str, ...]) -> OutputSpec:
    kind = keys.choice("kind", KINDS)
    is_single = kind in ("sigmoid", "sigmoid_logit")
    if is_single and len(labels) != 2:
        raise keys.wrong("kind", "probabilities, scores or logits for other than two labels", kind)
    num_columns = 1 if is_single else len(labels)
    columns = keys.take("columns", list(range(num_columns)))
    is_sound = isinstance(columns, list) and all(type(entry) is int and 0 <= entry < 1 << 20 for entry in columns)
    if not isinstance(columns, list) or not is_sound or len(columns) != num_columns:
        raise keys.wrong("columns", f"a list of {num_columns} whole number(s), from 0", columns)
    if len(set(columns)) != num_columns:
        raise keys.wrong("columns", "different ones", columns)
    label = keys.choice("label", labels) if is_single else ""
    spec = OutputSpec(
        tensor=keys.whole("tensor", range(64), 0),
        kind=kind,
        columns=tuple(columns),
        label_index=labels.index(label) if label else -1,
    )
    keys.end()
    return spec


def _parse_model(keys: _Keys) -> str:
    model = keys.text("model")
    path = PurePosixPath(model)
    if path.is_absolute() or ".." in path.parts or "\\" in model or "\0" in model or path.suffix not in FORMATS:
        raise keys.wrong("model", f"a file below the description's folder that ends in {', '.join(FORMATS)}", model)
    return model


def parse_rival(values: object, *, where: str) -> RivalDescription:
    """Returns a description after checking every key of it.

    Args:
        values: What ``json.loads`` gave.
        where: What to call it in an error.

    Raises:
        UsageError: A key is missing, unknown, or has a value that makes no sense; the message names it.
    """
    keys = _Keys(values, "", where)
    schema = keys.take("schema")
    if schema != RIVAL_SCHEMA:
        raise UsageError(f"Expected a description of schema {RIVAL_SCHEMA}, got {schema!r:.60} ({where}).", hint=_HINT)
    labels = keys.texts("labels")
    sha256 = keys.text("sha256", "")
    if sha256 and (len(sha256) != _HEX_DIGITS or set(sha256) - set("0123456789abcdef")):
        raise keys.wrong("sha256", "64 hexadecimal digits in lower case", sha256)
    model = _parse_model(keys)
    description = RivalDescription(
        name=keys.text("name", PurePosixPath(model).stem),
        model=model,
        sha256=sha256,
        input=_parse_input(keys.inner("input")),
        output=_parse_output(keys.inner("output"), labels),
        crop_margin=keys.number("crop_margin", 0.5, 10, 1.0),
        labels=labels,
        positive_label=keys.choice("positive_label", labels),
        threshold=keys.number("threshold", 0, 1, 0.5),
        temperature=keys.number("temperature", 0.01, 100, 1.0),
        architecture=keys.text("architecture", ""),
        scheme=keys.text("scheme", ""),
        license=keys.text("license"),
        source=keys.text("source"),
    )
    keys.end()
    return description


def _read_values(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_DESCRIPTION_BYTES + 1)
    except OSError as error:
        raise UsageError(f"Expected a rival's description, got {error.strerror or error} ({path}).") from error
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise UsageError(f"Expected a description under {MAX_DESCRIPTION_BYTES >> 10} KiB, got a larger file ({path}).")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"Expected JSON, got {error} ({path}).", hint=_HINT) from error
    if not isinstance(values, dict):
        raise _wrong("the description", "an object", values, path.name)
    return values


def read_network(path: Path, *, sha256: str = "") -> bytes:
    """Returns the bytes of a network's file.

    Args:
        path: The file.
        sha256: What it must be; empty where nobody said.

    Raises:
        ModelFileError: It is missing, empty, too large, no plain file, or has another sha256.
    """
    try:
        status = path.stat()
        is_plain = stat.S_ISREG(status.st_mode)
        content = path.read_bytes() if is_plain and status.st_size <= MAX_MODEL_BYTES else b""
    except OSError as error:
        raise ModelFileError(
            f"Expected the rival's network, got {error.strerror or error} ({path}).",
            hint="The key model names it, relative to the description.",
        ) from error
    if not content:
        raise ModelFileError(
            f"Expected a network of 1 byte to {MAX_MODEL_BYTES >> 20} MiB, got another file ({path}).",
        )
    got = hashlib.sha256(content).hexdigest()
    if sha256 and got != sha256:
        raise ModelFileError(
            f"Expected sha256 {sha256[:12]}…, got {got[:12]}… ({path}).",
            hint="The network was altered, or the description speaks of another version of it.",
        )
    return content


def read_rival(path: Path) -> RivalModel:
    """Returns a described network, whose bytes have the hash that the description names.

    Args:
        path: The description; the network stands beside or below it.

    Raises:
        UsageError: The description is missing or wrong; the message names the key.
        ModelFileError: The network is missing, too large, or has another sha256.
    """
    values = _read_values(path)
    description = parse_rival(values, where=path.name)
    file = path.parent / description.model
    content = read_network(file, sha256=description.sha256)
    return RivalModel(file, content, hashlib.sha256(content).hexdigest(), FORMATS[file.suffix], description, values)

"""Reading a model file: hash and structure are checked here, in Python, before native code sees a byte.

A ``.tflite`` of edgegender carries its metadata as JSON in a metadata buffer called ``edgegender``. The JSON holds a
``digest``: the sha256 of the whole file with the digest's own 64 digits set to zeros. So the file verifies itself, and
the ``.json`` beside it, with the sha256 of the finished file, is a second witness.

(62 % of bit-flipped quantized files load and run in LiteRT with changed scores and without an error; only a hash
sees them.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import ModelFileError
from edgegender.preprocess import SCALINGS

METADATA_NAME = "edgegender"
METADATA_SCHEMA = "edgegender.model/1"
EMPTY_DIGEST = "0" * 64
MAX_MODEL_BYTES = 512 * 1024 * 1024
_FILE_IDENTIFIER = b"TFL3"  # FlatBuffers file identifier of the TensorFlow Lite schema, version 3
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6  # field numbers of table Model, tensorflow/compiler/mlir/lite/schema/schema.fbs
_METADATA_NAME, _METADATA_BUFFER = 0, 1  # of table Metadata
_BUFFER_DATA = 0  # of table Buffer
_HINT_EMBEDDED = "Leave the argument out to use the embedded model."
_DIGEST = re.compile("[0-9a-f]{64}")
_TEXT_FIELDS = ("positive_label", "architecture", "name", "created", "license", "intended_use")


@dataclass(frozen=True)
class ModelFile:
    """A verified model.

    Args:
        path: Where it was read from.
        content: The file's bytes, as they were verified: nobody can change them between check and use.
        metadata: What the file says about itself.
        sha256: Of ``content``.
    """

    path: Path
    content: bytes
    metadata: ModelMetadata
    sha256: str


class _FlatBuffer:
    """Just enough of the FlatBuffers format to find one buffer. Every read is bounds-checked by ``struct``."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def _uint32(self, position: int) -> int:
        if position < 0:
            raise struct.error("negative offset")
        return int(struct.unpack_from("<I", self._content, position)[0])

    def root(self) -> int:
        return self._uint32(0)

    def field(self, table: int, number: int) -> int:
        """Returns where a table's field stands, 0 when it is absent."""
        if table < 0:
            raise struct.error("negative offset")
        vtable = table - struct.unpack_from("<i", self._content, table)[0]
        if vtable < 0:
            raise struct.error("negative offset")
        size = struct.unpack_from("<H", self._content, vtable)[0]
        slot = 4 + 2 * number
        offset = struct.unpack_from("<H", self._content, vtable + slot)[0] if slot + 2 <= size else 0
        return table + offset if offset else 0

    def vector(self, field: int) -> tuple[int, int]:
        """Returns (start of the elements, how many)."""
        start = field + self._uint32(field)
        return start + 4, self._uint32(start)

    def tables(self, field: int) -> list[int]:
        start, count = self.vector(field)
        if count > len(self._content) // 4:
            raise struct.error("vector longer than the file")
        return [start + 4 * index + self._uint32(start + 4 * index) for index in range(count)]

    def data(self, field: int) -> bytes:
        start, count = self.vector(field)
        if start + count > len(self._content):
            raise struct.error("vector longer than the file")
        return self._content[start : start + count]

    def scalar(self, field: int) -> int:
        return self._uint32(field) if field else 0


def _find_metadata(content: bytes) -> bytes | None:
    """Returns the JSON in the metadata buffer, ``None`` when there is none."""
    buffer = _FlatBuffer(content)
    root = buffer.root()
    metadata_field, buffers_field = buffer.field(root, _MODEL_METADATA), buffer.field(root, _MODEL_BUFFERS)
    if not metadata_field or not buffers_field:
        return None
    buffers = buffer.tables(buffers_field)
    for entry in buffer.tables(metadata_field):
        name_field = buffer.field(entry, _METADATA_NAME)
        if name_field and buffer.data(name_field) == METADATA_NAME.encode():
            index = buffer.scalar(buffer.field(entry, _METADATA_BUFFER))
            if index >= len(buffers):
                raise struct.error("buffer index out of range")
            data_field = buffer.field(buffers[index], _BUFFER_DATA)
            return buffer.data(data_field) if data_field else None
    return None


def compute_digest(content: bytes, digest: str) -> str:
    """Returns the sha256 of a file with the digits of its own ``digest`` set to zeros.

    Args:
        content: The whole file.
        digest: The 64 digits that stand in the file once.
    """
    return hashlib.sha256(content.replace(digest.encode(), EMPTY_DIGEST.encode(), 1)).hexdigest()


def metadata_to_json(metadata: ModelMetadata, *, digest: str) -> dict[str, object]:
    """Returns the metadata as it is stored, with ``digest`` in it."""
    values = dataclasses.asdict(metadata)
    values["scheme"] = metadata.scheme.value
    values["labels"] = list(metadata.labels)
    return {"schema": METADATA_SCHEMA, "digest": digest, **values}


def metadata_from_json(values: Mapping[str, object]) -> ModelMetadata:
    """Returns stored metadata.

    Raises:
        ValueError: A field is missing, has another type, or is out of its range.
    """
    try:
        named = {field.name: values[field.name] for field in dataclasses.fields(ModelMetadata)}
        raw_labels, raw_preprocessing = named["labels"], named["preprocessing"]
        texts = [named[name] for name in _TEXT_FIELDS]
        if not (
            isinstance(raw_labels, list)
            and isinstance(raw_preprocessing, dict)
            and isinstance(named["metrics"], dict)
            and isinstance(named["provenance"], dict)
            and all(isinstance(text, str) for text in (*texts, *raw_labels))
        ):
            raise TypeError("a field has another type")  # noqa: TRY301 - one way out for all of these
        named["labels"] = tuple(raw_labels)
        named["preprocessing"] = Preprocessing(
            int(raw_preprocessing["input_size_px"]),
            float(raw_preprocessing["crop_margin"]),
            str(raw_preprocessing.get("scaling", "tf")),  # the first files knew no other
        )
        named["scheme"] = QuantizationScheme(str(named["scheme"]))
        metadata = ModelMetadata(**named)  # type: ignore[arg-type] # the types are checked below
        is_sound = (
            len(set(metadata.labels)) == len(metadata.labels) >= 2
            and metadata.positive_label in metadata.labels
            and 16 <= metadata.preprocessing.input_size_px <= 2048
            and 0.5 <= metadata.preprocessing.crop_margin <= 10
            and metadata.preprocessing.scaling in SCALINGS
            and 0 <= metadata.threshold <= 1
            and 0.01 <= metadata.temperature <= 100
            and 0 <= metadata.unsure_below <= 1
        )
    except KeyError as error:
        raise ValueError(f"metadata without {error}") from error
    except (TypeError, ValueError, OverflowError) as error:  # int() of infinity overflows
        raise ValueError(f"metadata of another kind: {error}") from error
    if not is_sound:
        raise ValueError("metadata with a value out of its range")
    return metadata


def _check_sidecar(path: Path, sha256: str) -> None:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return
    try:
        values = json.loads(sidecar.read_text("utf-8"))
        expected = values["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"Expected the sha256 of the model, got a damaged file ({sidecar}).",
            hint="Copy the .tflite and its .json again.",
        ) from error
    if expected != sha256:
        raise ModelFileError(
            f"Expected sha256 {str(expected)[:12]}…, got {sha256[:12]}… ({path}).",
            hint="The model was altered or belongs to another .json: copy both again from where they were made.",
        )


def parse_model(content: bytes, *, where: str) -> ModelMetadata:
    """Returns a model's metadata after checking that no byte was altered.

    Args:
        content: The whole ``.tflite``.
        where: What to call it in an error.

    Raises:
        ModelFileError: It is no ``.tflite``, truncated, altered, or not made by edgegender.
    """
    if content[4:8] != _FILE_IDENTIFIER:
        raise ModelFileError(
            f"Expected a .tflite model, got another file ({where}).",
            hint="Make one with: edgegender convert RUN --int8",
        )
    try:
        stored = _find_metadata(content)
    except struct.error as error:
        raise ModelFileError(
            f"Expected a complete .tflite model, got a truncated or damaged one ({where}).", hint="Copy it again."
        ) from error
    if stored is None:
        raise ModelFileError(
            f"Expected a model made by edgegender, got a .tflite without its metadata ({where}).",
            hint="Labels and preprocessing of other models are unknown; convert a run with edgegender convert.",
        )
    try:
        values = json.loads(stored)
        schema, digest = str(values["schema"]), str(values["digest"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # RecursionError: "[[[[…"
        raise ModelFileError(
            f"Expected readable metadata, got damaged data ({where}).", hint="Copy it again."
        ) from error
    if not _DIGEST.fullmatch(digest) or compute_digest(content, digest) != digest:
        raise ModelFileError(
            f"Expected the digest that stands in the model, got another ({where}).",
            hint="The file was altered or truncated: copy it again from where it was made.",
        )
    if schema != METADATA_SCHEMA:
        raise ModelFileError(f"Expected metadata {METADATA_SCHEMA}, got {schema} ({where}).", hint="Update edgegender.")
    try:
        return metadata_from_json(values)
    except ValueError as error:
        raise ModelFileError(
            f"Expected sound metadata, got {error} ({where}).", hint="Convert the run again with edgegender convert."
        ) from error


def read_model(path: Path) -> ModelFile:
    """Returns a verified model file: its own digest and, where it stands, the ``.json`` beside it are checked.

    Raises:
        ModelFileError: The file is missing, no model, truncated, altered, or its ``.json`` names another sha256.
    """
    try:
        status = path.stat()
        is_plain = stat.S_ISREG(status.st_mode)  # a named pipe would wait for ever, /dev/zero would fill the memory
        content = path.read_bytes() if is_plain and status.st_size <= MAX_MODEL_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else None
        raise ModelFileError(f"Expected a model file, got {reason or error} ({path}).", hint=_HINT_EMBEDDED) from error
    if not is_plain:
        raise ModelFileError(f"Expected a model file, got a folder or a device ({path}).", hint=_HINT_EMBEDDED)
    if status.st_size > MAX_MODEL_BYTES:
        raise ModelFileError(
            f"Expected a model under {MAX_MODEL_BYTES >> 20} MiB, got a larger file ({path}).", hint=_HINT_EMBEDDED
        )
    metadata = parse_model(content, where=str(path))
    sha256 = hashlib.sha256(content).hexdigest()
    _check_sidecar(path, sha256)
    return ModelFile(path, content, metadata, sha256)


def embedded_model_path() -> Path:
    """Returns where the model that comes with the package stands."""
    return Path(__file__).resolve().parent.parent / "models" / "default.tflite"

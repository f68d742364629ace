"""Writing metadata into a ``.tflite``, and its digest."""

from __future__ import annotations

import json

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgegender.conversion import flatbuffer
from edgegender.entities import ModelMetadata
from edgegender.runtime.model_file import (
    EMPTY_DIGEST,
    METADATA_NAME,
    compute_digest,
    metadata_to_json,
    parse_model,
)


def add_metadata(content: bytes, metadata: ModelMetadata) -> bytes:
    """Returns a ``.tflite`` with edgegender's metadata inside, readable by :func:`parse_model`.

    The operators and weights are not touched. Metadata of the same name is replaced.

    Args:
        content: A ``.tflite`` as the converter wrote it.
        metadata: What it says about itself.

    Raises:
        ModelFileError: A value is out of its range.
        ValueError: A figure is NaN or infinite.
    """
    model = flatbuffer.unpack(content)
    values = metadata_to_json(metadata, digest=EMPTY_DIGEST)
    stored = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(stored, np.uint8)
    entry = schema.MetadataT()
    entry.name = METADATA_NAME
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    kept = [other for other in model.metadata or [] if other.name not in (METADATA_NAME, METADATA_NAME.encode())]
    model.metadata = [*kept, entry]
    packed = flatbuffer.pack(model)
    # The digest is computed over the file with zeros in its place, then written there; the length stays the same.
    digest = compute_digest(packed, EMPTY_DIGEST)
    finished = packed.replace(f'"digest": "{EMPTY_DIGEST}"'.encode(), f'"digest": "{digest}"'.encode(), 1)
    parse_model(finished, where="the converted model")  # read back before anybody else does
    return finished

"""Recorded results: a versioned, self-contained JSON document that notices when somebody edits it.

``result_sha256`` is the sha256 of the document without that key, as JSON with sorted keys, no spaces, UTF-8 and
Python's shortest form of a float. It guards against slips and careless edits; it is no signature.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from edgegender import files
from edgegender.benchmark.decode import decode
from edgegender.benchmark.percentiles import PERCENTS
from edgegender.benchmark.records import BenchmarkResult
from edgegender.errors import ResultFileError, UsageError

RESULT_SCHEMA = "edgegender.benchmark/2"
SCHEMA_FILE = Path(__file__).with_name("result.schema.json")
MAX_RESULT_BYTES = 256 * 1024 * 1024
RESULT_SUFFIXES = (".json", ".json.gz")
_GZIP_MAGIC = b"\x1f\x8b"
_SCHEMA_NAME, _SCHEMA_VERSION = RESULT_SCHEMA.split("/")
# A JSON string holds no line break, so that only real arrays of whole numbers match.
_SPREAD_NUMBERS = re.compile(r"\[\n\s*(-?\d+(?:,\n\s*-?\d+)*)\n\s*\]")


def compute_result_sha256(document: Mapping[str, object]) -> str:
    """Returns the hash over a document without its ``result_sha256``.

    Raises:
        ValueError: It holds NaN or infinity.
    """
    rest = {name: value for name, value in document.items() if name != "result_sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def result_to_json(result: BenchmarkResult) -> dict[str, object]:
    """Returns a result as the JSON document that is recorded, with schema and hash."""
    plain: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(result), allow_nan=False))  # tuples to lists
    document = {"schema": RESULT_SCHEMA, **plain}
    return {**document, "result_sha256": compute_result_sha256(document)}


def format_document(document: Mapping[str, object]) -> str:
    """Returns indented JSON in which the raw latencies take one line each instead of one a number."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    return _SPREAD_NUMBERS.sub(lambda found: f"[{''.join(found[1].split())}]", text) + "\n"


def write_result(path: Path, result: BenchmarkResult) -> None:
    """Writes a result, whole or not at all; compressed where the name ends in ``.gz``.

    Raises:
        OutputError: The file cannot be written.
    """
    content = format_document(result_to_json(result)).encode()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)  # the same result gives the same bytes
    files.write_bytes(path, content)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _decompress(content: bytes, path: Path) -> bytes:
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            plain = stream.read(MAX_RESULT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ResultFileError(
            f"Expected a whole compressed file, got a damaged one ({path}).",
            hint="Copy the result again from where it was made.",
        ) from error
    if len(plain) > MAX_RESULT_BYTES:
        raise ResultFileError(f"Expected a result under {MAX_RESULT_BYTES >> 20} MiB, got a larger file ({path}).")
    return plain


def _read_document(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > MAX_RESULT_BYTES:
            raise ResultFileError(f"Expected a result under {MAX_RESULT_BYTES >> 20} MiB, got a larger file ({path}).")
        content = path.read_bytes()
    except OSError as error:
        raise ResultFileError(
            f"Expected a recorded result, got {error.strerror or error} ({path}).",
            hint="Record one with: edgegender benchmark --data faces.csv -o result.json",
        ) from error
    plain = _decompress(content, path)
    try:
        document = json.loads(plain, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ResultFileError(
            f"Expected JSON, got a damaged or other file ({path}).",
            hint="Copy the result again from where it was made.",
        ) from error
    if not isinstance(document, dict):
        raise ResultFileError(f"Expected a recorded result, got other JSON ({path}).")
    return document


def _check_schema(document: Mapping[str, object], path: Path) -> None:
    schema = document.get("schema")
    found = re.fullmatch(rf"{re.escape(_SCHEMA_NAME)}/(\d{{1,9}})", schema) if isinstance(schema, str) else None
    if found is None:
        got = f"a document of schema {schema!r:.60}" if schema is not None else "other JSON"
        raise ResultFileError(
            f"Expected a result of schema {RESULT_SCHEMA}, got {got} ({path}).",
            hint="Results are made by: edgegender benchmark -o result.json",
        )
    if int(found[1]) > int(_SCHEMA_VERSION) or int(found[1]) < 1:
        raise ResultFileError(
            f"Expected a result of schema {RESULT_SCHEMA}, got {schema} ({path}).",
            hint="A newer edgegender made it: pip install --upgrade edgegender",
        )


def upgrade(document: Mapping[str, object]) -> Mapping[str, object]:
    """Returns a document of an older schema as one of this schema: what it did not say is filled in as it was then.

    Schema 1 knew one engine (the runtime's own, with XNNPACK), one picture a run, and neither energy nor parity.
    """
    if document.get("schema") != f"{_SCHEMA_NAME}/1":
        return document
    machine, versions, durations = (document.get(name) for name in ("machine", "versions", "durations"))
    latencies = document.get("latencies")
    if not (isinstance(machine, dict) and isinstance(versions, dict) and isinstance(durations, dict)):
        return document  # the decoder says what is missing
    if not isinstance(latencies, list):
        return document
    engine = {"name": versions.get("runtime_name"), "version": versions.get("runtime_version")}
    return {
        **document,
        "engine": {**engine, "delegate": "xnnpack", "precision": "as_stored"},
        "parity": None,
        "machine": {**machine, "emulator": ""},
        "durations": {**durations, "preset": ""},
        "latencies": [
            {**record, "batch_size": 1, "joules_per_run": None} if isinstance(record, dict) else record
            for record in latencies
        ],
    }


def _require_sound(result: BenchmarkResult) -> None:
    """Checks what a table relies on and types do not say."""
    if not result.latencies:
        raise ValueError("latencies: empty")
    for record in result.latencies:
        missing = set(PERCENTS) - {entry.percent for entry in record.percentiles}
        if missing or not record.latencies_ns:
            raise ValueError(f"latencies: no p{min(missing, default=50)}")
    if (result.data is None) != (result.evaluation is None):
        raise ValueError("data and evaluation: one without the other")
    if result.evaluation and result.evaluation.positive_label not in result.evaluation.by_label:
        raise ValueError("evaluation: the positive label has no figures")


def parse_result(document: Mapping[str, object], *, where: str) -> BenchmarkResult:
    """Returns the result in a document after checking its schema and its hash.

    Args:
        document: What ``json.loads`` gave.
        where: What to call it in an error.

    Raises:
        ResultFileError: The schema is another one, a value was edited, or a field is missing.
    """
    path = Path(where)
    _check_schema(document, path)
    try:
        digest = compute_result_sha256(document)
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"Expected finite numbers, got others ({path}).") from error
    if document.get("result_sha256") != digest:
        raise ResultFileError(
            f"Expected the result_sha256 that stands in the result, got another ({path}).",
            hint="The file was edited or damaged: copy it again from where it was made, or measure again.",
        )
    try:
        result = decode(BenchmarkResult, upgrade(document))
        _require_sound(result)
        return result
    except (ValueError, UsageError) as error:
        raise ResultFileError(f"Expected a sound result, got {error} ({path}).") from error


def read_result(path: Path) -> BenchmarkResult:
    """Returns a recorded result.

    Raises:
        ResultFileError: The file is missing, no JSON, of another schema, edited, or lacks a field.
    """
    return parse_result(_read_document(path), where=str(path))

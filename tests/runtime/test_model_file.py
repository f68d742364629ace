"""A model file verifies itself: every altered byte is refused, in Python, before native code sees it."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl
from hypothesis import given
from hypothesis import strategies as st

from edgegender import files
from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import ModelFileError
from edgegender.runtime import model_file
from edgegender.runtime.model_file import (
    EMPTY_DIGEST,
    METADATA_NAME,
    METADATA_SCHEMA,
    compute_digest,
    embedded_model_path,
    metadata_from_json,
    metadata_to_json,
    parse_model,
    read_model,
)
from tests.tiny_model import build_network, build_tiny_model

METADATA = ModelMetadata(
    labels=("female", "male"),
    positive_label="male",
    preprocessing=Preprocessing(32, 1.3),
    architecture="brightness",
    scheme=QuantizationScheme.FULL_INTEGER,
    threshold=0.4,
    temperature=1.5,
    unsure_below=0.7,
    name="tiny",
    created="2026-01-02T03:04:05+00:00",
    metrics={"accuracy": {"value": 0.9}},
    provenance={"recipe": "demo"},
    license="Apache-2.0",
    intended_use="Tests.",
)
GOOD_JSON = metadata_to_json(METADATA, digest=EMPTY_DIGEST)


def embed(stored: bytes, *, name: str = METADATA_NAME, buffer_index: int | None = None) -> bytes:
    """Returns a tiny network with any bytes as its metadata: what a hostile or an old writer could leave."""
    model = tfl.ModelT.InitFromPackedBuf(build_network())
    buffer, entry = tfl.BufferT(), tfl.MetadataT()
    buffer.data = np.frombuffer(stored, np.uint8)
    entry.name, entry.buffer = name, len(model.buffers) if buffer_index is None else buffer_index
    model.buffers.append(buffer)
    model.metadata = [entry]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def seal(values: object) -> bytes:
    """Returns a model whose metadata are ``values``, with a digest that holds."""
    content = embed(json.dumps(values).encode())
    digest = compute_digest(content, EMPTY_DIGEST)
    return content.replace(EMPTY_DIGEST.encode(), digest.encode(), 1)


@pytest.fixture(scope="module", params=["tiny", "embedded"])
def content(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if request.param == "embedded":
        return embedded_model_path().read_bytes()
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.tflite").read_bytes()


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns the content with one to eight bits turned over."""
    altered = bytearray(content)
    for position in rng.choice(len(content), size=int(rng.integers(1, 9)), replace=False).tolist():
        altered[position] ^= 1 << int(rng.integers(8))
    return bytes(altered)


# Damage: all of it is seen


def test_a_whole_model_passes(content: bytes) -> None:
    assert parse_model(content, where="test").labels == ("female", "male")


def test_each_of_300_flipped_files_is_refused(content: bytes) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        altered = flip_bits(content, rng)
        assert altered != content
        with pytest.raises(ModelFileError, match="Expected "):
            parse_model(altered, where="flipped")


def test_each_flipped_bit_of_the_metadata_is_refused(tmp_path: Path) -> None:
    """The digest's own digits and the JSON around them are no blind spot."""
    content = build_tiny_model(tmp_path / "tiny.tflite").read_bytes()
    stored = model_file._find_metadata(content)
    assert stored is not None
    start = content.index(stored)
    for position in range(start, start + len(stored)):
        altered = bytearray(content)
        altered[position] ^= 1 << position % 8
        with pytest.raises(ModelFileError, match="Expected "):
            parse_model(bytes(altered), where="flipped")


def test_each_truncated_file_is_refused(content: bytes) -> None:
    rng = np.random.default_rng(2)
    lengths = [0, 1, 4, 7, 8, 11, 12, len(content) - 1, *rng.integers(8, len(content), 60).tolist()]
    for length in lengths:
        with pytest.raises(ModelFileError, match="Expected "):
            parse_model(content[:length], where="truncated")


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"PK\x05\x06", bytes(4096)])
def test_a_file_with_something_appended_is_refused(content: bytes, tail: bytes) -> None:
    with pytest.raises(ModelFileError, match="digest"):
        parse_model(content + tail, where="appended")


def test_blocks_of_zeros_such_as_a_full_disk_leaves_are_refused(content: bytes) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        start = int(rng.integers(8, len(content) - 512))
        altered = content[:start] + bytes(512) + content[start + 512 :]
        if altered != content:
            with pytest.raises(ModelFileError, match="Expected "):
                parse_model(altered, where="zeros")


@pytest.mark.parametrize("has_sidecar", [True, False])
def test_an_altered_file_is_refused_with_and_without_the_json_beside_it(tmp_path: Path, has_sidecar: bool) -> None:
    path = build_tiny_model(tmp_path / "m.tflite", has_sidecar=has_sidecar)
    rng = np.random.default_rng(4)
    whole = path.read_bytes()
    for _ in range(50):
        path.write_bytes(flip_bits(whole, rng))
        with pytest.raises(ModelFileError, match="Expected ") as caught:
            read_model(path)
        assert caught.value.hint
    path.write_bytes(whole)
    assert read_model(path).content == whole


@given(st.binary(max_size=2000))
def test_random_bytes_are_refused_and_nothing_else_happens(content: bytes) -> None:
    with pytest.raises(ModelFileError, match="Expected "):
        parse_model(content, where="random")


@given(st.binary(max_size=400), st.integers(0, 2**32 - 1))
def test_random_bytes_with_the_right_identifier_are_refused(content: bytes, root: int) -> None:
    with pytest.raises(ModelFileError, match="Expected "):
        parse_model(struct.pack("<I", root % 512) + b"TFL3" + content, where="random")


@given(st.binary(max_size=300))
def test_random_metadata_in_a_whole_model_are_refused(stored: bytes) -> None:
    with pytest.raises(ModelFileError, match="Expected "):
        parse_model(embed(stored), where="random")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(GOOD_JSON)), JSON_VALUES)
def test_any_value_in_any_field_is_taken_or_refused_and_nothing_else_happens(name: str, value: object) -> None:
    try:
        content = seal({**GOOD_JSON, name: value})
    except UnicodeEncodeError:  # a lone surrogate cannot be written
        return
    try:
        metadata = parse_model(content, where="fuzzed")
    except ModelFileError:
        return
    assert metadata.positive_label in metadata.labels


# Files that are not ours


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.tflite"
    path.touch()
    with pytest.raises(ModelFileError, match=r"Expected a \.tflite model, got another file"):
        read_model(path)


@pytest.mark.parametrize("text", ["hello", "{}", "TFL3", "<html>404</html>"])
def test_a_text_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.tflite"
    path.write_text(text)
    with pytest.raises(ModelFileError, match=r"Expected a \.tflite model, got another file") as caught:
        read_model(path)
    assert "edgegender convert" in caught.value.hint


def test_a_foreign_tflite_is_refused_as_one_without_our_metadata() -> None:
    for foreign in (build_network(), embed(b"{}", name="TFLITE_METADATA")):
        with pytest.raises(ModelFileError, match="Expected a model made by edgegender") as caught:
            parse_model(foreign, where="foreign")
        assert "convert" in caught.value.hint


def test_a_foreign_model_of_the_wild_is_refused() -> None:
    file = Path(__file__).parents[3] / "shared" / "models" / "face_detection_short_range.tflite"
    if not file.is_file():
        pytest.skip(f"no foreign model at {file}")
    with pytest.raises(ModelFileError, match="Expected a model made by edgegender"):
        read_model(file)


def test_a_buffer_index_beyond_the_buffers_is_refused() -> None:
    with pytest.raises(ModelFileError, match="truncated or damaged"):
        parse_model(embed(b"{}", buffer_index=4_000_000), where="index")


def test_metadata_without_a_buffer_are_refused() -> None:
    with pytest.raises(ModelFileError, match="without its metadata"):
        parse_model(embed(b"{}", buffer_index=0), where="no data")  # buffer 0 is the empty one


@pytest.mark.parametrize(
    "stored",
    [b"", b"null", b"[]", b"3", b'"digest"', b"{}", b'{"schema": 1}', b"\xff\xfe", b"[" * 200_000, b'{"a":' * 200_000],
    ids=["empty", "null", "list", "number", "text", "object", "no digest", "no UTF-8", "deep list", "deep object"],
)
def test_metadata_that_are_no_json_object_of_ours_are_refused(stored: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"Expected (readable metadata|a model made by edgegender)"):
        parse_model(embed(stored), where="stored")


@pytest.mark.parametrize("digest", ["", "0" * 63, "z" * 64, "A" * 64, "\ud800" * 64, None, 7])
def test_a_digest_that_is_none_is_refused(digest: object) -> None:
    with pytest.raises(ModelFileError, match="Expected the digest that stands in the model"):
        parse_model(embed(json.dumps({**GOOD_JSON, "digest": digest}).encode()), where="digest")


# Metadata


def test_metadata_read_back_as_they_were_written() -> None:
    assert parse_model(seal(GOOD_JSON), where="sealed") == METADATA


@pytest.mark.parametrize("schema", ["edgegender.model/2", "edgegender.model", "", None])
def test_another_schema_is_refused_with_the_way_out(schema: object) -> None:
    with pytest.raises(ModelFileError, match=f"Expected metadata {METADATA_SCHEMA}") as caught:
        parse_model(seal({**GOOD_JSON, "schema": schema}), where="newer")
    assert "Update edgegender" in caught.value.hint


BAD_VALUES: dict[str, tuple[str, object]] = {
    "one label": ("labels", ["male"]),
    "no labels": ("labels", []),
    "a label twice": ("labels", ["male", "male"]),
    "labels as text": ("labels", "female,male"),
    "labels as numbers": ("labels", [0, 1]),
    "positive label unknown": ("positive_label", "young"),
    "positive label a number": ("positive_label", 1),
    "input too small": ("preprocessing", {"input_size_px": 15, "crop_margin": 1.3}),
    "input too large": ("preprocessing", {"input_size_px": 2049, "crop_margin": 1.3}),
    "input infinite": ("preprocessing", {"input_size_px": float("inf"), "crop_margin": 1.3}),
    "input not a number": ("preprocessing", {"input_size_px": float("nan"), "crop_margin": 1.3}),
    "input a word": ("preprocessing", {"input_size_px": "large", "crop_margin": 1.3}),
    "input missing": ("preprocessing", {"crop_margin": 1.3}),
    "margin negative": ("preprocessing", {"input_size_px": 32, "crop_margin": -1}),
    "margin huge": ("preprocessing", {"input_size_px": 32, "crop_margin": 11}),
    "margin nan": ("preprocessing", {"input_size_px": 32, "crop_margin": float("nan")}),
    "preprocessing a list": ("preprocessing", [32, 1.3]),
    "scheme unknown": ("scheme", "int4"),
    "threshold negative": ("threshold", -0.1),
    "threshold above one": ("threshold", 1.1),
    "threshold nan": ("threshold", float("nan")),
    "threshold text": ("threshold", "0.5"),
    "temperature zero": ("temperature", 0),
    "temperature huge": ("temperature", 1e9),
    "temperature null": ("temperature", None),
    "band above one": ("unsure_below", 1.5),
    "metrics a list": ("metrics", []),
    "provenance null": ("provenance", None),
    "name a number": ("name", 3),
    "licence missing": ("license", None),
}


@pytest.mark.parametrize(("name", "value"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_a_value_out_of_its_range_is_refused(name: str, value: object) -> None:
    values = {**copy.deepcopy(GOOD_JSON), name: value}
    with pytest.raises(ModelFileError, match="Expected sound metadata, got metadata"):
        parse_model(seal(values), where="range")


@pytest.mark.parametrize("name", sorted(set(GOOD_JSON) - {"schema", "digest"}))
def test_a_missing_field_is_named(name: str) -> None:
    values = {key: value for key, value in GOOD_JSON.items() if key != name}
    with pytest.raises(ModelFileError, match=f"Expected sound metadata, got metadata without '{name}'"):
        parse_model(seal(values), where="missing")
    with pytest.raises(ValueError, match=name):
        metadata_from_json(values)


def test_a_field_that_is_not_known_yet_is_passed_over() -> None:
    assert parse_model(seal({**GOOD_JSON, "later": 1}), where="later") == METADATA


def test_the_digest_is_the_sha256_with_its_own_digits_as_zeros() -> None:
    content = seal(GOOD_JSON)
    digest = json.loads(model_file._find_metadata(content) or b"")["digest"]
    assert content.count(digest.encode()) == 1
    assert compute_digest(content, digest) == digest
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


# The .json beside it


def alter_sidecar(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    values = json.loads(path.with_suffix(".json").read_text())
    change(values)
    path.with_suffix(".json").write_text(json.dumps(values))


def test_another_sha256_in_the_sidecar_refuses_the_model(tmp_path: Path) -> None:
    path = build_tiny_model(tmp_path / "m.tflite")
    alter_sidecar(path, lambda values: values.update(sha256="0" * 64))
    with pytest.raises(ModelFileError, match="Expected sha256 000000000000…, got ") as caught:
        read_model(path)
    assert "altered or belongs to another" in caught.value.hint


def test_a_model_beside_the_sidecar_of_another_model_is_refused(tmp_path: Path) -> None:
    path = build_tiny_model(tmp_path / "m.tflite")
    build_tiny_model(tmp_path / "other.tflite", name="other")
    (tmp_path / "other.json").replace(tmp_path / "m.json")
    with pytest.raises(ModelFileError, match="Expected sha256"):
        read_model(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"sha": 1}', "[" * 100_000, "\udcff"],
    ids=["empty", "cut", "list", "null", "no sha256", "another name", "deep", "no UTF-8"],
)
def test_a_damaged_sidecar_refuses_the_model(tmp_path: Path, text: str) -> None:
    path = build_tiny_model(tmp_path / "m.tflite")
    path.with_suffix(".json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelFileError, match="got a damaged file") as caught:
        read_model(path)
    assert caught.value.hint


@pytest.mark.parametrize("value", [None, 5, ["a"], {"b": 1}])
def test_a_sha256_of_another_type_refuses_the_model(tmp_path: Path, value: object) -> None:
    path = build_tiny_model(tmp_path / "m.tflite")
    alter_sidecar(path, lambda values: values.update(sha256=value))
    with pytest.raises(ModelFileError, match="Expected sha256"):
        read_model(path)


def test_without_a_sidecar_the_models_own_digest_is_enough(tmp_path: Path) -> None:
    file = read_model(build_tiny_model(tmp_path / "m.tflite", has_sidecar=False))
    assert file.sha256 == files.hash_file(file.path)
    assert file.metadata.name == "tiny"


# Paths


def test_a_missing_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="Expected a model file, got No such file") as caught:
        read_model(tmp_path / "none.tflite")
    assert "embedded model" in caught.value.hint


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="Expected a model file"):
        read_model(tmp_path / name)


def test_a_folder_a_pipe_and_a_device_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    for path in (tmp_path, tmp_path / "pipe.tflite", Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="got a folder or a device"):
            read_model(path)


@pytest.mark.usefixtures("plain_user")
def test_a_file_that_may_not_be_read_is_refused() -> None:
    path = Path("m.tflite")
    path.write_bytes(seal(GOOD_JSON))
    path.chmod(0)
    with pytest.raises(ModelFileError, match="Permission denied"):
        read_model(path)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_tiny_model(tmp_path / "m.tflite")
    monkeypatch.setattr(model_file, "MAX_MODEL_BYTES", 100)
    with pytest.raises(ModelFileError, match="got a larger file"):
        read_model(path)


@pytest.mark.parametrize("name", ["gesicht-größe ü.tflite", "人の顔.tflite", "a" * 240 + ".tflite", "no-suffix"])
def test_any_file_name_is_read(tmp_path: Path, name: str) -> None:
    assert read_model(build_tiny_model(tmp_path / name)).metadata.name == "tiny"


# The embedded model


def test_the_embedded_model_is_ours_and_small() -> None:
    file = read_model(embedded_model_path())
    assert len(file.content) <= 3_000_000  # what the issue allows
    assert file.metadata.labels == ("female", "male")
    assert file.metadata.positive_label == "male"
    assert file.metadata.scheme is QuantizationScheme.FULL_INTEGER
    assert "Not for identifying" in file.metadata.intended_use
    assert embedded_model_path().with_suffix(".json").is_file()

"""Metadata go into the file and come out of it; the network inside stays what it was."""

from __future__ import annotations

import dataclasses
import json

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl
from hypothesis import given
from hypothesis import strategies as st

from edgegender.conversion.metadata import add_metadata
from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import ModelFileError
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import EMPTY_DIGEST, embedded_model_path, parse_model, read_model
from tests.tiny_model import build_network, grey_picture

METADATA = ModelMetadata(
    labels=("female", "male"),
    positive_label="male",
    preprocessing=Preprocessing(32, 1.3),
    architecture="brightness",
    scheme=QuantizationScheme.FULL_INTEGER,
)
NETWORK = build_network()

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=6,
)
ANY_METADATA = st.builds(
    ModelMetadata,
    labels=st.just(("female", "männlich 男")),
    positive_label=st.sampled_from(["female", "männlich 男"]),
    preprocessing=st.builds(Preprocessing, st.integers(16, 2048), st.floats(0.5, 10)),
    architecture=TEXTS,
    scheme=st.sampled_from(list(QuantizationScheme)),
    threshold=st.floats(0, 1),
    temperature=st.floats(0.01, 100),
    unsure_below=st.floats(0, 1),
    name=TEXTS,
    created=TEXTS,
    metrics=st.dictionaries(TEXTS, JSON_VALUES, max_size=4),
    provenance=st.dictionaries(TEXTS, JSON_VALUES, max_size=4),
    license=TEXTS,
    intended_use=TEXTS,
)


@given(ANY_METADATA)
def test_what_goes_in_comes_out(metadata: ModelMetadata) -> None:
    assert parse_model(add_metadata(NETWORK, metadata), where="test") == metadata


def test_the_same_input_gives_the_same_bytes() -> None:
    assert add_metadata(NETWORK, METADATA) == add_metadata(NETWORK, METADATA)


def test_the_order_of_provenance_does_not_change_the_bytes() -> None:
    first = dataclasses.replace(METADATA, provenance={"a": 1, "b": {"c": 2, "d": 3}})
    second = dataclasses.replace(METADATA, provenance={"b": {"d": 3, "c": 2}, "a": 1})
    assert add_metadata(NETWORK, first) == add_metadata(NETWORK, second)


def test_the_digest_holds_and_is_no_row_of_zeros() -> None:
    content = add_metadata(NETWORK, METADATA)
    assert EMPTY_DIGEST.encode() not in content
    altered = content.replace(b'"brightness"', b'"Brightness"')
    assert altered != content
    with pytest.raises(ModelFileError, match="digest"):
        parse_model(altered, where="altered")


def test_a_row_of_zeros_elsewhere_in_the_metadata_does_not_confuse_the_digest() -> None:
    """64 zeros in a text that sorts before and after the digest, and a text that looks like the digest itself."""
    tricky = dataclasses.replace(
        METADATA,
        architecture=EMPTY_DIGEST,
        name=EMPTY_DIGEST * 2,
        created=f'"digest": "{EMPTY_DIGEST}"',
        provenance={"digest": EMPTY_DIGEST, "a": f'"digest": "{EMPTY_DIGEST}"'},
    )
    assert parse_model(add_metadata(NETWORK, tricky), where="tricky") == tricky


def test_a_row_of_zeros_in_the_weights_does_not_confuse_the_digest() -> None:
    model = tfl.ModelT.InitFromPackedBuf(NETWORK)
    buffer = tfl.BufferT()
    buffer.data = np.frombuffer(f'"digest": "{EMPTY_DIGEST}"'.encode() * 3, np.uint8)
    model.buffers.append(buffer)
    assert parse_model(add_metadata(pack(model), METADATA), where="zeros") == METADATA


def pack(model: tfl.ModelT) -> bytes:
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def names_of(content: bytes) -> list[bytes]:
    return [entry.name for entry in tfl.ModelT.InitFromPackedBuf(content).metadata]


def test_metadata_of_ours_are_replaced_and_those_of_others_stay() -> None:
    model = tfl.ModelT.InitFromPackedBuf(NETWORK)
    entry = tfl.MetadataT()
    entry.name, entry.buffer = "min_runtime_version", 1
    model.metadata = [entry]
    first = add_metadata(pack(model), METADATA)
    second = add_metadata(first, dataclasses.replace(METADATA, name="second"))
    assert names_of(second) == [b"min_runtime_version", b"edgegender"]
    assert parse_model(second, where="second").name == "second"


def test_the_networks_weights_and_operators_are_not_touched() -> None:
    before = tfl.ModelT.InitFromPackedBuf(NETWORK)
    after = tfl.ModelT.InitFromPackedBuf(add_metadata(NETWORK, METADATA))
    assert len(after.buffers) == len(before.buffers) + 1
    for left, right in zip(before.buffers, after.buffers, strict=False):
        np.testing.assert_array_equal(left.data, right.data)
    assert [code.builtinCode for code in after.operatorCodes] == [code.builtinCode for code in before.operatorCodes]


def test_the_network_answers_the_same_with_and_without() -> None:
    bare, finished = (Interpreter(content, num_threads=1) for content in (NETWORK, add_metadata(NETWORK, METADATA)))
    for value in range(0, 256, 51):
        np.testing.assert_array_equal(bare.run(grey_picture(value)), finished.run(grey_picture(value)))


def test_the_embedded_model_written_again_is_itself() -> None:
    """The writer and the shipped file agree byte for byte; another version of flatbuffers may pack in another order."""
    file = read_model(embedded_model_path())
    assert parse_model(add_metadata(file.content, file.metadata), where="again") == file.metadata


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_that_are_no_numbers_are_refused_before_a_file_exists(value: float) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        add_metadata(NETWORK, dataclasses.replace(METADATA, metrics={"accuracy": value}))


def test_values_out_of_range_are_refused_before_a_file_exists() -> None:
    with pytest.raises(ModelFileError, match="Expected sound metadata"):
        add_metadata(NETWORK, dataclasses.replace(METADATA, threshold=2.0))


def test_the_stored_metadata_are_readable_by_anybody() -> None:
    content = add_metadata(NETWORK, dataclasses.replace(METADATA, name="größe"))
    start = content.index(b'{"architecture"')
    values, _ = json.JSONDecoder().raw_decode(content[start:].decode("utf-8", "ignore"))
    assert values["schema"] == "edgegender.model/1"
    assert values["name"] == "größe"

"""JSON becomes the dataclass that it was made from, or an error that names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pytest

from edgegender.benchmark.decode import decode
from edgegender.benchmark.records import BenchmarkResult
from tests.benchmark.examples import example_result, without_accuracy


@dataclass(frozen=True)
class Inner:
    number: float


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    is_on: bool
    maybe: int | None
    several: tuple[int, ...]
    inner: tuple[Inner, ...]
    by_name: Mapping[str, Inner]


SOUND = {
    "name": "a",
    "count": 1,
    "is_on": True,
    "maybe": None,
    "several": [1, 2],
    "inner": [{"number": 1}],
    "by_name": {"x": {"number": 0.5}},
}


def test_all_kinds_of_fields_come_back():
    assert decode(Outer, SOUND) == Outer("a", 1, True, None, (1, 2), (Inner(1.0),), {"x": Inner(0.5)})
    assert decode(Outer, {**SOUND, "maybe": 3, "from_a_later_version": 1}).maybe == 3


@pytest.mark.parametrize("result", [example_result(), without_accuracy()], ids=["accuracy", "latency only"])
def test_a_result_survives_json(result):
    assert decode(BenchmarkResult, json.loads(json.dumps(asdict(result)))) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name: str, got int"),
        ({"count": True}, "count: int, got bool"),
        ({"count": 1.5}, "count: int, got float"),
        ({"is_on": 1}, "is_on: bool, got int"),
        ({"maybe": "x"}, "maybe: int, got str"),
        ({"several": {}}, "several: a list, got dict"),
        ({"several": [1, "2"]}, "several: int, got str"),
        ({"inner": [{"number": True}]}, r"inner\.number: float, got bool"),
        ({"inner": [{}]}, "inner: number is missing"),
        ({"inner": [3]}, "inner: an object, got int"),
        ({"by_name": []}, "by_name: an object, got list"),
        ({"by_name": {"x": {"number": None}}}, r"by_name\.x\.number: float, got NoneType"),
    ],
)
def test_a_field_of_another_type_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        decode(Outer, {**SOUND, **change})


def test_a_missing_field_and_another_document_are_named():
    with pytest.raises(ValueError, match="document: count is missing"):
        decode(Outer, {name: value for name, value in SOUND.items() if name != "count"})
    with pytest.raises(ValueError, match="document: an object, got list"):
        decode(Outer, [])

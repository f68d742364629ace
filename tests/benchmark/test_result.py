"""A recorded result comes back as it was, and an edited one does not come back at all."""

from __future__ import annotations

import getpass
import gzip
import json
import socket
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import pytest

from edgegender.benchmark import result as result_module
from edgegender.benchmark.records import BenchmarkResult, Durations, EngineRecord
from edgegender.benchmark.result import (
    RESULT_SCHEMA,
    SCHEMA_FILE,
    compute_result_sha256,
    format_document,
    parse_result,
    read_result,
    result_to_json,
    write_result,
)
from edgegender.errors import OutputError, ResultFileError, UsageError
from tests.benchmark.examples import example_result, latency_record, without_accuracy

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))


def signed(**changes):
    """A document with changed fields and the hash that fits them."""
    document = {**result_to_json(example_result()), **changes}
    return {**document, "result_sha256": compute_result_sha256(document)}


@pytest.fixture
def file(tmp_path):
    write_result(tmp_path / "result.json", example_result())
    return tmp_path / "result.json"


def test_a_result_comes_back_as_it_was_written(file):
    assert read_result(file) == example_result()


def test_a_compressed_result_is_the_same_result_in_the_same_bytes_each_time(tmp_path):
    for name in ("a.json.gz", "b.json.gz"):
        write_result(tmp_path / name, example_result())
    content = (tmp_path / "a.json.gz").read_bytes()
    assert content == (tmp_path / "b.json.gz").read_bytes()
    assert json.loads(gzip.decompress(content)) == result_to_json(example_result())
    assert read_result(tmp_path / "a.json.gz") == example_result()


def test_a_compressed_result_that_was_cut_off_or_altered_is_refused(tmp_path):
    write_result(tmp_path / "r.json.gz", example_result())
    content = (tmp_path / "r.json.gz").read_bytes()
    for damaged in (content[:-30], content[:20] + b"\xff" * 8 + content[28:]):
        (tmp_path / "r.json.gz").write_bytes(damaged)
        with pytest.raises(ResultFileError, match="Expected a whole compressed file, got a damaged one"):
            read_result(tmp_path / "r.json.gz")


def test_a_compressed_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(result_module, "MAX_RESULT_BYTES", 1 << 20)
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(b" " * (3 << 20)))
    with pytest.raises(ResultFileError, match="Expected a result under 1 MiB, got a larger file"):
        read_result(tmp_path / "r.json.gz")


def test_a_result_without_accuracy_comes_back_too(tmp_path):
    write_result(tmp_path / "r.json", without_accuracy())
    assert read_result(tmp_path / "r.json") == without_accuracy()


@pytest.mark.parametrize("result", [example_result(), without_accuracy()], ids=["accuracy", "latency only"])
def test_results_follow_the_published_schema(result):
    jsonschema.validate(result_to_json(result), SCHEMA, jsonschema.Draft202012Validator)


def test_the_schema_is_sound_and_of_this_version():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == RESULT_SCHEMA


def test_the_schema_names_exactly_the_fields_of_the_dataclasses():
    seen = []

    def compare(kind, schema):
        own = {field.name for field in fields(kind)}
        extra = {"schema", "result_sha256"} if kind is BenchmarkResult else set()
        assert set(schema["properties"]) == set(schema["required"]) == own | extra, kind.__name__
        assert schema["additionalProperties"] is False
        seen.append(kind.__name__)
        for hint in get_type_hints(kind).values():
            for part in (hint, *get_args(hint)):
                if isinstance(part, type) and is_dataclass(part) and part.__name__ not in seen:
                    compare(part, SCHEMA["$defs"][part.__name__])

    compare(BenchmarkResult, SCHEMA)
    assert set(seen) == {*SCHEMA["$defs"], "BenchmarkResult"}


def test_raw_latencies_take_one_line_and_change_nothing(file):
    text = file.read_text()
    record = latency_record()
    assert f'"latencies_ns": [{",".join(map(str, record.latencies_ns))}]' in text
    assert json.loads(text) == result_to_json(example_result())
    assert len(text.splitlines()) < 600


def test_text_that_looks_like_numbers_is_not_touched():
    document = {"text": "[\n 1,\n 2\n]", "numbers": [1, 2], "empty": [], "mixed": [1, "a"]}
    assert json.loads(format_document(document)) == document


def test_the_hash_does_not_depend_on_layout_and_order(file):
    document = json.loads(file.read_text())
    reordered = dict(reversed(list(document.items())))
    file.write_text(json.dumps(reordered))
    assert read_result(file) == example_result()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 0.975', '"value": 0.985'),
        ('"sha256": "abab', '"sha256": "acab'),
        ('"created": "2026', '"created": "2027'),
        ('"kind": "spread"', '"kind": "none"'),
        ('"num_photos": 400', '"num_photos": 4000'),
    ],
)
def test_one_edited_value_is_noticed(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ResultFileError, match="Expected the result_sha256 that stands in the result") as caught:
        read_result(file)
    assert "edited" in caught.value.hint


def test_a_removed_latency_is_noticed():
    document = result_to_json(example_result())
    document["latencies"][0]["latencies_ns"].pop()
    with pytest.raises(ResultFileError, match="result_sha256"):
        parse_result(document, where="r.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expected JSON, got a damaged or other file"),
        (b"{", "Expected JSON"),
        (b"\xff\xfe", "Expected JSON"),
        (b'{"schema": NaN}', "Expected JSON"),
        (b"[" * 100_000, "Expected JSON"),
        (b"[1]", "Expected a recorded result, got other JSON"),
        (b"{}", "got other JSON"),
        (b'{"schema": 1}', "got a document of schema 1"),
        (b'{"schema": "edgegender.evaluation/1"}', "got a document of schema 'edgegender.evaluation/1'"),
        (b'{"schema": "edgegender.benchmark/3"}', "got edgegender.benchmark/3"),
        (b'{"schema": "edgegender.benchmark/2"}', "result_sha256"),
        (b'{"schema": "edgegender.benchmark/1", "x": 1e999}', "Expected finite numbers"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    file = tmp_path / "r.json"
    file.write_bytes(content)
    with pytest.raises(ResultFileError, match=message) as caught:
        read_result(file)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_newer_schema_says_what_to_do(tmp_path):
    (tmp_path / "r.json").write_text('{"schema": "edgegender.benchmark/3"}')
    with pytest.raises(ResultFileError, match="Expected a result of schema") as caught:
        read_result(tmp_path / "r.json")
    assert "--upgrade" in caught.value.hint


def test_a_truncated_result_is_refused(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ResultFileError, match="Expected JSON"):
        read_result(file)


def test_a_missing_result_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ResultFileError, match="No such file"):
        read_result(tmp_path / "none.json")
    with pytest.raises(ResultFileError, match="directory"):
        read_result(tmp_path)


def test_a_huge_file_is_not_read(file, monkeypatch):
    monkeypatch.setattr(result_module, "MAX_RESULT_BYTES", 1000)
    with pytest.raises(ResultFileError, match="got a larger file"):
        read_result(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": {}}, "machine: cpu_model is missing"),
        ({"created": 5}, "created: str, got int"),
        ({"latencies": []}, "latencies: empty"),
        ({"data": None}, "one without the other"),
        ({"durations": {**vars(Durations()), "min_runs": 0}}, "Expected positive runs"),
    ],
)
def test_a_document_with_a_fitting_hash_is_still_checked(changes, message):
    with pytest.raises(ResultFileError, match=message):
        parse_result(signed(**changes), where="r.json")


def test_missing_percentiles_and_labels_are_found():
    document = result_to_json(example_result())
    document["latencies"][0]["percentiles"].pop()
    with pytest.raises(ResultFileError, match="no p99"):
        parse_result({**document, "result_sha256": compute_result_sha256(document)}, where="r.json")
    document = result_to_json(example_result())
    document["evaluation"]["positive_label"] = "other"
    with pytest.raises(ResultFileError, match="the positive label has no figures"):
        parse_result({**document, "result_sha256": compute_result_sha256(document)}, where="r.json")


def test_a_result_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Expected to write"):
        write_result(tmp_path / "file" / "r.json", example_result())


def test_a_result_names_no_host_no_user_and_no_folder(file):
    text = file.read_text()
    assert socket.gethostname() not in text
    assert f"/{getpass.getuser()}" not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize(
    "changes",
    [{"min_seconds": -1}, {"min_seconds": 200.0}, {"min_runs": 0}, {"max_seconds": float("nan")}, {"warmup_runs": -1}],
)
def test_durations_that_make_no_sense_are_refused(changes):
    with pytest.raises(UsageError, match="Expected positive runs and seconds"):
        replace(Durations(), **changes)


def test_warnings_of_one_configuration_include_those_of_all():
    result = example_result()
    assert [warning.kind for warning in result.warnings_for(4)] == ["spread"]
    assert result.warnings_for(1) == ()
    assert result.is_valid
    with pytest.raises(KeyError):
        result.latencies[0].percentile(42)


def test_a_result_of_the_first_schema_is_read_as_it_was_meant():
    (recorded,) = (Path(__file__).parents[2] / "benchmarks").glob("2026-11-22-*-full_integer.json")
    result = read_result(recorded)
    assert json.loads(recorded.read_text())["schema"] == "edgegender.benchmark/1"
    assert result.engine == EngineRecord("ai-edge-litert", "2.3.0", "xnnpack", "as_stored")
    assert {record.batch_size for record in result.latencies} == {1}
    assert result.parity is None


@pytest.mark.parametrize("missing", ["versions", "durations", "latencies"])
def test_a_result_of_the_first_schema_that_lacks_a_part_is_refused(missing):
    document = result_to_json(example_result())
    document["schema"] = "edgegender.benchmark/1"
    del document[missing]
    document["result_sha256"] = compute_result_sha256(document)
    with pytest.raises(ResultFileError, match=r"Expected a sound result, got .* is missing"):
        parse_result(document, where="r.json")


def test_an_engine_has_one_word_for_tables():
    assert EngineRecord("ai-edge-litert", "2.3.0", "xnnpack").label == "ai-edge-litert+xnnpack"
    assert EngineRecord("keras", "3", "jax", "bfloat16").label == "keras+jax bfloat16"
    assert EngineRecord("onnxruntime", "1", "").label == "onnxruntime"

"""``edgegender compare`` says what differs first, then what is worse, and ends with exit code 1 on a regression."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgegender.benchmark.records import BenchmarkWarning
from edgegender.benchmark.result import write_result
from edgegender.cli.compare import parse_percent
from edgegender.errors import UsageError
from tests.benchmark.examples import DATA, MODEL, PI
from tests.benchmark.test_compare import result, timed
from tests.cli.test_report_cli import edited, newer, run


def write(path, recorded):
    path.parent.mkdir(exist_ok=True)
    write_result(path, recorded)
    return path


@pytest.fixture
def before(tmp_path):
    return write(tmp_path / "before.json", result(1))


def test_no_regression_ends_with_zero(capsys, before, tmp_path):
    code, out, err = run(capsys, "compare", before, write(tmp_path / "after.json", result(2)))
    assert (code, err) == (0, "")
    assert "edge, 1 thread" in out
    assert "bootstrap of blocks" in out
    assert "REGRESSION" not in out


def test_a_regression_ends_with_one_and_names_the_figure(capsys, before, tmp_path):
    after = write(tmp_path / "after.json", result(2, scale=1.1))
    code, out, err = run(capsys, "compare", before, after)
    assert code == 1
    assert "REGRESSION" in out
    assert "error: Expected no regression, got p50 ms 9.1" in err
    assert "and 1 more" in err
    assert run(capsys, "compare", before, after, "--tolerance", "20%")[0] == 0


def test_differences_stand_first_and_different_photos_are_called_so(capsys, before, tmp_path):
    other = result(2, machine=replace(PI, cpu_model="Cortex-A72"), data=replace(DATA, sha256="00" * 32))
    code, out, _ = run(capsys, "compare", before, write(tmp_path / "after.json", other))
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "edge: machine.cpu_model: Cortex-A76 -> Cortex-A72"
    assert "edge: different photos: accuracy and F1 do not compare" in lines
    assert any(line.startswith("accuracy %") and "not compared" in line for line in lines)


def test_json_holds_figures_intervals_and_verdicts(capsys, before, tmp_path):
    code, out, _ = run(capsys, "compare", before, write(tmp_path / "after.json", result(2, scale=1.1)), "--json")
    document = json.loads(out)
    assert code == 1
    assert (document["schema"], document["is_regression"]) == ("edgegender.comparison/1", True)
    figure = document["comparisons"][1]["figures"][0]
    assert (figure["name"], figure["verdict"]) == ("p50_ns", "regression")
    assert figure["change"]["low"] > 0.05
    assert document["tolerances"] == {"relative": 0.03, "accuracy": 0.0}


def test_warnings_of_both_sides_are_repeated(capsys, before, tmp_path):
    after = result(2, warnings=(BenchmarkWarning("drift", "the median drifts", 1),))
    _, _, err = run(capsys, "compare", before, write(tmp_path / "after.json", after))
    assert "warning: B, edge, 1 thread(s): the median drifts" in err


def test_an_invalid_measurement_ends_with_one(capsys, before, tmp_path):
    hot = (BenchmarkWarning("throttled", "the machine slowed itself down", 1, is_invalidating=True),)
    code, out, err = run(capsys, "compare", before, write(tmp_path / "after.json", result(2, scale=3, warnings=hot)))
    assert code == 1
    assert "not compared" in out
    assert "error: Expected valid measurements, got an invalid one: edge, 1 thread: B is invalid" in err


def test_folders_are_matched_and_what_one_side_lacks_is_named(capsys, tmp_path):
    for folder, names in (("a", ("x", "y")), ("b", ("x", "z"))):
        for number, name in enumerate(names):
            write(tmp_path / folder / f"{name}.json", result(number, model=replace(MODEL, name=name)))
    code, out, err = run(capsys, "compare", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "x, 1 thread" in out
    assert "warning: only A has y" in err
    assert "warning: only B has z" in err


def test_nothing_in_common_ends_with_one(capsys, before, tmp_path):
    for name in ("x", "y"):
        write(tmp_path / "b" / f"{name}.json", result(model=replace(MODEL, name=name)))
    code, out, err = run(capsys, "compare", before, tmp_path / "b")
    assert (code, out) == (1, "")
    assert "error: Expected configurations that both sides have, got none" in err
    other = write(tmp_path / "threads.json", result(latencies=(timed(1, num_threads=8),)))
    code, _, err = run(capsys, "compare", before, other)
    assert code == 1
    assert "error: Expected a number of threads that both sides have, got none" in err


@pytest.mark.parametrize(
    ("change", "message"), [(edited, "result_sha256"), (newer, "got edgegender.benchmark/3"), (list, "got other JSON")]
)
def test_an_edited_a_newer_and_another_file_end_with_one_line_and_a_hint(capsys, before, tmp_path, change, message):
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(change(json.loads(before.read_text()))))
    code, out, err = run(capsys, "compare", before, broken)
    assert (code, out) == (1, "")
    assert err.startswith("error: Expected")
    assert message in err
    assert len(err.splitlines()) == 2


def test_an_empty_folder_a_missing_file_and_a_missing_argument_are_named(capsys, before, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, "compare", before, tmp_path / "empty")
    assert (code, "got a folder without any" in err) == (2, True)
    code, _, err = run(capsys, "compare", before, tmp_path / "none.json")
    assert (code, "No such file" in err) == (1, True)
    assert run(capsys, "compare", before)[0] == 2


@pytest.mark.parametrize(("text", "share"), [("3%", 0.03), ("2.5 %", 0.025), ("0%", 0.0)])
def test_a_tolerance_is_a_percentage(text, share):
    assert parse_percent(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["3", "-1%", "x%", "", "0.03", "٣%", "9" * 400 + "%"])
def test_a_tolerance_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="Expected a percentage, got"):
        parse_percent(text)

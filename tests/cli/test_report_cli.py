"""``edgegender report`` turns recorded results into one table."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from edgegender.benchmark.records import BenchmarkWarning, EngineRecord, ParityRecord
from edgegender.benchmark.result import write_result
from edgegender.cli.main import main
from edgegender.cli.result_rows import name_machine, read_rows, table_rows
from tests.benchmark.examples import DATA, PI, example_result, without_accuracy


def run(capsys, *arguments):
    """Returns (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


@pytest.fixture
def file(tmp_path):
    write_result(tmp_path / "pi5.json", example_result())
    return tmp_path / "pi5.json"


def test_a_result_gives_a_row_for_each_number_of_threads(capsys, file):
    code, out, err = run(capsys, "report", file)
    assert (code, err) == (0, "")
    rows = [line for line in out.splitlines() if line.startswith("| edge ")]
    assert len(rows) == 2
    assert "97.50 [" in rows[0]
    assert "Raspberry Pi 5 Model B Rev 1.0" in rows[0]
    assert "sha256 abababababab" in out
    assert "recorded in pi5.json" in out


def test_the_warning_of_one_configuration_stands_at_its_row_only():
    one, four = table_rows(example_result(), source="pi5.json")
    assert (one.warnings, four.warnings) == ((), ("p99 is 1.60 times p50",))


def test_csv_goes_into_a_file(capsys, file, tmp_path):
    code, out, _ = run(capsys, "report", file, "--format", "csv", "-o", tmp_path / "new" / "table.csv")
    assert (code, out) == (0, "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new" / "table.csv").read_text())))
    assert [row["num_threads"] for row in rows] == ["1", "4"]


def test_results_of_different_photos_are_marked_and_named(capsys, file, tmp_path):
    other = replace(example_result(), data=replace(DATA, sha256="ee" * 32), created="2026-06-01T00:00:00Z")
    write_result(tmp_path / "other.json", other)
    write_result(tmp_path / "speed.json", without_accuracy())
    code, out, err = run(capsys, "report", file, tmp_path / "other.json", tmp_path / "speed.json")
    assert code == 0
    assert "the results rest on different photos" in err
    assert out.count("400 †") == 2


def test_the_same_result_twice_stands_in_the_table_once(capsys, file, tmp_path):
    (tmp_path / "copy.json").write_bytes(file.read_bytes())
    code, out, err = run(capsys, "report", file, tmp_path / "copy.json")
    assert code == 0
    assert "copy.json is the same result as pi5.json" in err
    assert out.count("| edge ") == 2


def edited(document):
    document["evaluation"]["accuracy"]["value"] = 0.999
    return document


def newer(document):
    return {**document, "schema": "edgegender.benchmark/3"}


@pytest.mark.parametrize(
    ("change", "message"), [(edited, "result_sha256"), (newer, "got edgegender.benchmark/3"), (list, "got other JSON")]
)
def test_an_edited_a_newer_and_another_file_end_with_one_line_and_a_hint(capsys, file, tmp_path, change, message):
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(change(json.loads(file.read_text()))))
    code, out, err = run(capsys, "report", file, broken, "-o", tmp_path / "table.md")
    assert (code, out) == (1, "")
    assert err.startswith("error: Expected")
    assert message in err
    assert "broken.json" in err
    assert not (tmp_path / "table.md").exists()


def test_no_file_is_wrong_usage(capsys):
    code, _, err = run(capsys, "report")
    assert code == 2
    assert "RESULTS" in err


def test_a_missing_file_and_an_unknown_format_are_named(capsys, file, tmp_path):
    code, _, err = run(capsys, "report", tmp_path / "none.json")
    assert code == 1
    assert "No such file" in err
    assert run(capsys, "report", file, "--format", "docx")[0] == 2


def test_an_unwritable_output_is_an_error_of_the_environment(capsys, file, tmp_path):
    code, _, err = run(capsys, "report", file, "-o", file / "table.md")
    assert code == 3
    assert "Expected a file that can be written" in err
    assert run(capsys, "report", file, "-o", tmp_path)[0] == 3


def test_a_machine_is_named_by_its_board_or_its_processor():
    assert name_machine(PI) == "Raspberry Pi 5 Model B Rev 1.0"
    assert name_machine(replace(PI, board="", num_available_cores=1)) == "Cortex-A76, 1 core"
    assert name_machine(replace(PI, board="", cpu_model="")) == "aarch64, 4 cores"


def test_strict_refuses_results_of_different_photos(capsys, file, tmp_path):
    other = replace(example_result(), data=replace(DATA, sha256="ee" * 32), created="2026-06-01T00:00:00Z")
    write_result(tmp_path / "other.json", other)
    code, out, err = run(capsys, "report", "--strict", file, tmp_path / "other.json", "-o", tmp_path / "table.md")
    assert (code, out) == (1, "")
    assert "error: Expected results of the same photos, got others in other.json than in pi5.json." in err
    assert not (tmp_path / "table.md").exists()
    assert run(capsys, "report", "--strict", file)[0] == 0


def test_parity_is_held_against_the_reference_kernels_of_the_same_file(capsys, file, tmp_path):
    golden = example_result().parity.golden_sha256
    reference = replace(
        example_result(),
        engine=EngineRecord("ai-edge-litert", "2.3.0", "reference"),
        parity=ParityRecord(golden, ((0.25, 0.75), (0.4, 0.6))),
    )
    write_result(tmp_path / "reference.json", reference)
    code, out, _ = run(capsys, "report", file, tmp_path / "reference.json")
    assert code == 0
    lines = [line.split(" | ") for line in out.splitlines() if line.startswith("| edge ")]
    assert [line[14:16] for line in lines] == [["0.5", "1 of 2"]] * 2 + [["reference", "0 of 2"]] * 2
    assert "against ai-edge-litert+reference on Raspberry Pi 5 Model B Rev 1.0, recorded in reference.json." in out


def test_a_single_result_has_no_parity_to_show(capsys, file):
    assert "flips" not in run(capsys, "report", file)[1]


def test_answers_that_do_not_fit_their_labels_are_named(capsys, file, tmp_path):
    golden = example_result().parity.golden_sha256
    odd = replace(example_result(), created="2026-06-01T00:00:00Z", parity=ParityRecord(golden, ((0.5, 0.5),)))
    write_result(tmp_path / "odd.json", odd)
    code, _, err = run(capsys, "report", file, tmp_path / "odd.json")
    assert code == 1
    assert "Expected answers to the same golden inputs" in err
    assert "(odd.json, pi5.json)" in err


def test_a_partial_result_is_marked(capsys, tmp_path):
    cut = (BenchmarkWarning("partial", "the page was left after 800 runs"),)
    write_result(tmp_path / "cut.json", replace(example_result(), warnings=cut))
    _, out, _ = run(capsys, "report", tmp_path / "cut.json")
    assert out.count("(partial)") == 6
    assert "Warning: the page was left after 800 runs" in out


def test_rows_of_a_model_stand_together(capsys, file, tmp_path):
    first = replace(example_result(), machine=replace(PI, board="Board 2"))
    second = replace(first, model=replace(first.model, name="other", sha256="00" * 32))
    write_result(tmp_path / "second.json", second)
    write_result(tmp_path / "third.json", first)
    _, out, _ = run(capsys, "report", "--by", "model", file, tmp_path / "second.json", tmp_path / "third.json")
    names = [line.split(" | ")[0] for line in out.splitlines() if line.startswith("| ") and "full_integer" in line]
    assert names == ["| edge"] * 4 + ["| other"] * 2


def test_latex_goes_to_standard_output_with_its_caption(capsys, file):
    code, out, _ = run(capsys, "report", file, "--format", "latex", "--title", "On a Pi")
    assert code == 0
    assert "\\caption{On a Pi. " in out


def test_the_page_goes_into_a_file_only(capsys, file, tmp_path):
    code, out, _ = run(
        capsys, "report", file, "--format", "html", "-o", tmp_path / "new" / "page.html", "--plot", "p50"
    )
    assert (code, out) == (0, "")
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "pi5.json" in page
    assert "Accuracy against p50 latency" in page
    code, _, err = run(capsys, "report", file, "--format", "html")
    assert code == 2
    assert "Expected a file for the page, got none" in err


def test_many_results_are_read_without_keeping_their_raw_values(file):
    rows, remarks = read_rows([file])
    assert remarks == []
    assert [sum(row.histogram.counts) + row.histogram.num_beyond for row in rows] == [500, 500]

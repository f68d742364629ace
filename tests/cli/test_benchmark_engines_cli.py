"""``edgegender benchmark`` with its durations, its engines, and on other targets."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from edgegender.benchmark import presets
from edgegender.benchmark.records import Durations
from edgegender.benchmark.result import read_result
from edgegender.errors import MeasurementError
from tests.benchmark.examples import example_result
from tests.cli.test_benchmark_cli import manifest, model, run, short

__all__ = ["manifest", "model", "short"]  # fixtures


@pytest.mark.parametrize(("chosen", "other"), [("--quick", "--short"), ("--publishable", "--quick")])
def test_two_durations_at_once_are_wrong_usage(capsys, model, chosen, other):
    code, _, err = run(capsys, "benchmark", model, chosen, other)
    assert code == 2
    assert "Expected one duration, got --" in err


def test_until_ends_as_soon_as_p90_is_sure(capsys, model, tmp_path, monkeypatch):
    long = Durations(20.0, 10**6, 20.0, 0.0, 50, preset="quick")
    monkeypatch.setitem(presets.PRESETS, "quick", long)
    monkeypatch.setattr(presets, "_REPEATS", 1)
    arguments = ["--quick", "--until", "50%", "--threads", "1", "-o", tmp_path / "r.json"]
    code, _, err = run(capsys, "benchmark", model, *arguments)
    result = read_result(tmp_path / "r.json")
    assert code == 0
    assert result.latencies[0].num_runs < 10**6
    assert result.durations.preset == ""
    assert "--until" in result.command_line
    assert "ended when p90 was known to 50 %" in err


def test_a_share_that_is_none_is_wrong_usage(capsys, model):
    code, _, err = run(capsys, "benchmark", model, "--until", "much")
    assert code == 2
    assert "Expected a share from 0 to 50%, got 'much'" in err


def test_each_engine_gives_a_file_with_golden_answers(capsys, model, tmp_path):
    engines = ["--engine", "litert", "--engine", "litert-reference", "--engine", "litert"]
    code, out, _ = run(capsys, "benchmark", model, *engines, "--threads", "1", "--short", "-o", tmp_path / "results")
    results = {file.name: read_result(file) for file in (tmp_path / "results").iterdir()}
    assert code == 0
    assert {name: result.engine.delegate for name, result in results.items()} == {
        "tiny-litert.json": "xnnpack",
        "tiny-litert-reference.json": "reference",
    }
    assert all(len(result.parity.scores) == 64 for result in results.values())
    assert out.count("p99 ms") == 2


def test_several_engines_need_a_folder(capsys, model, tmp_path):
    engines = ["--engine", "litert", "--engine", "litert-reference"]
    code, _, err = run(capsys, "benchmark", model, *engines, "-o", tmp_path / "r.json")
    assert code == 2
    assert "Expected a folder for the results of 1 models by 2 engines" in err


def test_an_unknown_engine_is_found_before_anything_is_measured(capsys, model, monkeypatch):
    monkeypatch.setattr("edgegender.benchmark.run.measure_repeatedly", None)
    code, out, err = run(capsys, "benchmark", model, "--engine", "litert", "--engine", "warp")
    assert (code, out) == (2, "")
    assert "Expected an engine of litert," in err


def test_an_option_of_no_use_here_is_refused(capsys, model):
    code, _, err = run(capsys, "benchmark", model, "--option", "color=red")
    assert code == 2
    assert "Expected no --option for the target cpu" in err


@pytest.fixture
def target(monkeypatch):
    """A target that answers by what the test puts into it, and keeps what it was asked."""
    module = ModuleType("edgegender.benchmark.target_ssh")
    module.asked = []
    module.results = [replace(example_result(), target="ssh")]
    module.error = None

    def measure(request):
        module.asked.append(request)
        for result in module.results:
            request.on_result(result)
        if module.error:
            raise module.error
        return module.results

    module.measure = measure
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_another_target_is_asked_for_all_that_the_command_says(capsys, model, manifest, target, tmp_path):
    arguments = [
        "--target",
        "ssh://pi@board",
        "--data",
        manifest,
        "--threads",
        "1,all",
        "--short",
        "--option",
        "key=a=b",
    ]
    code, out, _ = run(capsys, "benchmark", model, *arguments, "-o", tmp_path / "r.json")
    (request,) = target.asked
    assert code == 0
    assert (request.target, request.address, request.options) == ("ssh", "ssh://pi@board", {"key": "a=b"})
    assert (request.models, request.threads, request.num_samples) == ((model,), (1, 0), 7)
    assert request.durations == presets.PRESETS["short"]
    first, again = ([sample.photo_sha256 for sample in request.samples[0]] for _ in range(2))
    assert first == again
    assert len(first) == 7
    assert "board" not in " ".join(request.command_line)
    assert read_result(tmp_path / "r.json") == target.results[0]
    assert out.count("p99 ms") == 1


def test_several_results_of_a_target_get_a_file_each(capsys, model, target, tmp_path):
    (one,) = target.results
    target.results = [one, replace(one, engine=replace(one.engine, delegate="none")), replace(one, created=one.created)]
    assert run(capsys, "benchmark", model, "--target", "ssh://pi@board", "-o", tmp_path / "r.json")[0] == 0
    assert sorted(file.name for file in tmp_path.glob("r*.json")) == [
        "r-ai-edge-litert-none.json",
        "r-ai-edge-litert-xnnpack.json",
        "r.json",
    ]


def test_what_was_measured_before_a_target_failed_is_kept(capsys, model, target, tmp_path):
    target.error = MeasurementError("Expected the host to stay, got silence.")
    code, out, err = run(capsys, "benchmark", model, "--target", "ssh://pi@board", "-o", tmp_path / "r.json")
    assert code == 3
    assert "got silence" in err
    assert "p99 ms" in out
    assert read_result(tmp_path / "r.json") == target.results[0]


@pytest.mark.parametrize(
    "options", [["--option", "novalue"], ["--option", "=x"], ["--option", "a=1", "--option", "a=2"]]
)
@pytest.mark.usefixtures("target")
def test_options_that_are_no_pairs_are_wrong_usage(capsys, model, options):
    code, _, err = run(capsys, "benchmark", model, "--target", "ssh://pi@board", *options)
    assert code == 2
    assert "Expected --option KEY=VALUE, each key once" in err


def test_what_ran_the_network_and_its_energy_are_printed(capsys, model, target):
    (one,) = target.results
    target.results = [replace(one, latencies=(replace(one.latencies[0], joules_per_run=0.0123), one.latencies[1]))]
    code, out, _ = run(capsys, "benchmark", model, "--target", "ssh://pi@board")
    assert code == 0
    assert "run by ai-edge-litert+xnnpack" in out
    assert "mJ/run" in out
    assert "12.3" in out
    assert "idle power included" in out


def test_mlperfs_load_generator_leaves_its_logs(capsys, model, tmp_path):
    pytest.importorskip("mlperf_loadgen", reason="pip install 'edgegender[loadgen]'")
    code, _, err = run(capsys, "benchmark", model, "--threads", "1", "--short", "--loadgen", tmp_path / "logs")
    assert code == 0
    assert "MLPerf LoadGen SingleStream, 1 thread(s): p90" in err
    assert "pictures/s" in err
    for scenario in ("SingleStream", "Offline"):
        assert (tmp_path / "logs" / "tiny" / scenario / "mlperf_log_summary.txt").is_file()


@pytest.mark.usefixtures("target")
def test_mlperfs_load_generator_runs_on_this_processor_only(capsys, model, tmp_path):
    code, _, err = run(capsys, "benchmark", model, "--target", "ssh://pi@board", "--loadgen", tmp_path)
    assert code == 2
    assert "Expected --loadgen on this processor" in err


@pytest.mark.usefixtures("target")
def test_networks_of_others_stay_on_this_processor(capsys, model, monkeypatch):
    from edgegender.cli import benchmark_models

    monkeypatch.setattr(
        benchmark_models, "_open_rival", lambda _: replace(benchmark_models.open_model(model), is_rival=True)
    )
    code, _, err = run(capsys, "benchmark", "rival.json", "--target", "ssh://pi@board")
    assert code == 2
    assert "Expected .tflite files of edgegender on another target, got tiny.json" in err

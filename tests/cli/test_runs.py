"""``edgegender runs`` finds training runs, lists them, and says what differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgegender.cli.run_comparison import accuracy_interval, is_same_photos, recipe_differences
from edgegender.cli.runs import find_runs, format_seconds
from edgegender.errors import UsageError
from edgegender.metrics import wilson_interval
from edgegender.training.recipes import load_recipe
from edgegender.training.run_folder import EpochRecord, Run, save_record
from edgegender.training.run_lock import locked
from tests.cli.commands import check_error, environment, run_here

ENVIRONMENT = {"python": "3.11.7", "keras": "3.15.1", "backend": "tensorflow", "device": "CPU", "git_revision": "aa"}


def history(num_epochs, *, accuracy=0.9, speed=100.0):
    return tuple(
        EpochRecord(epoch, 0.5, 0.8, 0.7, 0.3, accuracy, accuracy + 0.01, 1e-4, speed, 60.0)
        for epoch in range(1, num_epochs + 1)
    )


def write_run(folder, *, overrides=(), **changes):
    folder.mkdir(parents=True)
    recipe = load_recipe("edge", ["epochs=8", *overrides])
    run = Run(
        folder, recipe, ("a", "b"), "b", "ab" * 32, history(3), 2, ENVIRONMENT,
        started="2026-01-05T10:30:00+00:00", num_train_photos=700, num_val_photos=200,
    )  # fmt: skip
    save_record(replace(run, **changes))


@pytest.fixture
def runs(capfd, tmp_path, monkeypatch):
    """Runs the command in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_here(capfd, "runs", *words)


def names(answer):
    return [line.split()[0] for line in answer.out.splitlines()[1:]]


def as_json(answer):
    assert answer.code == 0, answer
    return json.loads(answer.out)


# The list


def test_a_run_is_a_line_with_its_recipe_network_photos_and_figures(runs, tmp_path):
    write_run(tmp_path / "runs" / "one")
    answer = runs()
    assert (answer.code, answer.err) == (0, "")
    header, line = answer.out.splitlines()
    cells = [cell for cell in line.split("  ") if cell]
    assert [cell.strip() for cell in cells] == [
        "runs/one", "edge", "mobilenetv2 1.0 @ 96", "abababab", "3/8", "finished", "2", "90.00", "91.00", "100", "3:00",
        "2026-01-05 10:30",
    ]  # fmt: skip
    assert header.split()[:4] == ["run", "recipe", "network", "photos"]


def test_a_run_before_its_first_epoch_has_no_figures_yet(runs, tmp_path):
    write_run(tmp_path / "new", history=(), best_epoch=0, status="running", started="")
    with locked(tmp_path / "new" / ".lock"):
        answer = runs()
    assert answer.out.splitlines()[1].split()[7:] == ["0/8", "running", *"––––––"]
    assert runs().out.splitlines()[1].split()[8] == "killed"  # nobody holds the lock any more
    listed = as_json(runs("--json"))["runs"][0]
    assert (listed["val_accuracy"], listed["images_per_second"], listed["best_epoch"]) == (None, None, 0)


def test_json_has_the_figures_as_numbers(runs, tmp_path):
    write_run(tmp_path / "one", history=history(3, accuracy=0.925))
    assert as_json(runs("--json")) == {
        "runs": [
            {
                "folder": "one", "recipe": "edge", "network": "mobilenetv2 1.0 @ 96", "data_sha256": "ab" * 32,
                "num_train_photos": 700, "num_val_photos": 200, "epochs": 3, "epochs_wanted": 8, "status": "finished",
                "best_epoch": 2, "val_loss": 0.3, "val_accuracy": 0.925, "val_f1": 0.935, "positive_label": "b",
                "threshold": 0.5, "images_per_second": 100.0, "seconds": 180.0, "started": "2026-01-05T10:30:00+00:00",
            }
        ]
    }  # fmt: skip


def test_the_record_of_a_first_version_is_listed(runs, tmp_path):
    write_run(tmp_path / "old", num_val_photos=0)
    file = tmp_path / "old" / "run.json"
    record = json.loads(file.read_text())
    for later in ("status", "started", "threshold", "weights_sha256", "num_train_photos", "num_val_photos", "teacher"):
        del record[later]
    for line in record["history"]:
        del line["train_f1"]
    file.write_text(json.dumps({**record, "schema": "edgegender.run/1"}))
    answer = runs()
    assert answer.code == 0
    assert answer.out.splitlines()[1].split()[-6:] == ["2", "90.00", "91.00", "100", "3:00", "–"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("started", ["c", "a", "d", "b"]),
        ("name", ["a", "b", "c", "d"]),
        ("accuracy", ["b", "a", "c", "d"]),
        ("f1", ["b", "a", "c", "d"]),
        ("speed", ["a", "c", "b", "d"]),
        ("time", ["c", "a", "b", "d"]),
    ],
)
def test_runs_are_sorted_by_time_or_with_the_best_first_and_unknown_ones_last(runs, tmp_path, sort, expected):
    write_run(tmp_path / "a", started="2026-01-02", history=history(3, accuracy=0.8, speed=300.0))
    write_run(tmp_path / "b", started="2026-01-04", history=history(4, accuracy=0.9, speed=100.0))
    write_run(tmp_path / "c", started="2026-01-01", history=history(2, accuracy=0.7, speed=200.0))
    write_run(tmp_path / "d", started="2026-01-03", history=(), best_epoch=0)
    assert names(runs("--sort", sort)) == expected
    if sort == "started":
        assert names(runs()) == expected


# Finding them


def test_runs_are_found_four_levels_deep_and_no_deeper(runs, tmp_path):
    for depth in range(6):
        write_run(tmp_path.joinpath("top", *"12345"[:depth], "run") if depth else tmp_path / "top" / "run")
    assert names(runs("top", "--sort", "name")) == ["top/1/2/3/run", "top/1/2/run", "top/1/run", "top/run"]


def test_the_named_folder_itself_may_be_a_run_and_hold_others(runs, tmp_path):
    write_run(tmp_path / "one")
    write_run(tmp_path / "one" / "teacher")
    assert names(runs("one", "--sort", "name")) == ["one", "one/teacher"]


def test_hidden_folders_and_files_of_other_names_are_passed_by(runs, tmp_path):
    write_run(tmp_path / "one")
    write_run(tmp_path / ".cache" / "two")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "run.json.bak").write_text("{}")
    (tmp_path / "four" / "run.json").mkdir(parents=True)
    answer = runs()
    assert names(answer) == ["one"]
    assert answer.err == ""


def test_links_are_followed_and_a_circle_of_them_ends(runs, tmp_path):
    write_run(tmp_path / "real" / "one")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "real" / "self").symlink_to("self")
    (tmp_path / "real" / "gone").symlink_to("nowhere")
    assert names(runs("list")) == ["list/link/one"]
    assert names(runs("list", "real")) == ["list/link/one"]  # the same run is listed once


def test_a_damaged_record_is_a_warning_and_the_others_are_listed(runs, tmp_path):
    write_run(tmp_path / "good")
    for name, content in (("cut", "{"), ("newer", '{"schema": "edgegender.run/9"}'), ("empty", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    answer = runs()
    assert (answer.code, names(answer)) == (0, ["good"])
    warnings = answer.err.splitlines()
    assert len(warnings) == 3
    assert all(line.startswith("warning: Expected ") and line.endswith("Left out.") for line in warnings)
    assert "Expected edgegender.run/2, got edgegender.run/9 (newer/run.json)." in answer.err


@pytest.mark.parametrize("value", ["fast", None, float("nan")])
def test_a_history_without_figures_is_left_out_with_a_warning(runs, tmp_path, value):
    write_run(tmp_path / "good")
    write_run(tmp_path / "odd")
    record = json.loads((tmp_path / "odd" / "run.json").read_text())
    record["history"][1]["seconds"] = value
    (tmp_path / "odd" / "run.json").write_text(json.dumps(record))
    answer = runs()
    assert (answer.code, names(answer)) == (0, ["good"])
    assert "warning: Expected figures in the history, got others (odd). Left out." in answer.err


def test_a_closed_folder_is_a_warning(runs, plain_user):
    del plain_user
    write_run(Path("open"))
    Path("closed").mkdir(mode=0o000)
    answer = runs()
    assert (answer.code, names(answer)) == (0, ["open"])
    assert answer.err == "warning: closed: Permission denied, left out\n"


def test_a_name_that_is_no_utf8_is_shown_with_a_mark(runs, tmp_path):
    write_run(tmp_path / os.fsdecode(b"caf\xe9\x1b[2J"))
    assert names(runs()) == ["caf\ufffd[2J"]
    assert as_json(runs("--json"))["runs"][0]["folder"] == "caf\ufffd[2J"


def test_no_run_ends_with_one_and_a_hint(runs, tmp_path):
    (tmp_path / "photos").mkdir()
    check_error(runs(), 1, "Expected training runs, got none in .", "edgegender train")
    check_error(runs("photos"), 1, "got none in photos")
    check_error(runs("--json"), 1, "got none")


def test_a_folder_that_is_not_there_is_wrong_usage(runs, tmp_path):
    write_run(tmp_path / "one")
    check_error(runs("one", "none"), 2, "Expected a folder, got none (none).", "Name a run folder")
    check_error(runs("one/run.json"), 2, "Expected a folder, got none (one/run.json).")
    with pytest.raises(UsageError, match="Expected a folder, got none"):
        find_runs([tmp_path / "none"])
    check_error(runs("--sort", "luck"), 2, "luck")


def test_a_named_folder_without_a_run_is_a_warning_beside_one_with_runs(runs, tmp_path):
    write_run(tmp_path / "runs" / "one")
    (tmp_path / "photos").mkdir()
    answer = runs("runs", "photos")
    assert (answer.code, names(answer)) == (0, ["runs/one"])
    assert answer.err == "warning: photos: no run of its own is in or below it\n"


# Comparing


@pytest.fixture
def two(tmp_path):
    write_run(tmp_path / "a", best_epoch=2)
    write_run(
        tmp_path / "b",
        overrides=["learning_rate=0.0001", "is_class_balanced=false"],
        history=history(5, accuracy=0.93),
        environment={**ENVIRONMENT, "device": "GPU", "cuda": "13"},
    )
    return "a", "b"


def rows_of(text):
    return {line.split("  ")[0]: [cell.strip() for cell in line.split("  ") if cell] for line in text.splitlines()}


def test_two_run_folders_are_compared_by_what_differs_alone(runs, two):
    answer = runs(*two)
    assert (answer.code, answer.err) == (0, "")
    rows = rows_of(answer.out)
    assert rows["recipe"] == ["recipe", "a", "b"]
    assert rows["learning_rate"] == ["learning_rate", "0.0007", "0.0001"]
    assert rows["is_class_balanced"] == ["is_class_balanced", "true", "false"]
    assert rows["device"] == ["device", "CPU", "GPU"]
    assert rows["cuda"] == ["cuda", "–", "13"]
    assert {"batch_size", "keras", "about", "sha256", "positive label"} & set(rows) == set()
    assert rows["epochs"] == ["epochs", "3 of 8", "5 of 8"]
    assert rows["F1 of b %"] == ["F1 of b %", "91.00", "94.00"]
    interval = wilson_interval(180, 200)
    expected = f"90.00 [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
    assert rows["accuracy %"][1] == expected


def test_a_folder_of_runs_is_compared_when_it_is_asked_for(runs, two):
    del two
    assert "learning_rate" in runs("--compare").out
    assert "learning_rate" not in runs().out
    assert "learning_rate" not in runs(".").out


def test_runs_of_the_same_recipe_say_so(runs, tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    answer = runs("a", "b")
    assert answer.out.startswith("recipe: the same in all runs\n\nenvironment: the same in all runs\n")


def test_runs_on_different_photos_are_warned_of(runs, tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", data_sha256="cd" * 32)
    answer = runs("a", "b")
    assert answer.err == "warning: the runs rest on different photos: their accuracies do not compare\n"
    assert rows_of(answer.out)["sha256"] == ["sha256", "abababababab", "cdcdcdcdcdcd"]
    assert as_json(runs("a", "b", "--json"))["is_same_photos"] is False


@pytest.mark.parametrize(
    "changes", [{"overrides": ["validation_split=test"]}, {"overrides": ["split=70/15/15"]}, {"num_val_photos": 150}]
)
def test_another_validation_set_is_another_set_of_photos(runs, tmp_path, changes):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", **changes)
    assert "different photos" in runs("a", "b").err


def test_a_run_that_does_not_know_its_photos_is_not_called_different(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", num_val_photos=0)
    found, _ = find_runs([tmp_path])
    assert is_same_photos(found)
    assert [accuracy_interval(run) is None for run in sorted(found, key=lambda run: run.folder)] == [False, True]


def test_three_runs_stand_side_by_side_and_one_may_be_without_figures(runs, two, tmp_path):
    write_run(tmp_path / "c", history=(), best_epoch=0, status="failed", positive_label="a")
    answer = runs(*two, "c")
    rows = rows_of(answer.out)
    assert rows["accuracy %"][-1] == rows["F1 %"][-1] == rows["log loss"][-1] == rows["time"][-1] == "–"
    assert rows["positive label"] == ["positive label", "b", "b", "a"]
    assert rows["status"][-1] == "failed"


def test_a_comparison_as_json_has_values_not_texts(runs, two):
    values = as_json(runs(*two, "--json"))
    assert [run["folder"] for run in values["runs"]] == ["a", "b"]
    assert values["recipe"] == {"learning_rate": [0.0007, 0.0001], "is_class_balanced": [True, False]}
    assert values["environment"] == {"device": ["CPU", "GPU"], "cuda": [None, "13"]}
    interval = wilson_interval(186, 200)
    assert values["runs"][1]["val_accuracy_interval"] == {"low": interval.low, "high": interval.high}


def test_what_a_recipe_says_of_itself_is_no_difference(tmp_path):
    write_run(tmp_path / "a")
    (run,), _ = find_runs([tmp_path])
    other = replace(run, recipe=replace(run.recipe, about="x", source="y", seed=5))
    assert recipe_differences([run, other]) == {"seed": [run.recipe.seed, 5]}


def test_one_run_cannot_be_compared(runs, tmp_path):
    write_run(tmp_path / "a")
    check_error(runs("--compare"), 1, "Expected two runs or more to compare, got 1")


# Quick


def test_no_training_stack_is_imported(two, tmp_path):
    """A list must be there at once: TensorFlow alone takes seconds."""
    program = (
        "import sys\n"
        "from edgegender.cli.main import main\n"
        "try:\n    main(['runs', *sys.argv[1:]])\n"
        "finally:\n"
        "    heavy = ('keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'pandas', 'scipy', 'sklearn', 'pyarrow')\n"
        "    print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    for words, shown in (((), "mobilenetv2 1.0 @ 96"), (two, "learning_rate")):
        command = [sys.executable, "-W", "error", "-c", program, *words]
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment(), timeout=60
        )
        assert answer.stderr == "[]\n"
        assert shown in answer.stdout


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00")]
)
def test_a_duration_is_shown_as_clocks_do(seconds, text):
    assert format_seconds(seconds) == text

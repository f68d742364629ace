"""Errors: one root, one exit code a kind, and they survive the way between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from edgegender import errors
from edgegender.errors import EdgeGenderError

ALL_ERRORS: list[EdgeGenderError] = [
    EdgeGenderError("message", hint="hint"),
    errors.UsageError("message", hint="hint"),
    errors.ManifestError("message", hint="hint"),
    errors.DataError("message", hint="hint"),
    errors.ImageError("message", kind="truncated", hint="hint"),
    errors.ModelFileError("message", hint="hint"),
    errors.CheckFailedError("message", hint="hint"),
    errors.OutputError("message", hint="hint"),
    errors.DownloadError("message", hint="hint"),
    errors.TrainingError("message", hint="hint"),
    errors.ResultFileError("message", hint="hint"),
    errors.MeasurementError("message", hint="hint"),
    errors.SourceError("message", hint="hint"),
    errors.WorkerError("message", hint="hint"),
    errors.StoppedError("message", hint="hint"),
    errors.MissingDependencyError("tensorflow", extra="train"),
]


def name_of(error: EdgeGenderError) -> str:
    return type(error).__name__


def test_every_error_class_of_the_module_is_in_this_file() -> None:
    defined = {thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Exception)}
    assert {type(error) for error in ALL_ERRORS} == defined


@pytest.mark.parametrize(
    ("kind", "builtin", "exit_code"),
    [
        (errors.UsageError, ValueError, 2),
        (errors.ManifestError, errors.UsageError, 2),
        (errors.DataError, ValueError, 2),
        (errors.ImageError, ValueError, 1),
        (errors.ModelFileError, ValueError, 1),
        (errors.CheckFailedError, RuntimeError, 1),
        (errors.OutputError, RuntimeError, 3),
        (errors.DownloadError, RuntimeError, 3),
        (errors.TrainingError, RuntimeError, 3),
        (errors.ResultFileError, ValueError, 1),
        (errors.MeasurementError, RuntimeError, 3),
        (errors.SourceError, RuntimeError, 3),
        (errors.WorkerError, RuntimeError, 3),
        (errors.StoppedError, RuntimeError, 130),
        (errors.MissingDependencyError, ImportError, 3),
    ],
)
def test_an_error_is_also_a_builtin_one_and_has_the_exit_code_of_the_drawn_tree(
    kind: type[EdgeGenderError], builtin: type[Exception], exit_code: int
) -> None:
    assert issubclass(kind, builtin)
    assert kind.exit_code == exit_code
    drawn = next(line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in line)
    assert f" {exit_code}" in drawn


@pytest.mark.parametrize("error", ALL_ERRORS, ids=name_of)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_comes_out_of_a_worker_process_as_it_went_in(error: EdgeGenderError, protocol: int) -> None:
    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - made one line above
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize("error", ALL_ERRORS, ids=name_of)
def test_an_error_can_be_copied(error: EdgeGenderError) -> None:
    assert (str(copy.copy(error)), copy.copy(error).hint) == (str(error), error.hint)


def test_a_missing_dependency_names_the_exact_pip_command() -> None:
    error = errors.MissingDependencyError("matplotlib", extra="report")
    assert str(error) == "Expected the package matplotlib to be installed, got none."
    assert error.hint == "pip install 'edgegender[report]'"


def test_a_hint_is_empty_unless_given() -> None:
    assert EdgeGenderError("message").hint == ""

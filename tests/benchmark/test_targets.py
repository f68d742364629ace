"""A target is a module that is looked up when it is asked for."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from edgegender.benchmark import targets
from edgegender.benchmark.presets import SHORT
from edgegender.benchmark.run import DataSource
from edgegender.benchmark.targets import TargetRequest, measure_on_target, parse_target
from edgegender.errors import UsageError
from tests.benchmark.examples import example_result


def request(target="browser"):
    return TargetRequest(
        target=target, address=target, models=(), samples=(), source=DataSource(), threads=(1,), durations=SHORT
    )


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("cpu", "cpu"),
        ("gpu", "gpu"),
        ("browser", "browser"),
        ("ssh://pi@raspberrypi:2222", "ssh"),
        ("adb://", "adb"),
        ("adb://emulator-5554", "adb"),
    ],
)
def test_an_address_names_its_target(address, target):
    assert parse_target(address) == target


@pytest.mark.parametrize("address", ["", "ssh", "ssh://", "adb", "cpu://x", "browser://x", "SSH://host", "tpu", "://x"])
def test_what_is_no_address_of_a_target_is_refused(address):
    with pytest.raises(UsageError, match="Expected a target of cpu, gpu, browser, ssh://user@host, adb://serial, got"):
        parse_target(address)


def test_a_password_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse_target("ftp://me:secret@host")
    assert "secret" not in str(caught.value)


def test_the_targets_module_measures(monkeypatch):
    module = ModuleType("edgegender.benchmark.target_browser")
    asked = []
    module.measure = lambda found: asked.append(found) or [example_result()]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    wanted = request()
    assert measure_on_target(wanted) == [example_result()]
    assert asked == [wanted]


def test_a_target_that_this_version_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(targets, "TARGETS", (*targets.TARGETS, "moon"))
    with pytest.raises(UsageError, match="Expected a target of this version, got moon"):
        measure_on_target(request("moon"))


def test_a_broken_target_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "target_broken.py").write_text("import no_such_package\n")
    monkeypatch.setattr("edgegender.benchmark.__path__", [str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        measure_on_target(request("broken"))


def test_a_request_says_and_keeps_nothing_unless_asked():
    plain = request()
    assert plain.on_progress("text") is None
    assert plain.on_result(example_result()) is None

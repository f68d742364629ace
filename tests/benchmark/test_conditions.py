"""What ran beside a measurement is seen, and named as the cause of what it explains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgegender.benchmark.conditions import (
    Conditions,
    ProcessorTimes,
    compare_times,
    find_causes,
    read_processor_times,
)
from tests.benchmark.examples import CALM

QUIET = Conditions(0.02, 0.0, CALM, CALM)


def write_stat(root, line):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(line)
    return root


def test_busy_time_is_all_but_idle_waiting_and_stolen_time(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    times = read_processor_times(write_stat(tmp_path, "cpu  100 20 30 4000 500 6 7 800 90 9\ncpu0 1 2 3\n"))
    assert (times.busy_s, times.stolen_s) == (1.63, 8.0)
    assert times.own_s > 0


@pytest.mark.parametrize("line", ["", "cpu  1 2 3\n", "intr 1 2 3 4 5 6 7 8\n", "cpu  a b c d e f g h\n"])
def test_another_kernel_tells_nothing(tmp_path, line):
    assert read_processor_times(write_stat(tmp_path, line)) is None


def test_a_machine_without_proc_tells_nothing(tmp_path):
    assert read_processor_times(tmp_path) is None
    assert compare_times(None, ProcessorTimes(1, 1, 1, 1)) == (None, None)
    assert compare_times(ProcessorTimes(1, 1, 1, 1), ProcessorTimes(1, 1, 1, 1)) == (None, None)


def test_own_work_is_not_that_of_others():
    assert compare_times(ProcessorTimes(0, 0, 0, 0), ProcessorTimes(10, 9, 0, 9.5)) == (0.0, 0.0)


def causes(*parts, is_virtual_machine=False):
    return " / ".join(find_causes(list(parts), is_virtual_machine=is_virtual_machine))


def test_a_quiet_machine_has_no_cause():
    assert find_causes([QUIET, QUIET], is_virtual_machine=False) == ()
    assert find_causes([], is_virtual_machine=False) == ()


def test_each_cause_is_named():
    assert "other programs kept up to 1.3 cores busy" in causes(QUIET, replace(QUIET, other_cores=1.3))
    assert "other guests took 4 % of a core" in causes(replace(QUIET, stolen_cores=0.04))
    slow = replace(QUIET, state_after=replace(CALM, frequency_mhz=1500.0))
    assert "the clock was between 1500 and 2400 MHz" in causes(QUIET, slow)
    hot = replace(QUIET, state_after=replace(CALM, throttled_flags=0x4))
    assert "the machine slowed itself down" in causes(hot)


def test_a_virtual_machine_is_the_last_resort():
    assert causes(QUIET, is_virtual_machine=True) == "other guests share the processor"
    busy = replace(QUIET, other_cores=1.0)
    assert "guests share" not in causes(busy, is_virtual_machine=True)


def test_what_the_machine_does_not_tell_is_no_cause():
    unknown = Conditions(None, None, replace(CALM, frequency_mhz=None), replace(CALM, frequency_mhz=None))
    assert causes(unknown) == ""

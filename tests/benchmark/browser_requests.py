"""What the tests of a browser as a target ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from edgegender.benchmark.records import BenchmarkResult, Durations
from edgegender.benchmark.run import DataSource, Sample
from edgegender.benchmark.targets import TargetRequest, measure_on_target
from edgegender.errors import EdgeGenderError

DEADLINE_S = 60  # a hang is a failure, a busy machine is none
SHORT = Durations(min_seconds=0.1, min_runs=20, max_seconds=5.0, warmup_seconds=0.05, warmup_runs=2, preset="")


def grey_samples(count: int, size_px: int = 32) -> list[Sample]:
    """Noise of growing brightness; every third label is wrong."""
    random = np.random.default_rng(0)
    return [
        Sample(
            random.integers(low, low + 60, (size_px, size_px, 3), np.uint8),
            int((low > 96) != (place % 3 == 0)),
        )
        for place, low in enumerate(np.linspace(0, 190, count).astype(int).tolist())
    ]


def make_request(model: Path, taken: list[Sample] | None, /, **changes: object) -> TargetRequest:
    options = {"listen": "127.0.0.1:0", "timeout": "60", **changes.pop("options", {})}  # type: ignore[dict-item]
    values: dict[str, object] = {
        "target": "browser", "address": "browser", "models": (model,), "samples": (taken,),
        "source": DataSource("drawn.csv", "test"), "threads": (1,), "durations": SHORT, "options": options,
        "num_samples": len(taken or ()), "engines": ("wasm",), "command_line": ("edgegender", "benchmark"),
    }  # fmt: skip
    return TargetRequest(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Measuring:
    """A target that measures in a thread, while the test is the phone."""

    request: TargetRequest
    lines: list[str] = field(default_factory=list)
    results: list[BenchmarkResult] = field(default_factory=list)
    kept: list[BenchmarkResult] = field(default_factory=list)
    error: BaseException | None = None

    def __enter__(self) -> Measuring:
        values = {**vars(self.request), "on_progress": self.lines.append, "on_result": self.kept.append}
        request = TargetRequest(**values)

        def work() -> None:
            try:
                self.results = measure_on_target(request)
            except EdgeGenderError as error:
                self.error = error

        self._thread = threading.Thread(target=work)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def url(self) -> str:
        """Waits for the address."""
        return self.line_that(lambda line: line.startswith("http"))

    def line_that(self, is_wanted: Callable[[str], bool]) -> str:
        """Waits for a line for the person."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            found = next(filter(is_wanted, list(self.lines)), None)
            if found is not None:
                return found
            if not self._thread.is_alive():
                break
            time.sleep(0.02)
        pytest.fail(f"{self.error}, {self.lines}")

    def wait(self) -> list[BenchmarkResult]:
        """Returns the results."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.results

"""What one device has done and what it does next. The page decides nothing, so that a reload loses one step at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgegender.benchmark.browser_model import BrowserModel
from edgegender.benchmark.browser_records import (
    BrowserDevice,
    read_latencies_ns,
    read_matrix,
    read_number,
    read_text,
)
from edgegender.benchmark.presets import MIN_UNTIL_RUNS, p90_uncertainty
from edgegender.benchmark.records import Durations
from edgegender.entities import FloatArray
from edgegender.errors import UsageError

ENGINES = ("wasm", "webgpu")
MAX_BLOCK_RUNS = 20_000
MAX_RUNS = 2_000_000  # of one configuration: what a day of a small network gives
_BLOCK_SECONDS = 0.5
_LEAST_BLOCK_SECONDS = 0.05
_MAX_WARMUP_CHANGE = 0.05
_MAX_WARMUP_TIMES = 5  # longer than the warm-up that was asked for, on a device that does not settle
_RETRIES = 1  # of a step that failed
_MAX_HIDDEN = 20  # blocks that do not count before a configuration is given up
Step = dict[str, object]


@dataclass
class SpeedRun:
    """One configuration: its load, its first run, its blocks of runs.

    Args:
        num_threads: Threads of WebAssembly; 1 for a GPU.
        load_ns: Compiling the network.
        first_ns: The first run.
        is_partly: Whether the GPU runs only a part of the network.
        answers: Raw outputs for the speed inputs, before the runs that count.
        warmup_ns: Raw latencies of the warm-up.
        warmup_seconds: How long it took.
        warmup_medians_ns: Of its blocks.
        latencies_ns: Raw latencies.
        seconds: How long they took, with all that is around them.
        gap: Largest difference of a raw output from ``answers``.
        num_hidden: Blocks that were dropped because the page was hidden.
        is_done: Whether all was measured.
        problem: Why it is not going to be.
    """

    num_threads: int
    load_ns: int = 0
    first_ns: int = 0
    is_partly: bool = False
    answers: FloatArray | None = None
    warmup_ns: list[int] = field(default_factory=list)
    warmup_seconds: float = 0.0
    warmup_medians_ns: list[float] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)
    seconds: float = 0.0
    gap: float = 0.0
    num_hidden: int = 0
    is_done: bool = False
    problem: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.is_done or bool(self.problem)

    @property
    def is_settled(self) -> bool:
        """Whether the warm-up's last two blocks are about as fast: a browser compiles what is hot while it runs."""
        if len(self.warmup_medians_ns) < 2:
            return False
        before, after = self.warmup_medians_ns[-2:]
        return abs(after - before) <= _MAX_WARMUP_CHANGE * max(before, after)


@dataclass
class EngineRun:
    """One model by one engine on one device.

    Args:
        model_index: Place of the model.
        model: The model.
        engine: ``wasm`` or ``webgpu``.
        speeds: One a number of threads.
        rows: Raw outputs of the accuracy run by the place of their chunk's first input.
        golden: Raw outputs for the golden inputs.
        problem: Why answers are not going to come.
    """

    model_index: int
    model: BrowserModel
    engine: str
    speeds: list[SpeedRun]
    rows: dict[int, FloatArray] = field(default_factory=dict)
    golden: FloatArray | None = None
    problem: str = ""

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """(first, how many) of each piece of the accuracy run."""
        size, total = self.model.chunk_size, self.model.num_samples
        return [(start, min(size, total - start)) for start in range(0, total, size)]

    def steps(self) -> Iterator[Step]:
        """Gives what is still to be done, in order."""
        common: Step = {"model": self.model_index, "engine": self.engine}
        for speed in self.speeds:
            if not speed.is_over:
                yield {**common, "kind": "speed", "threads": speed.num_threads}
        working = [speed.num_threads for speed in self.speeds if not speed.problem]
        if self.problem or not working:
            return
        common["threads"] = working[-1]  # it is loaded already
        if self.golden is None and len(self.model.golden):
            yield {**common, "kind": "golden", "start": 0, "count": len(self.model.golden)}
        for start, count in self.chunks:
            if start not in self.rows:
                yield {**common, "kind": "answers", "start": start, "count": count}

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return not any(self.steps())

    @property
    def num_steps(self) -> int:
        """Steps from beginning to end."""
        return len(self.speeds) + bool(len(self.model.golden)) + len(self.chunks)


@dataclass(frozen=True)
class BrowserPlan:
    """What every device is asked to do.

    Args:
        models: The models.
        engines: Of ``ENGINES``.
        threads: Numbers of threads for ``wasm``.
        durations: How long.
        until_share: End early when p90's interval is that narrow; ``None`` never.
    """

    models: Sequence[BrowserModel]
    engines: Sequence[str]
    threads: Sequence[int]
    durations: Durations
    until_share: float | None = None


class DeviceRun:
    """One device on its way through a plan. Not thread-safe: the desk holds a lock.

    Args:
        device: What it is.
        plan: What it is asked to do.
    """

    def __init__(self, device: BrowserDevice, plan: BrowserPlan) -> None:
        self.device = device
        self._plan = plan
        self._failures: Counter[tuple[object, ...]] = Counter()
        self.notes: list[tuple[str, str]] = []  # (kind, text) of what was asked for and this device does not have
        engines = [engine for engine in plan.engines if engine != "webgpu" or device.gpu]
        if "webgpu" in plan.engines and not device.gpu:
            self.notes.append(("webgpu", "WebGPU was asked for, and this browser has none"))
        threads = [number for number in plan.threads if number == 1 or device.can_thread]
        if len(threads) < len(plan.threads):
            self.notes.append(("threads", "threads were asked for, and this page has none: they need https"))
        self.engines = [
            EngineRun(
                index, model, engine, [SpeedRun(number) for number in ((threads or [1]) if engine == "wasm" else [1])]
            )
            for index, model in enumerate(plan.models)
            for engine in engines
        ]

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        total = sum(run.num_steps for run in self.engines)
        left = sum(1 for run in self.engines for _ in run.steps())
        return 1.0 - min(left, total) / max(1, total)

    def next_step(self) -> Step | None:
        """Returns what the page does next; ``None`` when it is done."""
        for run in self.engines:
            for step in run.steps():
                return {**step, "progress": self.progress}
        return None

    def _find(self, step: object) -> tuple[EngineRun, SpeedRun, Mapping[str, object]]:
        if isinstance(step, Mapping):
            for run in self.engines:
                if run.model_index == step.get("model") and run.engine == step.get("engine"):
                    for speed in run.speeds:
                        if speed.num_threads == step.get("threads"):
                            return run, speed, step
        raise UsageError("Expected a step of this run, got another.")

    def take(self, report: Mapping[str, object]) -> Step:
        """Takes what came out of a step and returns how it goes on: ``phase`` stands there while runs are wanted.

        Args:
            report: From the page; nothing in it is trusted.

        Raises:
            UsageError: It does not belong to a step, or a value makes no sense.
        """
        run, speed, step = self._find(report.get("step"))
        kind = report.get("kind")
        if kind == "failed":
            return self._fail(run, speed, step, read_text(report, "message", most=200))
        if kind == "start":
            return self._start(run, speed, report)
        if kind == "block" and speed.answers is not None and not speed.is_over:
            return self._take_block(speed, report)
        width = len(run.model.classifier.metadata.labels)
        if kind == "golden":
            run.golden = read_matrix(report, "answers", (len(run.model.golden), width))
            return {}
        chunk = next((chunk for chunk in run.chunks if chunk[0] == step.get("start")), None)
        if kind == "answers" and chunk is not None:
            run.rows[chunk[0]] = read_matrix(report, "answers", (chunk[1], width))
            return {}
        raise UsageError("Expected a report of this step, got another.")

    def _fail(self, run: EngineRun, speed: SpeedRun, step: Mapping[str, object], message: str) -> Step:
        place = (run.model_index, run.engine, speed.num_threads, str(step.get("kind")), str(step.get("start")))
        self._failures[place] += 1
        if self._failures[place] <= _RETRIES:  # a phone loses its network, or takes the GPU away for a moment
            return {}
        if step.get("kind") == "speed":
            speed.problem = message or "no reason given"
        else:
            run.problem = message or "no reason given"
        if run.engine == "webgpu":
            self.notes.append(("webgpu", f"WebGPU did not do its part: {message}"))
        return {}

    def model_runs(self, model_index: int) -> list[EngineRun]:
        """Returns what this device does with one model."""
        return [run for run in self.engines if run.model_index == model_index]

    def _start(self, run: EngineRun, speed: SpeedRun, report: Mapping[str, object]) -> Step:
        """A page that was loaded anew measures the configuration from its beginning."""
        shape = (len(run.model.speed), len(run.model.classifier.metadata.labels))
        answers = read_matrix(report, "answers", shape)
        load_ns, first_ns = (round(1e6 * read_number(report, name)) for name in ("loadMs", "firstMs"))
        speed.load_ns, speed.first_ns, speed.answers = load_ns, first_ns, answers
        speed.is_partly = report.get("isPartly") is True
        speed.warmup_ns, speed.warmup_seconds, speed.warmup_medians_ns = [], 0.0, []
        speed.latencies_ns, speed.seconds, speed.gap = [], 0.0, 0.0
        return self._go_on(speed)

    def _take_block(self, speed: SpeedRun, report: Mapping[str, object]) -> Step:
        latencies_ns = read_latencies_ns(report, most=MAX_BLOCK_RUNS)
        seconds, gap = read_number(report, "elapsedMs") / 1e3, read_number(report, "gap", most=1e12)
        if report.get("isHidden") is True:
            speed.num_hidden += 1
            if speed.num_hidden > _MAX_HIDDEN:
                speed.problem = "the page was hidden again and again"
            return self._go_on(speed)
        if report.get("phase") == "warmup":
            speed.warmup_ns += latencies_ns
            speed.warmup_seconds += seconds
            speed.warmup_medians_ns.append(float(np.median(latencies_ns)))
        else:
            speed.latencies_ns += latencies_ns
            speed.seconds += seconds
            speed.gap = max(speed.gap, gap)
        return self._go_on(speed)

    def _is_warm(self, speed: SpeedRun) -> bool:
        durations, seconds = self._plan.durations, speed.warmup_seconds
        if speed.latencies_ns or seconds >= durations.max_seconds:
            return True
        has_enough = seconds >= durations.warmup_seconds and len(speed.warmup_ns) >= durations.warmup_runs
        return has_enough and (speed.is_settled or seconds >= _MAX_WARMUP_TIMES * durations.warmup_seconds)

    def _has_enough(self, speed: SpeedRun) -> bool:
        durations, num_runs, share = self._plan.durations, len(speed.latencies_ns), self._plan.until_share
        if num_runs and (speed.seconds >= durations.max_seconds or num_runs >= MAX_RUNS):
            return True
        if speed.seconds >= durations.min_seconds and num_runs >= durations.min_runs:
            return True
        is_due = share is not None and num_runs >= MIN_UNTIL_RUNS
        return is_due and p90_uncertainty(speed.latencies_ns) <= (share or 0.0)

    def _go_on(self, speed: SpeedRun) -> Step:
        durations = self._plan.durations
        if not speed.problem and self._has_enough(speed):
            speed.is_done = True
        if speed.is_over:
            return {"progress": self.progress}
        is_warm = self._is_warm(speed)
        left = durations.min_seconds - speed.seconds if is_warm else durations.warmup_seconds / 2
        return {
            "phase": "timed" if is_warm else "warmup",
            "seconds": min(_BLOCK_SECONDS, max(_LEAST_BLOCK_SECONDS, left)),
            "most": MAX_BLOCK_RUNS,
            "progress": self._progress_within(speed),
        }

    def _progress_within(self, speed: SpeedRun) -> float:
        durations, total = self._plan.durations, sum(run.num_steps for run in self.engines)
        by_time = speed.seconds / max(durations.min_seconds, 1e-9)
        by_runs = len(speed.latencies_ns) / durations.min_runs
        return self.progress + min(1.0, by_time, by_runs) / max(1, total)

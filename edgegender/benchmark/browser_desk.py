"""Where devices report: registers them, gives them work, and knows when all that was wanted has arrived."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping

from edgegender.benchmark.browser_records import read_device, read_text
from edgegender.benchmark.browser_run import BrowserPlan, DeviceRun, EngineRun
from edgegender.errors import UsageError

MAX_DEVICES = 64
_LOOK_SECONDS = 0.25


class Desk:
    """The one place that handler threads share; every method holds its lock.

    Args:
        plan: What each device is asked to do.
        num_devices: How many are waited for.
        on_engine: Called, under the lock, with each (device, engine) of a model that is over.
        on_note: Takes a line for a person.
    """

    def __init__(
        self,
        plan: BrowserPlan,
        *,
        num_devices: int,
        on_engine: Callable[[DeviceRun, EngineRun], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._num_devices = num_devices
        self._on_engine = on_engine
        self._on_note = on_note
        self._lock = threading.RLock()
        self._is_done = threading.Event()
        self._runs: dict[str, DeviceRun] = {}
        self._told: set[int] = set()
        self._done: set[str] = set()
        self._heard = time.monotonic()
        self._error: Exception | None = None

    @property
    def devices(self) -> list[DeviceRun]:
        """Devices in the order in which they came."""
        with self._lock:
            return list(self._runs.values())

    @property
    def plan(self) -> BrowserPlan:
        """What each device is asked to do."""
        return self._plan

    def touch(self) -> None:
        """Takes note that a device is there."""
        self._heard = time.monotonic()

    def register(self, request: Mapping[str, object]) -> dict[str, object]:
        """Returns the number of a device, the one it had when it comes back, and what it must know of the models.

        Raises:
            UsageError: What it says makes no sense, or there are too many.
        """
        with self._lock:
            known = request.get("device")
            if isinstance(known, str) and known in self._runs:
                number = known
                self._on_note(f"{self._runs[number].device.title} is back")
            else:
                number = self._add(request)
            return {"device": number, "models": [model.describe() for model in self._plan.models]}

    def _add(self, request: Mapping[str, object]) -> str:
        about = request.get("about")
        if not isinstance(about, Mapping):
            raise UsageError("Expected a device to say what it is, got nothing.")
        if len(self._runs) >= MAX_DEVICES:
            raise UsageError(f"Expected at most {MAX_DEVICES} devices, got more.")
        device = read_device(read_text(request, "name"), about)
        number = secrets.token_urlsafe(9)
        self._runs[number] = DeviceRun(device, self._plan)
        self._on_note(f"{device.title} has come: {device.platform}, {device.browser}")
        return number

    def _run(self, number: str) -> DeviceRun:
        if number not in self._runs:
            raise UsageError("Expected a device that has registered, got another.")
        return self._runs[number]

    def next_step(self, number: str) -> dict[str, object]:
        """Returns what a device does next.

        Raises:
            UsageError: It is unknown.
        """
        with self._lock:
            step = self._run(number).next_step()
            if step is not None:
                self._on_note(f"{100 * self._run(number).progress:.0f} % of {self._run(number).device.title}")
            return {"step": step}

    def take(self, number: str, report: Mapping[str, object]) -> dict[str, object]:
        """Takes a report and returns how the step goes on.

        Raises:
            UsageError: The device is unknown, or the report makes no sense.
        """
        with self._lock:
            run = self._run(number)
            answer = run.take(report)
            if report.get("kind") == "failed":
                self._on_note(f"{run.device.title}: {read_text(report, 'message', most=200)}")
            self._tell_results(run)
            return answer

    def _tell_results(self, run: DeviceRun) -> None:
        """Hands on the engines of each model that is over: what one of them says may speak of another."""
        for index in range(len(self._plan.models)):
            engines = run.model_runs(index)
            if id(engines[0]) in self._told or not all(engine.is_over for engine in engines):
                continue
            self._told.add(id(engines[0]))
            for engine in engines:
                self._on_engine(run, engine)

    def finish(self, number: str) -> None:
        """Takes note that a device has been told that it is done."""
        with self._lock:
            self._done.add(number)
            if len(self._done) >= self._num_devices:
                self._is_done.set()

    def fail(self, error: Exception) -> None:
        """Ends the wait with an error of a handler thread."""
        self._error = error
        self._is_done.set()

    def wait(self, timeout_s: float) -> bool:
        """Waits until all devices are done and returns True; False when none was heard of for ``timeout_s``.

        Raises:
            EdgeGenderError: What a handler thread failed with.
        """
        while not self._is_done.wait(_LOOK_SECONDS):
            if time.monotonic() - self._heard > timeout_s:
                return False
        if self._error is not None:
            raise self._error
        return True

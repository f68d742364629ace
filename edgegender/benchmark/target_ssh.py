"""A machine that OpenSSH reaches: the same core runs there, on the same bytes, and its results come back.

Options: ``python=PATH`` takes an environment there that has this edgegender instead of making one; ``wheel=FILE`` is
installed there instead of a wheel of the code that runs here; ``extra=tflite-runtime`` installs that extra, for 32-bit
systems; ``keep=yes`` leaves the environment there for the next time; ``config=FILE`` is read instead of
``~/.ssh/config``.

Nothing is left on the host and nothing of it outside of ``~/.cache/edgegender/benchmark`` is touched: not when the
connection breaks, nor after Ctrl-C. Neither its name, nor the user, nor the address stands in a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import edgegender
from edgegender import errors
from edgegender.benchmark.records import BenchmarkResult, BenchmarkWarning
from edgegender.benchmark.remote_agent import SILENCE_S
from edgegender.benchmark.remote_wheel import pack_wheel
from edgegender.benchmark.result import parse_result
from edgegender.benchmark.target_ssh_address import parse_ssh_address
from edgegender.benchmark.target_ssh_job import JOB_FILE, SentData, send_job
from edgegender.benchmark.target_ssh_session import SshSession
from edgegender.benchmark.targets import TargetRequest
from edgegender.errors import EdgeGenderError, MeasurementError, ResultFileError, UsageError
from edgegender.runtime.model_file import ModelFile, read_model

LOCK_WAIT_S = 10.0  # a run that was interrupted just now may still be cleaning up
_DEFAULT_PYTHON = "python3"
_OPTIONS = ("python", "wheel", "extra", "keep", "config")
_EXTRAS = ("", "tflite-runtime")
_YES = {"yes": True, "no": False}
_RAISED_AGAIN = ("UsageError", "DataError", "ModelFileError")


@dataclass(frozen=True)
class SshOptions:
    """How to reach a host and what to install there.

    Args:
        python: An interpreter there whose environment has edgegender; empty makes an environment.
        wheel: What to install; ``None`` packs the edgegender that runs here.
        extra: Of edgegender.
        is_kept: Whether the environment stays there.
        config: Instead of ``~/.ssh/config``.
    """

    python: str = ""
    wheel: Path | None = None
    extra: str = ""
    is_kept: bool = False
    config: Path | None = None


def _file_option(options: Mapping[str, str], name: str) -> Path | None:
    if name not in options:
        return None
    path = Path(options[name])
    if not path.is_file():
        raise UsageError(f"Expected a file, got none (--option {name}={path}).")
    return path


def parse_ssh_options(options: Mapping[str, str]) -> SshOptions:
    """Returns the target's options.

    Raises:
        UsageError: One is unknown, makes no sense, or goes against another.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise UsageError(f"Expected options of {', '.join(_OPTIONS)} for ssh, got {unknown[0]}.")
    keep, extra, python = options.get("keep", "no"), options.get("extra", ""), options.get("python", "")
    if keep not in _YES:
        raise UsageError(f"Expected keep=yes or keep=no, got keep={keep}.")
    if extra not in _EXTRAS:
        raise UsageError(f"Expected extra=tflite-runtime, got extra={extra}.")
    if "python" in options and (not python or "\n" in python):
        raise UsageError("Expected the path of an interpreter on the host, got none (--option python=PATH).")
    against = sorted({"wheel", "extra", "keep"} & set(options))
    if python and against:
        raise UsageError(
            f"Expected python or {against[0]}, got both.",
            hint="Nothing is installed where python names an environment.",
        )
    return SshOptions(python, _file_option(options, "wheel"), extra, _YES[keep], _file_option(options, "config"))


def _require_64_bit(session: SshSession, options: SshOptions) -> None:
    if session.pointer_bits >= 64 or options.extra or options.python:
        return
    raise MeasurementError(
        f"Expected a 64-bit Python on the host, got {session.pointer_bits}-bit ({session.machine}).",
        hint="LiteRT has no 32-bit wheel. Take the older runtime: --option extra=tflite-runtime",
    )


def _install(session: SshSession, options: SshOptions, request: TargetRequest) -> None:
    """Sees to it that this edgegender can run there."""
    name, wheel = "", b""
    if options.wheel is not None:
        name, wheel = options.wheel.name, options.wheel.read_bytes()
    elif not options.python:
        name, wheel = pack_wheel(has_litert=not options.extra)
    words = ["environment", hashlib.sha256(wheel).hexdigest()[:16], *([options.extra] if options.extra else [])]
    environment = "" if options.python else "-".join(words)
    limits = {"silence_s": SILENCE_S, "lock_wait_s": LOCK_WAIT_S}
    session.order("open", environment=environment, is_kept=options.is_kept, **limits)
    if not session.event()["has_environment"]:
        request.on_progress("installing edgegender on the host, some minutes …")
        session.send(name, wheel)
        session.order("install", wheel=name, extra=f"[{options.extra}]" if options.extra else "")
        session.event()
    session.order("check")
    found = session.event()
    if found["version"] != edgegender.__version__:
        got = found["version"] or found["last_line"] or "none"
        raise MeasurementError(
            f"Expected edgegender {edgegender.__version__} in the host's environment, got {got}.",
            hint="Install this version there, or leave --option python away.",
        )


def _merge(parts: list[BenchmarkResult]) -> BenchmarkResult:
    """Returns one engine's numbers of threads, measured one after the other, as one result."""
    first, *others = parts
    added = [warning for part in others for warning in part.warnings if warning.num_threads is not None]
    return replace(
        first,
        latencies=tuple(record for part in parts for record in part.latencies),
        warnings=(*first.warnings, *added),
    )


class Collector:
    """Takes the worker's answers and makes results of them.

    Args:
        request: What was asked for.
        files: Its models.
        sent: What was sent for each of them.
    """

    def __init__(self, request: TargetRequest, files: list[ModelFile], sent: list[SentData | None]) -> None:
        self._request, self._files, self._sent = request, files, sent
        self._number, self._threads = 0, request.threads
        self._parts: list[BenchmarkResult] = []
        self.results: list[BenchmarkResult] = []

    def take(self, event: Mapping[str, Any]) -> None:
        """Takes one answer.

        Raises:
            MeasurementError: A result is not that of the model and photos that were sent.
            EdgeGenderError: The worker refused.
        """
        if event["event"] == "progress":
            self._request.on_progress(event["text"])
        elif event["event"] == "begin":
            self.finish()
            self._number, self._threads = event["number"], tuple(event["threads"])
        elif event["event"] == "result":
            self._parts.append(self._checked(event["document"]))
        elif event["event"] == "failed":
            kind = event["kind"] if event["kind"] in _RAISED_AGAIN else "MeasurementError"
            raised: EdgeGenderError = getattr(errors, kind)(event["message"], hint=event["hint"])
            raise raised

    def _checked(self, document: Mapping[str, object]) -> BenchmarkResult:
        file, sent = self._files[self._number], self._sent[self._number]
        try:
            result = parse_result(document, where="the host's result")
        except ResultFileError as error:
            raise MeasurementError(f"Expected a sound result from the host, got: {error}") from error
        if result.model.sha256 != file.sha256:
            raise MeasurementError("Expected the result of the model that was sent, got another's.")
        # later numbers of threads see the speed run's pictures only
        is_whole = result.latencies[0].num_threads == self._threads[0]
        if is_whole and (result.data.sha256 if result.data else "") != (sent.sha256 if sent else ""):
            raise MeasurementError("Expected the result of the photos that were sent, got others'.")
        command_line = tuple(word.replace(self._request.address, "ssh://…") for word in self._request.command_line)
        return replace(result, target="ssh", command_line=command_line)

    def finish(self, reason: str = "") -> None:
        """Hands on what there is of the current model and engine.

        Args:
            reason: Why no more will come; empty when it is whole.
        """
        if not self._parts:
            return
        result = _merge(self._parts)
        if len(self._parts) < len(self._threads):
            text = f"only {len(self._parts)} of {len(self._threads)} numbers of threads were measured: {reason}"
            result = replace(result, warnings=(*result.warnings, BenchmarkWarning("partial", text)))
        self._parts = []
        self.results.append(result)
        self._request.on_result(result)


def _run(session: SshSession, collector: Collector) -> None:
    session.order("run", job=JOB_FILE)
    while (event := session.event())["event"] != "ran":
        collector.take(event)
    if event["status"]:
        status, said = event["status"], event["last_line"]
        got = f"signal {-status}" if status < 0 else said or f"exit code {status}"
        raise MeasurementError(
            f"Expected the measuring process on the host to finish, got: {got}.",
            hint="The system kills what takes too much memory: close other programs there, or measure a smaller model.",
        )


def measure(request: TargetRequest) -> list[BenchmarkResult]:
    """Returns what was measured on a machine that OpenSSH reaches: one result a model and engine.

    Args:
        request: What to measure. 0 as a number of threads stands for all cores of the host. What was measured before a
            failure goes to ``on_result``; where numbers of threads are missing, a warning of kind ``partial`` says so.

    Raises:
        UsageError: The address or an option makes no sense.
        MeasurementError: The host is away, asks for a password, is not known, has no fitting Python, cannot install,
            or the connection broke.
        DataError: The samples do not fit the model.
        ModelFileError: A model is damaged.
    """
    address, options = parse_ssh_address(request.address), parse_ssh_options(request.options)
    files = [read_model(path) for path in request.models]
    request.on_progress(f"connecting to {address.host} …")
    with SshSession(address, python=options.python or _DEFAULT_PYTHON, config=options.config) as session:
        _require_64_bit(session, options)
        _install(session, options, request)
        collector = Collector(request, files, send_job(request, files, session.send))
        try:
            _run(session, collector)
        except (EdgeGenderError, KeyboardInterrupt) as error:
            collector.finish(
                "interrupted" if isinstance(error, KeyboardInterrupt) else "the connection or the host failed"
            )
            raise
        collector.finish()
        session.order("close")
    return collector.results

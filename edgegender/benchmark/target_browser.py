"""Any phone's browser as a target: it opens a page, runs the same file by LiteRT.js, and sends times and answers back.

Options (``--option KEY=VALUE``):

- ``listen``: where the page is served, ``0.0.0.0:8081`` by default; port 0 takes a free one.
- ``litertjs``: a folder in which ``npm install @litertjs/core`` was run; without it the pinned version is fetched.
- ``cache``: the folder for what was fetched.
- ``https``: ``yes`` makes a certificate, of which browsers warn once. Threads, WebGPU, a clock finer than 100 µs and a
  screen that stays on need https, or a browser on this machine.
- ``certificate``, ``key``: PEM files of one that phones trust.
- ``timeout``: seconds without a word from any device after which it ends; 600 by default.
- ``devices``: how many devices are waited for; 1 by default.

``--engine`` is ``wasm``, ``webgpu``, or both.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgegender.address import parse_address, reachable_host
from edgegender.benchmark.browser_access import make_certificate, qr_lines, read_certificate
from edgegender.benchmark.browser_desk import MAX_DEVICES, Desk
from edgegender.benchmark.browser_litertjs import LiteRtJs, find_litertjs, pull_litertjs
from edgegender.benchmark.browser_model import BrowserModel, gather_model
from edgegender.benchmark.browser_result import explain_nothing, make_result
from edgegender.benchmark.browser_run import ENGINES, BrowserPlan, DeviceRun, EngineRun
from edgegender.benchmark.browser_server import PageServer
from edgegender.benchmark.golden import golden_images
from edgegender.benchmark.records import BenchmarkResult
from edgegender.benchmark.targets import TargetRequest
from edgegender.errors import MeasurementError, UsageError

DEFAULT_TIMEOUT_S = 600.0
DEFAULT_PORT = ":8081"
_ALL_HOSTS = "0.0.0.0"  # noqa: S104 - a phone must reach it; the address holds a token
_KEYS = ("cache", "certificate", "devices", "https", "key", "listen", "litertjs", "timeout")


@dataclass(frozen=True)
class BrowserOptions:
    """The options of this target, read."""

    host: str
    port: int
    litertjs: Path | None
    cache: Path | None
    certificate: tuple[Path, Path] | None
    is_https: bool
    timeout_s: float
    num_devices: int

    def make_tls(self) -> Callable[[], ssl.SSLContext] | None:
        """Returns what makes the server's certificate; ``None`` for plain http."""
        if self.certificate is not None:
            certificate, key = self.certificate
            return lambda: read_certificate(certificate, key)
        return (lambda: make_certificate(reachable_host(self.host))) if self.is_https else None


def _number(options: Mapping[str, str], key: str, default: float, *, most: float) -> float:
    text = options.get(key, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise UsageError(f"Expected a number from 0 to {most:g} as {key}, got {text!r}.", hint=f"--option {key}=10")
    return value


def read_options(options: Mapping[str, str]) -> BrowserOptions:
    """Returns the options of a request.

    Raises:
        UsageError: One is unknown or makes no sense.
    """
    unknown = sorted(set(options) - set(_KEYS))
    if unknown:
        raise UsageError(f"Expected options of {', '.join(_KEYS)}, got {unknown[0]} (target browser).")
    host, port = parse_address(options.get("listen", DEFAULT_PORT), default_host=_ALL_HOSTS)
    if ("certificate" in options) != ("key" in options):
        raise UsageError("Expected a certificate and its key, got one of them.", hint="--option key=FILE")
    https = options.get("https", "no")
    if https not in {"yes", "no"}:
        raise UsageError(f"Expected https=yes or https=no, got {https!r}.")
    folder, cache = options.get("litertjs"), options.get("cache")
    pair = (Path(options["certificate"]), Path(options["key"])) if "certificate" in options else None
    return BrowserOptions(
        host=host,
        port=port,
        litertjs=Path(folder) if folder else None,
        cache=Path(cache) if cache else None,
        certificate=pair,
        is_https=https == "yes",
        timeout_s=_number(options, "timeout", DEFAULT_TIMEOUT_S, most=86_400),
        num_devices=max(1, int(_number(options, "devices", 1, most=MAX_DEVICES))),
    )


def _engines(request: TargetRequest) -> tuple[str, ...]:
    unknown = [name for name in request.engines if name not in ENGINES]
    if unknown:
        raise UsageError(f"Expected an engine of {', '.join(ENGINES)}, got {unknown[0]} (target browser).")
    return request.engines or ENGINES


def _find_litertjs(options: BrowserOptions, request: TargetRequest) -> LiteRtJs:
    if options.litertjs is not None:
        return find_litertjs(options.litertjs)
    if options.cache is None:
        raise UsageError(
            "Expected LiteRT.js or a folder to fetch it into, got neither.",
            hint="--option litertjs=FOLDER, in which npm install @litertjs/core was run",
        )
    return pull_litertjs(
        options.cache,
        on_progress=lambda done, total: request.on_progress(f"fetching LiteRT.js: {done:,} of {total:,} bytes"),
    )


def _gather(request: TargetRequest, stack: contextlib.ExitStack) -> list[BrowserModel]:
    models = []
    for path, samples in zip(request.models, request.samples, strict=True):
        model = gather_model(
            path,
            samples,
            golden_images,
            on_sample=lambda done: request.on_progress(f"reading photo {done} of {request.num_samples}"),
        )
        stack.callback(model.samples_file.close)
        models.append(model)
    return models


def _invite(server: PageServer, request: TargetRequest) -> None:
    request.on_progress("Open this address on the phone, in the same network:")
    for line in qr_lines(server.url):
        request.on_progress(line)
    request.on_progress(server.url)


@dataclass
class _Collected:
    """Results as they become whole; what is left at the end is taken as it is."""

    request: TargetRequest
    litertjs_version: str
    results: dict[int, BenchmarkResult]

    def take(self, device: DeviceRun, run: EngineRun) -> None:
        """Keeps the result of an engine, unless it is kept already or there is none."""
        if id(run) in self.results:
            return
        result = make_result(device, run, self.request, litertjs_version=self.litertjs_version)
        if result is not None:
            self.results[id(run)] = result
            self.request.on_result(result)

    def in_order(self, devices: list[DeviceRun]) -> list[BenchmarkResult]:
        """Returns the results by model, device and engine."""
        runs = [(run.model_index, place, run) for place, device in enumerate(devices) for run in device.engines]
        return [self.results[id(run)] for _, _, run in sorted(runs, key=lambda key: key[:2]) if id(run) in self.results]


def measure(request: TargetRequest) -> list[BenchmarkResult]:
    """Serves the page until as many devices as wanted are done and returns what they measured.

    ``on_progress`` is told the address and its QR code, line by line.

    Raises:
        UsageError: An option or an engine makes no sense, or a browser cannot take a model's inputs.
        DataError: The samples do not fit a model.
        ModelFileError: A model is missing, damaged or altered.
        DownloadError: LiteRT.js cannot be fetched.
        OutputError: The port cannot be opened, or a result cannot be kept.
        MeasurementError: No device came, or none had anything to tell.
    """
    options, engines = read_options(request.options), _engines(request)
    litertjs = _find_litertjs(options, request)
    with contextlib.ExitStack() as stack:
        models = _gather(request, stack)
        plan = BrowserPlan(models, engines, request.threads or (1,), request.durations, request.until_share)
        collected = _Collected(request, litertjs.version, {})
        desk = Desk(plan, num_devices=options.num_devices, on_engine=collected.take, on_note=request.on_progress)
        server = PageServer(desk, litertjs, host=options.host, port=options.port, make_tls=options.make_tls())
        try:
            with server:
                _invite(server, request)
                desk.wait(options.timeout_s)
        finally:  # what has arrived is kept, whatever ended the wait
            for device in desk.devices:
                for run in device.engines:
                    collected.take(device, run)
        results = collected.in_order(desk.devices)
    if not results:
        reasons = "; ".join(f"{title}: {reason}" for title, reason in explain_nothing(desk.devices).items())
        raise MeasurementError(
            f"Expected a device to measure, got {reasons or 'none'} (in {options.timeout_s:g} s).",
            hint="Open the address on a phone in the same network; a firewall may be in the way.",
        )
    return results

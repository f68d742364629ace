"""A browser as a target: the page in a real one, its answers against this machine's, and what is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edgegender.benchmark.browser_access import make_certificate, qr_lines, read_certificate
from edgegender.benchmark.browser_litertjs import SERVED, find_litertjs, pull_litertjs
from edgegender.benchmark.golden import golden_images, hash_golden
from edgegender.benchmark.records import Durations, EngineRecord
from edgegender.benchmark.result import parse_result, result_to_json
from edgegender.benchmark.run import Sample
from edgegender.benchmark.target_browser import measure
from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.entities import QuantizationScheme
from edgegender.errors import MeasurementError, OutputError, UsageError
from edgegender.images import read_image
from edgegender.metrics import evaluate_scores
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.model_file import embedded_model_path
from tests.benchmark.browser_requests import DEADLINE_S, SHORT, Measuring, grey_samples, make_request
from tests.benchmark.litertjs import pack_litertjs, unpack_litertjs
from tests.reporting.browser import launched_browser
from tests.tiny_model import build_tiny_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE_WH = (390, 844)
LONG = Durations(min_seconds=600, min_runs=10**6, max_seconds=600, warmup_seconds=0.05, warmup_runs=2, preset="")
# A headless browser is never hidden: the page is told that it was, in the middle of a block of runs.
HIDE_WITHIN_A_BLOCK = """
const now = performance.now.bind(performance);
performance.now = () => {
  performance.now = now;
  document.dispatchEvent(new Event('visibilitychange'));
  Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true});
  document.dispatchEvent(new Event('visibilitychange'));
  return now();
};
null;  // or playwright would call the function
"""
# Float networks add in another order than here; what was seen is 1e-7.
FLOAT_TOLERANCE = 1e-5
LABELS = ("female", "male")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_litertjs(tmp_path_factory.mktemp("litertjs"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched_browser() as started:
        yield started


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "tiny.tflite")


def drawn_samples(folder: Path, classifier: Classifier, count: int) -> list[Sample]:
    rows = write_drawn_faces(folder, num_faces=count, seed=3, size_px=160)
    return [
        Sample(
            classifier.pre_process(read_image(folder / row.path), row.face_box),
            LABELS.index(row.label),
            photo_sha256=row.sha256,
            box_source="manifest",
        )
        for row in rows
    ]


def wait_for(page: Page, condition: str) -> None:
    """Waits for a condition; playwright's own way needs ``eval``, which the page's policy forbids."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(condition)


@contextlib.contextmanager
def open_page(browser: Browser, url: str) -> Iterator[tuple[Page, list[str]]]:
    """Opens the page on a phone and gives it with what is wrong there and where its requests went elsewhere."""
    width, height = PHONE_WH
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(1000 * DEADLINE_S)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Security Policy" in message.text else None)
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else wrong.append(request.url))
    try:
        page.goto(url)
        yield page, wrong
    finally:  # or it would go on measuring after a failed test
        page.close()


def start(page: Page, name: str = "Test phone") -> None:
    page.fill("#name", name)
    page.click("#start")


@pytest.mark.browser
def test_a_browser_answers_as_this_machine_does(browser: Browser, archives: Path, tmp_path: Path) -> None:
    """The same file on the same drawn faces: accuracy, each score, golden scores; quantized and float."""
    models = (embedded_model_path(), build_tiny_model(tmp_path / "float.tflite", scheme=QuantizationScheme.FLOAT32))
    classifiers = [Classifier(model) for model in models]
    samples = (drawn_samples(tmp_path / "drawn", classifiers[0], 70), grey_samples(10))
    request = make_request(
        models[0], None, models=models, samples=samples, threads=(1, 2), engines=(), options={"cache": str(archives)}
    )
    with Measuring(request) as measuring, open_page(browser, measuring.url()) as (page, wrong):
        page.screenshot(path=tmp_path / "setup.png")
        start(page)
        page.wait_for_selector("#running:not([hidden])")
        page.screenshot(path=tmp_path / "running.png")
        page.wait_for_selector("#done:not([hidden])")
        page.screenshot(path=tmp_path / "done.png")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE_WH[0]  # nothing sticks out sideways
        results = measuring.wait()
    assert wrong == []
    assert measuring.kept == results
    assert [result.model.name for result in results] == [classifier.metadata.name for classifier in classifiers]
    for result, classifier, taken, tolerance in zip(results, classifiers, samples, (0.0, FLOAT_TOLERANCE), strict=True):
        scores = np.stack([classifier.forward(sample.image) for sample in taken if sample.image is not None])
        expected = evaluate_scores(
            classifier.calibrate(scores),
            np.asarray([sample.label_index for sample in taken]),
            labels=LABELS,
            positive_label="male",
            threshold=classifier.metadata.threshold,
        )
        assert result.evaluation is not None
        assert result.evaluation.accuracy == expected.accuracy
        assert result.evaluation.f1 == expected.f1
        golden = golden_images(classifier.metadata.preprocessing.input_size_px)
        assert result.parity is not None
        assert result.parity.golden_sha256 == hash_golden(golden)
        ours = np.stack([classifier.forward(image) for image in golden])
        assert np.abs(np.asarray(result.parity.scores) - ours).max() <= tolerance
        assert result.data is not None
        assert result.data.num_photos == len(taken)
        assert [record.num_threads for record in result.latencies] == [1, 2]
        for record in result.latencies:
            assert record.is_output_equal
            assert record.num_runs >= SHORT.min_runs
            assert record.first_inference_ns > 0
            assert min(record.latencies_ns) >= 0
        assert result.target == "browser"
        assert result.engine == EngineRecord("litert.js", "2.5.3", "wasm")
        assert result.machine.board == "Test phone"
        assert "Chrom" in result.machine.operating_system
        assert "Mozilla" not in json.dumps(result_to_json(result))
        assert [warning.text for warning in result.warnings if warning.kind == "webgpu"] != []
        assert not {"partial", "output", "not_isolated"} & {warning.kind for warning in result.warnings}
        assert parse_result(json.loads(json.dumps(result_to_json(result))), where="result") == result


@pytest.mark.browser
def test_a_page_that_is_loaded_anew_goes_on(browser: Browser, archives: Path, tmp_path: Path, tiny: Path) -> None:
    folder = unpack_litertjs(archives, tmp_path / "npm")
    durations = Durations(min_seconds=1.0, min_runs=20, max_seconds=30.0, warmup_seconds=0.05, warmup_runs=2, preset="")
    request = make_request(tiny, grey_samples(20), durations=durations, options={"litertjs": str(folder)})
    with Measuring(request) as measuring, open_page(browser, measuring.url()) as (page, _):
        start(page)
        wait_for(page, "document.querySelector('#progress').value > 0")
        page.reload()
        page.wait_for_selector("#done:not([hidden])")
        (result,) = measuring.wait()
    assert any("is back" in line for line in measuring.lines), measuring.lines
    assert result.machine.board == "Test phone"
    assert result.data is not None
    assert result.data.num_photos == 20
    assert not {"partial", "output"} & {warning.kind for warning in result.warnings}


@pytest.mark.browser
def test_what_runs_while_the_page_is_hidden_does_not_count(browser: Browser, archives: Path, tiny: Path) -> None:
    request = make_request(tiny, None, durations=LONG, options={"cache": str(archives), "timeout": "2"})
    with Measuring(request) as measuring, open_page(browser, measuring.url()) as (page, _):
        start(page)
        wait_for(page, "document.querySelector('#progress').value > 0")
        page.evaluate(HIDE_WITHIN_A_BLOCK)
        (result,) = measuring.wait()  # it never shows itself again
    kinds = {warning.kind for warning in result.warnings}
    assert {"hidden", "partial"} <= kinds
    assert result.latencies[0].num_runs > 0


@pytest.mark.browser
def test_what_a_phone_sent_before_it_left_is_kept_and_marked(browser: Browser, archives: Path, tiny: Path) -> None:
    request = make_request(tiny, grey_samples(4), durations=LONG, options={"cache": str(archives), "timeout": "2"})
    with Measuring(request) as measuring, open_page(browser, measuring.url()) as (page, _):
        start(page)
        wait_for(page, "document.querySelector('#progress').value > 0")
        page.close()
        (result,) = measuring.wait()
    texts = [warning.text for warning in result.warnings if warning.kind == "partial"]
    assert any("the device did not come back" in text for text in texts)
    assert any("0 of 4 photos" in text for text in texts)
    assert result.evaluation is None


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder that looks like LiteRT.js."""
    for name, (package, path) in SERVED.items():
        file = tmp_path / "node_modules/@litertjs" / package / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    for package in ("core", "wasm-utils"):
        (tmp_path / "node_modules/@litertjs" / package / "package.json").write_text('{"version": "9.9.9"}')
    return tmp_path


def test_nothing_within_the_timeout_is_an_error(library: Path, tiny: Path) -> None:
    options = {"listen": "127.0.0.1:0", "litertjs": str(library), "timeout": "0.3"}
    with pytest.raises(MeasurementError, match=r"Expected a device to measure, got none \(in 0.3 s\)") as refused:
        measure(make_request(tiny, None, options=options))
    assert refused.value.exit_code == 3


def test_only_the_printed_address_is_answered(library: Path, tiny: Path) -> None:
    with Measuring(
        make_request(tiny, grey_samples(3), options={"litertjs": str(library), "timeout": "2"})
    ) as measuring:
        url = measuring.url()
        token = urlsplit(url).path
        assert ask(url, "GET", "/")[0] == 404
        assert ask(url, "GET", f"/{'x' * 16}/")[0] == 404
        assert ask(url, "POST", "/api/devices", b"{}")[0] == 404
        assert b"edgegender benchmark" in ask(url, "GET", token)[1]
        assert ask(url, "GET", f"{token}litert/core/dist/index.js") == (200, b"core/dist/index.js")
        assert ask(url, "GET", f"{token}litert/../../../../etc/passwd")[0] == 404
        assert ask(url, "GET", f"{token}api/models/0")[1] == tiny.read_bytes()
        assert len(ask(url, "GET", f"{token}api/models/0/samples/1/2")[1]) == 2 * 32 * 32 * 3
        for path in ("api/models/1", "api/models/0/samples/2/2", "api/models/0/samples/0/0", "api/models/0/other/0/1"):
            assert ask(url, "GET", token + path)[0] == 404
        for body in (b"", b"[]", b"{", b"{}", b"[" * 5000, json.dumps({"about": {"cores": -1}}).encode()):
            assert ask(url, "POST", f"{token}api/devices", body)[0] == 400
        assert ask(url, "POST", f"{token}api/devices", b"{}", **{"Content-Length": "9999999999"})[0] == 400
        assert ask(url, "POST", f"{token}api/devices/{'a' * 12}/next", b"{}")[0] == 400
        with pytest.raises(MeasurementError, match="Expected a device to measure, got none"):
            measuring.wait()


def test_a_port_that_is_taken_is_an_error(library: Path, tiny: Path) -> None:
    with Measuring(make_request(tiny, None, options={"litertjs": str(library), "timeout": "1"})) as measuring:
        port = urlsplit(measuring.url()).port
        taken = make_request(tiny, None, options={"litertjs": str(library), "listen": f"127.0.0.1:{port}"})
        with pytest.raises(OutputError, match=r"Expected a free port, got \d+ in use"):
            measure(taken)


def test_https_shows_a_certificate_that_was_made_for_the_address(library: Path, tiny: Path, tmp_path: Path) -> None:
    with Measuring(make_request(tiny, None, options={"litertjs": str(library), "https": "yes", "timeout": "1"})) as run:
        url = urlsplit(run.url())
        assert url.scheme == "https"
        pem = ssl.get_server_certificate((str(url.hostname), url.port or 0))
        trusted = ssl.create_default_context(cadata=pem)
        connection = http.client.HTTPSConnection(str(url.hostname), url.port, context=trusted, timeout=DEADLINE_S)
        try:
            connection.request("GET", url.path)
            assert connection.getresponse().status == 200
        finally:
            connection.close()
    text = tmp_path / "text.pem"
    text.write_text("hello")
    with pytest.raises(UsageError, match="Expected a certificate and its key in PEM form"):
        read_certificate(text, text)


def test_without_openssl_no_certificate_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OutputError, match="Expected the program openssl to make a certificate, got none"):
        make_certificate("127.0.0.1")
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(OutputError, match="Expected openssl to make a certificate, got CalledProcessError"):
        make_certificate("host.local")


def test_an_engine_of_another_target_and_a_missing_library_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected an engine of wasm, webgpu, got onnxruntime"):
        measure(make_request(tiny, None, engines=("onnxruntime",)))
    with pytest.raises(UsageError, match=r"Expected LiteRT\.js or a folder to fetch it into, got neither"):
        measure(make_request(tiny, None))
    with pytest.raises(UsageError, match="Expected the npm packages @litertjs/core and wasm-utils, got neither"):
        measure(make_request(tiny, None, options={"litertjs": str(tmp_path / "none")}))


def test_a_library_without_all_its_files_is_refused(library: Path) -> None:
    assert find_litertjs(library).version == "9.9.9"
    assert find_litertjs(library / "node_modules/@litertjs/core").read("core/dist/index.js") == b"core/dist/index.js"
    package = library / "node_modules/@litertjs/core"
    (package / "package.json").write_text("{}")
    with pytest.raises(UsageError, match="Expected the npm package @litertjs/core, got no readable"):
        find_litertjs(library)
    (package / "dist/index.js").unlink()
    with pytest.raises(UsageError, match=r"Expected all files of LiteRT\.js, got no core/dist/index\.js"):
        find_litertjs(library)


def test_archives_give_the_files_that_npm_unpacks(archives: Path, tmp_path: Path) -> None:
    unpacked, packed = find_litertjs(unpack_litertjs(archives, tmp_path)), pull_litertjs(archives)
    assert packed.version == unpacked.version
    assert all(packed.read(name) == unpacked.read(name) for name in SERVED)


def test_the_code_in_the_terminal_leads_to_the_address() -> None:
    pytest.importorskip("segno", reason="no segno: it comes with the [browser] extra")
    lines = qr_lines("https://192.168.1.17:8081/AbCdEfGhIjKlMnOp/")
    assert len({len(line) for line in lines}) == 1
    halves = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
    picture = np.asarray([[halves[letter][half] for letter in line] for line in lines for half in (0, 1)], np.uint8)
    picture = np.pad(picture, 2, constant_values=255).repeat(8, axis=0).repeat(8, axis=1)
    assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == "https://192.168.1.17:8081/AbCdEfGhIjKlMnOp/"

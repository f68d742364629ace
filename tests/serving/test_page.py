"""The page in a real browser: on a phone and a desktop, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgegender import images
from edgegender.serving.access import AccessRules
from edgegender.serving.hub import PreviewHub
from edgegender.serving.server import PreviewServer
from tests.reporting.browser import launched_browser
from tests.serving.running import DEADLINE_S, Film, ToldSource, serving, write_photo_of_people

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
PHONE, DESKTOP = (390, 844), (1280, 800)
_TIMEOUT_MS = 1000 * DEADLINE_S
# WCAG 2.2, 1.4.3: the contrast of each text with the nearest ground behind it that is painted
_CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((e) => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
      return [e.textContent.trim().slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched_browser() as started:
        yield started


class Visit:
    """A page, what it complained of, and where its requests went."""

    def __init__(self, browser: Browser, size_wh: tuple[int, int], scheme: str = "light") -> None:
        width, height = size_wh
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        self.page.set_default_timeout(_TIMEOUT_MS)
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.addresses.append(request.url))

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def open(self, server: PreviewServer) -> Page:
        """Opens the page and waits until it knows the server's state."""
        self.page.goto(server.url)
        self.page.wait_for_selector('#status[data-kind="good"]')
        return self.page

    def check_quiet(self, server: PreviewServer) -> None:
        """Makes sure that the page complained of nothing and asked nobody else."""
        assert self.complaints == []
        own = (f"http://127.0.0.1:{server.port}/", "blob:")
        assert [address for address in self.addresses if not address.startswith(own)] == []


@pytest.fixture
def camera() -> Iterator[tuple[PreviewServer, PreviewHub, ToldSource]]:
    source = ToldSource()
    hub = PreviewHub(source=source)
    with serving(hub=hub, has_photos=True) as server, Film(hub, source):
        yield server, hub, source


def wait_for(page: Page, condition: str) -> None:
    """Waits for a condition; playwright's own way needs ``eval``, which the page's policy forbids."""
    for _ in range(20 * DEADLINE_S):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(condition)


def picture_of(page: Page, selector: str) -> np.ndarray:
    """Returns how an element looks now."""
    shot: np.ndarray = images.decode_image(page.locator(selector).screenshot()).astype(int)
    return shot


def wait_for_motion(page: Page) -> None:
    """Waits until the live picture shows something else."""
    page.wait_for_selector("#picture:not([hidden])")
    before = picture_of(page, "#picture")
    for _ in range(100):
        if np.abs(picture_of(page, "#picture") - before).mean() > 2:
            return
        page.wait_for_timeout(50)
    pytest.fail("the picture does not move")


def try_photo(page: Page, file: Path) -> str:
    """Sends a file through the form and returns what the page says."""
    page.set_input_files("#file", file)
    page.click("#photo-form button")
    wait_for(page, "!document.querySelector('#photo-form button').disabled")
    return page.inner_text("#answer")


@pytest.mark.parametrize(
    ("size_wh", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (DESKTOP, "light"), (DESKTOP, "dark")]
)
def test_the_page_shows_what_the_camera_sees(
    browser: Browser,
    camera: tuple[PreviewServer, PreviewHub, ToldSource],
    tmp_path: Path,
    size_wh: tuple[int, int],
    scheme: str,
) -> None:
    server, _, _ = camera
    with Visit(browser, size_wh, scheme) as visit:
        page = visit.open(server)
        wait_for_motion(page)
        wait_for(page, "document.querySelectorAll('#faces tbody tr').length === 2")
        rows = page.locator("#faces tbody tr").all_inner_texts()
        assert "#1" in rows[0]
        assert "unsure" in rows[0]
        assert "71\xa0%" in rows[0]
        assert "kept · 6\xa0frames" in rows[0]
        assert "fresh · settled" in rows[1]
        assert "male" in rows[1]
        assert page.inner_text("#num-faces") == "2"
        assert page.locator("#people > div").all_inner_texts() == ["female\n3", "male\n4", "unsure\n1"]
        assert "detect" in page.inner_text("#stages")
        wait_for(page, "Number(document.querySelector('#fps').textContent) > 0")
        assert "97.4 %" in page.inner_text("#model")
        answer = try_photo(page, write_photo_of_people(tmp_path))
        assert "2 faces" in answer
        page.wait_for_selector("#photo:not([hidden])")
        page.screenshot(path=tmp_path / f"page-{size_wh[0]}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == size_wh[0]  # nothing sticks out sideways
        assert {text: ratio for text, ratio in page.evaluate(_CONTRASTS) if ratio < 4.5} == {}
        assert page.inner_text("footer").count("never an identity") == 1
        visit.check_quiet(server)


def test_the_page_is_fit_for_a_screen_reader(
    browser: Browser, camera: tuple[PreviewServer, PreviewHub, ToldSource]
) -> None:
    with Visit(browser, PHONE) as visit:
        page = visit.open(camera[0])
        assert page.get_attribute("html", "lang") == "en"
        assert page.get_by_label("Photo (JPEG, PNG, WebP or BMP)").count() == 1
        assert page.get_attribute("#picture", "alt")
        assert page.get_by_role("heading", level=1).count() == 1
        for name in ("Pause", "Classify"):
            button = page.get_by_role("button", name=name)
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44  # a finger's size
        live = page.locator("[role=status], [role=alert], [aria-live]").evaluate_all("all => all.map((e) => e.id)")
        assert live == ["status", "problem", "answer"]  # not the faces: they change ten times a second


def test_a_lost_source_is_said_and_its_return_too(
    browser: Browser, camera: tuple[PreviewServer, PreviewHub, ToldSource]
) -> None:
    server, _, source = camera
    with Visit(browser, PHONE) as visit:
        page = visit.open(server)
        source.problem, source.state = "camera unplugged; tried again in 4 s", "lost"
        page.wait_for_selector('#status[data-kind="bad"]')
        assert page.inner_text("#status") == "Source lost"
        assert "unplugged" in page.inner_text("#problem")
        assert page.inner_text("#faces-when") == "last seen"
        assert {text: ratio for text, ratio in page.evaluate(_CONTRASTS) if ratio < 4.5} == {}
        source.problem, source.state = "", "running"
        page.wait_for_selector('#status[data-kind="good"]')
        assert not page.is_visible("#problem")


def test_a_paused_picture_costs_nothing_and_goes_on_when_asked(
    browser: Browser, camera: tuple[PreviewServer, PreviewHub, ToldSource]
) -> None:
    server, hub, _ = camera
    with Visit(browser, DESKTOP) as visit:
        page = visit.open(server)
        wait_for_motion(page)
        page.click("#pause")
        for _ in range(200):
            if hub.num_viewers == 0:
                break
            page.wait_for_timeout(50)
        assert hub.num_viewers == 0
        assert page.is_visible("#picture")
        page.click("#pause")
        wait_for_motion(page)
        visit.check_quiet(server)


def test_the_page_comes_back_after_the_server_does(browser: Browser) -> None:
    source = ToldSource()
    hub = PreviewHub(source=source)
    with Visit(browser, PHONE) as visit:
        with serving(hub=hub) as server, Film(hub, source):
            page = visit.open(server)
            wait_for_motion(page)
            port = server.port
        page.wait_for_selector('#status[data-kind="bad"]')
        assert "not reached" in page.inner_text("#status")
        hub = PreviewHub(source=source)
        with serving(hub=hub, port=port), Film(hub, source):
            page.wait_for_selector('#status[data-kind="good"]')
            wait_for_motion(page)
            wait_for(page, "document.querySelectorAll('#faces tbody tr').length === 2")


def test_under_aggregate_only_the_page_has_counts_and_no_picture(browser: Browser) -> None:
    source = ToldSource()
    hub = PreviewHub(source=source, is_aggregate_only=True)
    with serving(hub=hub) as server, Film(hub, source), Visit(browser, DESKTOP) as visit:
        page = visit.open(server)
        wait_for(page, "document.querySelectorAll('#people > div').length === 3")
        assert not page.is_visible("#live")
        assert not page.is_visible("#faces-card")
        assert not page.is_visible("#try")
        visit.check_quiet(server)
        assert not any("stream" in address for address in visit.addresses)


def test_without_a_camera_the_page_is_for_photos(browser: Browser, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_bytes(b"hello")
    with serving(has_photos=True) as server, Visit(browser, PHONE, "dark") as visit:
        page = visit.open(server)
        assert not page.is_visible("#camera")
        assert page.inner_text("#status") == "Ready for photos"
        assert "2 faces" in try_photo(page, write_photo_of_people(tmp_path))
        page.screenshot(path=tmp_path / "photos.png", full_page=True)
        visit.check_quiet(server)
        assert "another format" in try_photo(page, text)
        assert not page.is_visible("#photo")


def test_a_browser_gets_in_with_the_token_and_forgets_it_in_the_address(browser: Browser) -> None:
    hub = PreviewHub(source=ToldSource())
    with serving(hub=hub, rules=AccessRules("correct-horse")) as server, Visit(browser, PHONE) as visit:
        with Film(hub, ToldSource()):
            page = visit.open(server)
            wait_for_motion(page)
            assert page.evaluate("location.href") == f"http://127.0.0.1:{server.port}/"
            page.reload()
            wait_for_motion(page)
            visit.check_quiet(server)
        page.context.clear_cookies()
        page.reload()
        page.get_by_label("Token").fill("correct-horse")
        page.get_by_role("button", name="Open").click()
        page.wait_for_selector("#camera:not([hidden])")

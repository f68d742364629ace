"""A window on a real display: what it shows, who closes it, and what becomes of the camera when it goes away."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgegender.entities import UInt8Array
from edgegender.errors import OutputError
from edgegender.outputs.window import Window
from tests.outputs.results import frame_result, picture, send, wait_until
from tests.outputs.x_display import SCREEN_WH, press_close_button, screenshot, x_display

pytest.importorskip("tkinter", reason="no Tk: apt-get install python3-tk")


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    with x_display() as name:
        yield name


@pytest.fixture
def display(screen: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DISPLAY", screen)
    return screen


@pytest.fixture
def window(display: str) -> Iterator[Window]:
    assert display
    opened = Window(title="a camera\nat the door")
    yield opened
    opened.close()


def show(window: Window, image: UInt8Array) -> None:
    """Sends a picture and waits until it stands on the screen."""
    wait_until(lambda: window.wants_picture)
    send(window, frame_result(), image)
    wait_until(lambda: window.wants_picture)


def count_color(display: str, color: tuple[int, int, int]) -> int:
    return int((screenshot(display) == color).all(axis=2).sum())


def test_a_window_shows_the_picture(display: str, window: Window) -> None:
    image = picture(0)
    image[:60, :80] = (250, 20, 10)
    image[60:, 80:] = (10, 30, 240)
    show(window, image)
    wait_until(lambda: count_color(display, (250, 20, 10)) == 4800)
    seen = screenshot(display)
    y, x = (int(axis.min()) for axis in np.nonzero((seen == (250, 20, 10)).all(axis=2)))
    np.testing.assert_array_equal(seen[y : y + 120, x : x + 160], image)


def test_the_next_picture_takes_the_place_of_the_last(display: str, window: Window) -> None:
    show(window, picture(77))
    show(window, picture(200, size_wh=(100, 50)))
    wait_until(lambda: count_color(display, (200, 200, 200)) == 5000)
    assert count_color(display, (77, 77, 77)) == 0


def test_a_picture_larger_than_the_screen_is_made_smaller(display: str, window: Window) -> None:
    show(window, picture(90, size_wh=(4000, 1000)))
    width = int(SCREEN_WH[0] * 0.9)
    wait_until(lambda: count_color(display, (90, 90, 90)) == width * width // 4)


def test_no_picture_is_wanted_while_one_is_on_its_way(window: Window) -> None:
    wait_until(lambda: window.wants_picture)
    send(window, frame_result(), picture(1))
    assert not window.wants_picture
    send(window, frame_result(), picture(2))  # left out
    wait_until(lambda: window.wants_picture)
    assert window.take_problems() == []


def test_the_close_button_is_told(display: str, window: Window) -> None:
    show(window, picture())
    assert not window.is_closed
    press_close_button(display)
    wait_until(lambda: window.is_closed)
    assert not window.wants_picture
    send(window, frame_result(), picture())
    window.close()
    assert window.is_closed
    assert window.take_problems() == []


def test_closing_from_here_is_quick_and_not_what_somebody_did(display: str) -> None:
    window = Window()
    show(window, picture(33))
    wait_until(lambda: count_color(display, (33, 33, 33)) > 0)
    start = time.monotonic()
    window.close()
    window.close()
    assert time.monotonic() - start < 2
    assert not window.is_closed
    assert count_color(display, (33, 33, 33)) == 0


def test_a_process_that_hangs_holds_up_nothing(window: Window) -> None:
    show(window, picture())
    window._process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    for _ in range(100):
        send(window, frame_result(), picture(size_wh=(1000, 1000)))
    assert time.monotonic() - start < 1
    window.close()
    assert time.monotonic() - start < 3


def test_a_process_that_dies_is_a_problem_and_no_reason_to_stop(window: Window) -> None:
    show(window, picture())
    window._process.kill()
    wait_until(lambda: not window.wants_picture)
    problems: list[str] = []
    wait_until(lambda: problems.extend(window.take_problems()) or problems)
    assert problems == ["the window is gone: its process ended with -9"]
    assert not window.is_closed


def test_a_display_that_goes_away_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with x_display() as name:
        monkeypatch.setenv("DISPLAY", name)
        window = Window()
        show(window, picture())
    problems: list[str] = []
    wait_until(lambda: problems.extend(window.take_problems()) or problems)
    assert problems[0].startswith("the window is gone: its process ended with ")
    window.close()


def test_without_a_display_the_browser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(OutputError, match="Expected a display to show a window, got no display name") as caught:
        Window()
    assert "--preview" in caught.value.hint


def test_a_display_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":9876")
    with pytest.raises(OutputError, match="Expected a display to show a window, got couldn't connect to display"):
        Window()


def test_without_tk_the_package_is_named(tmp_path: Path) -> None:
    without_tk = tmp_path / "python"
    program = "import runpy, sys; sys.modules['tkinter'] = None; runpy.run_path(sys.argv[2], run_name='__main__')"
    without_tk.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
    without_tk.chmod(without_tk.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(OutputError, match="Expected Python with Tk to show a window, got none") as caught:
        Window(interpreter=str(without_tk))
    assert caught.value.hint == "sudo apt install python3-tk, or look at it in a browser: --preview."


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"Expected to start .*none, got No such file or directory \(window\)"):
        Window(interpreter=str(tmp_path / "none"))


def test_an_interpreter_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.outputs.window._START_S", 0.2)
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    with pytest.raises(OutputError, match="Expected a display to show a window, got no answer in 0 s"):
        Window(interpreter=str(silent))


def test_the_process_ends_with_the_camera(display: str) -> None:
    window = Window()
    pid = window._process.pid
    assert window._process.stdin is not None
    window._process.stdin.close()
    wait_until(lambda: window.is_closed)
    window.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert display

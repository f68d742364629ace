"""A real browser without a window: Chromium, as Debian packages it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_QUIET = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
TIMEOUT_S = 120  # a hang is a failure, a busy machine is none


def find_chromium() -> str:
    """Returns the browser's program, or skips the test."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium: install it with apt-get install chromium")
    return found


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Starts the browser for playwright, and ends it; skips the test where one of them is missing."""
    program = find_chromium()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none for the superuser
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: it comes with the [dev] extra")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_QUIET, *sandbox])
        yield browser
        browser.close()


def open_page(page: Path, *, profile: Path) -> tuple[str, list[str]]:
    """Opens a page from its file, lets its scripts come to rest, and closes the browser.

    Args:
        page: The file.
        profile: Where the browser keeps what pages store; made when it is missing.

    Returns:
        The document as it then is, and what the page complained of in the console.
    """
    command = [
        find_chromium(),
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--allow-file-access-from-files",  # a page of the test drives the page under test in a frame
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        "--virtual-time-budget=20000",
        "--dump-dom",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium has none for the superuser
        page.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

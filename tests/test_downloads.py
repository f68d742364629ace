"""What is pulled: the file whole or not at all, once, however many ask for it; and the files that can be pulled."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

import pytest

from edgegender.downloads import DOWNLOADABLE, find, is_whole, pull
from edgegender.errors import DownloadError, OutputError
from tests.file_server import cut, part, redirect, send, serving, whole
from tests.pulls import CONTENT, MODEL, fetch, only


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of this machine would not find the test's server."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny.onnx"


@pytest.fixture
def partial(target: Path) -> Path:
    return target.with_name("tiny.onnx.part")


# When all goes well


def test_a_file_arrives_whole(target: Path) -> None:
    with serving(whole(CONTENT)) as server:
        assert fetch(target, server.address) == []
    assert only(target)
    assert server.ranges == [""]


def test_a_file_that_is_there_is_not_fetched_again(target: Path) -> None:
    with serving(whole(CONTENT)) as server:
        fetch(target, server.address)
        fetch(target, server.address)
    assert len(server.ranges) == 1


def test_an_altered_file_is_replaced(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"\0")
    with serving(whole(CONTENT)) as server:
        fetch(target, server.address)
    assert only(target)


def test_progress_grows_up_to_the_whole(target: Path) -> None:
    seen: list[tuple[int, int]] = []
    with serving(whole(CONTENT)) as server:
        fetch(target, server.address, on_progress=lambda done, total: seen.append((done, total)))
    assert all(first < second for first, second in pairwise(done for done, _ in seen))
    assert seen[-1] == (300_000, 300_000)
    assert {total for _, total in seen} == {300_000}


def test_a_redirect_is_followed(target: Path) -> None:
    with serving(whole(CONTENT)) as server, serving(redirect(server.address)) as first:
        fetch(target, first.address)
    assert only(target)


# Folders


def test_a_folder_in_the_files_place_is_refused(target: Path) -> None:
    target.mkdir(parents=True)
    with pytest.raises(OutputError, match=r"Expected a file or nothing at .*tiny\.onnx, got a folder or a device"):
        pull(MODEL, folder=target.parent)


def test_a_folder_in_the_partial_files_place_is_refused(partial: Path) -> None:
    partial.mkdir(parents=True)
    with pytest.raises(OutputError, match=r"Expected to write .*tiny\.onnx\.part, got Is a directory"):
        pull(MODEL, folder=partial.parent)


@pytest.mark.usefixtures("plain_user")
def test_a_folder_that_may_not_be_written_is_refused() -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"Expected to write locked/tiny\.onnx\.part, got Permission denied"):
        pull(MODEL, folder=Path("locked"))


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(OutputError, match=r"Expected to write .*models, got "):
        pull(MODEL, folder=tmp_path / "models")


def test_a_full_disk_is_told_and_what_arrived_is_kept(target: Path, partial: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(part(CONTENT)) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(OutputError, match=r"Expected to write .*tiny\.onnx\.part, got File too large"):
                fetch(target, server.address)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert partial.read_bytes() == CONTENT[:100_000]
        fetch(target, server.address)
    assert only(target)


# Several at once


def test_pulls_at_once_fetch_the_file_once(target: Path) -> None:
    begun = threading.Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        begun.wait(5)
        part(CONTENT)(handler)

    with serving(slowly) as server:
        threads = [threading.Thread(target=fetch, args=(target, server.address)) for _ in range(6)]
        for thread in threads:
            thread.start()
        begun.set()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    assert only(target)
    assert server.ranges == [""]


def test_a_pull_goes_on_with_what_another_left_behind(target: Path) -> None:
    """The first gives up; who waited for it takes its partial file over."""
    is_waiting = threading.Event()

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        is_waiting.wait(5)
        send(handler, CONTENT[:90_000], length=len(CONTENT))

    failed: list[BaseException] = []

    def first() -> None:
        def give_up(_: float) -> None:
            raise KeyboardInterrupt

        try:
            fetch(target, server.address, sleep=give_up)
        except KeyboardInterrupt as error:
            failed.append(error)

    with serving(refuse, part(CONTENT)) as server:
        threads = [threading.Thread(target=first)]
        threads[0].start()
        while not server.ranges:
            time.sleep(0.01)
        threads.append(threading.Thread(target=fetch, args=(target, server.address)))
        threads[1].start()
        is_waiting.set()
        for thread in threads:
            thread.join(30)
    assert failed
    assert server.ranges == ["", "bytes=90000-"]
    assert only(target)


# The files that can be pulled


@pytest.mark.parametrize("name", DOWNLOADABLE)
def test_each_file_is_pinned_to_a_commit_a_size_and_a_hash(name: str) -> None:
    model = DOWNLOADABLE[name]
    assert model.name == name
    assert re.fullmatch(
        rf"https://raw\.githubusercontent\.com/[\w-]+/[\w.-]+/[0-9a-f]{{40}}/[\w/.-]*{re.escape(model.file_name)}",
        model.url,
    )
    assert re.fullmatch("[0-9a-f]{64}", model.sha256)
    assert model.license == "Apache-2.0"


@pytest.mark.parametrize("name", DOWNLOADABLE)
def test_the_files_at_hand_are_those(request: pytest.FixtureRequest, name: str) -> None:
    file = request.getfixturevalue(f"{name}_file")
    assert is_whole(file, DOWNLOADABLE[name])
    assert find(DOWNLOADABLE[name], file.parent) == file


def test_what_was_not_pulled_is_not_found(tmp_path: Path) -> None:
    assert find(MODEL, tmp_path / "none") is None
    assert not is_whole(tmp_path / "none", MODEL)


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[:-1] + b"x"])
def test_an_altered_file_is_told_when_it_is_looked_for(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiny.onnx").write_bytes(content)
    with pytest.raises(DownloadError, match=rf"Expected sha256 {MODEL.sha256[:12]}…, got an altered file \(") as caught:
        find(MODEL, tmp_path)
    assert caught.value.hint == "Fetch it again with: edgegender models pull tiny"


def test_a_pulled_file_is_as_readable_as_any_other(target: Path) -> None:
    umask = os.umask(0o022)
    try:
        with serving(part(CONTENT)) as server:
            fetch(target, server.address)
    finally:
        os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o644


def test_another_model_does_not_share_the_partial_file(target: Path) -> None:
    other = replace(MODEL, file_name="other.onnx")
    with serving(cut(CONTENT, 1000)) as server, pytest.raises(DownloadError):
        pull(MODEL, folder=target.parent, url=server.address, sleep=lambda _: None)
    with serving(part(CONTENT)) as server:
        pull(other, folder=target.parent, url=server.address)
    assert server.ranges == [""]

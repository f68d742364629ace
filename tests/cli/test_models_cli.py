"""``models``: what is listed is true, what is pulled is the pinned file, and detectors find it without being told."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegender import downloads
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.downloads import BLAZEFACE, DOWNLOADABLE, MOBILEFACENET, YUNET
from tests.cli.commands import Answer, check_error, environment, run_apart, run_here
from tests.file_server import part, send, serving, status, whole
from tests.pictures import write_photo

Run = Callable[..., Answer]
CONTENT = np.random.default_rng(1).bytes(150_000)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's pulled models."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "edgegender" / "models"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], cache: Path) -> Run:
    """Runs a command in this process, with a cache folder of its own."""
    del cache
    return lambda *words: run_here(capfd, *words)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets ``mobilefacenet`` stand for 150 kB of noise."""
    model = replace(MOBILEFACENET, sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))
    monkeypatch.setitem(downloads.DOWNLOADABLE, "mobilefacenet", model)  # type: ignore[arg-type]


def statuses(answer: Answer) -> dict[str, str]:
    assert answer.code == 0, answer
    return {model["name"]: model["status"] for model in json.loads(answer.out)["models"]}


# list


def test_without_a_subcommand_the_models_are_listed(run: Run) -> None:
    assert run("models").out == run("models", "list").out
    assert run("models", "--json").out == run("models", "list", "--json").out
    assert run("models", "--folder", "here", "--json").out == run("models", "list", "--folder", "here", "--json").out


def test_the_list_names_each_model_with_its_state_and_licence(run: Run, cache: Path) -> None:
    lines = run("models").out.splitlines()
    assert lines[0].split() == ["name", "status", "MB", "licence", "what", "it", "is", "for"]
    assert [line.split()[0] for line in lines[1:5]] == ["default", *DOWNLOADABLE]
    assert all("Apache-2.0" in line for line in lines[1:5])
    assert lines[-1] == f"Pulled files lie in {cache}"
    assert not cache.exists()


def test_the_json_list_says_where_each_file_lies_and_what_it_must_be(run: Run, cache: Path) -> None:
    models = {model["name"]: model for model in json.loads(run("models", "--json").out)["models"]}
    assert models["default"]["status"] == "ready"
    assert models["default"]["size_bytes"] == Path(models["default"]["path"]).stat().st_size
    assert models["yunet"] == {
        "name": "yunet",
        "purpose": YUNET.purpose,
        "path": str(cache / YUNET.file_name),
        "url": YUNET.url,
        "sha256": YUNET.sha256,
        "size_bytes": YUNET.size_bytes,
        "license": "Apache-2.0",
        "source": YUNET.source,
        "status": "not pulled",
    }


def test_a_file_is_ready_or_altered(run: Run, cache: Path, yunet_file: Path) -> None:
    cache.mkdir(parents=True)
    (cache / YUNET.file_name).write_bytes(yunet_file.read_bytes())
    (cache / BLAZEFACE.file_name).write_bytes(b"something else")
    found = statuses(run("models", "--json"))
    assert found == {"default": "ready", "yunet": "ready", "blazeface": "altered", "mobilefacenet": "not pulled"}


def test_a_relative_cache_folder_is_ignored(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert json.loads(run("models", "--json").out)["folder"] == str(tmp_path / "home/.cache/edgegender/models")


def test_a_machine_without_a_home_is_told_what_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    check_error(run("models"), 2, "Expected a home folder, got none", "XDG_CACHE_HOME")
    assert statuses(run("models", "--folder", "here", "--json"))["yunet"] == "not pulled"


# pull


@pytest.mark.usefixtures("tiny")
def test_a_pulled_file_lies_in_the_users_cache(run: Run, cache: Path) -> None:
    with serving(part(CONTENT)) as server:
        answer = run("models", "pull", "mobilefacenet", "--url", server.address)
        again = run("models", "pull", "mobilefacenet", "--url", server.address)
    assert (answer.code, again.code) == (0, 0)
    assert answer.out.startswith("mobilefacenet: 150,000 bytes, sha256 ")
    assert "was there already" in again.out
    assert len(server.ranges) == 1
    assert (cache / "MobileFaceNet.onnx").read_bytes() == CONTENT
    assert statuses(run("models", "--json"))["mobilefacenet"] == "ready"


@pytest.mark.usefixtures("tiny")
def test_a_folder_may_be_named_and_json_asked_for(run: Run, tmp_path: Path, cache: Path) -> None:
    with serving(part(CONTENT)) as server:
        words = ("models", "pull", "mobilefacenet", "--url", server.address, "--folder", "here", "--json")
        (first,) = json.loads(run(*words).out)["models"]
        (second,) = json.loads(run(*words).out)["models"]
    assert first == {
        "name": "mobilefacenet",
        "path": "here/MobileFaceNet.onnx",
        "sha256": DOWNLOADABLE["mobilefacenet"].sha256,
        "was_there": False,
    }
    assert second["was_there"] is True
    assert (tmp_path / "here" / "MobileFaceNet.onnx").read_bytes() == CONTENT
    assert not cache.exists()


@pytest.mark.usefixtures("tiny")
def test_a_name_that_is_said_twice_is_pulled_once(run: Run) -> None:
    with serving(part(CONTENT)) as server:
        answer = run("models", "pull", "mobilefacenet", "mobilefacenet", "--url", server.address)
    assert answer.code == 0
    assert len(answer.out.splitlines()) == len(server.ranges) == 1


def test_the_wrong_words_are_usage_errors(run: Run, cache: Path) -> None:
    check_error(run("models", "pull"), 2, "Missing argument 'NAME...'")
    check_error(run("models", "pull", "yolo"), 2, "'yolo' is not one of 'yunet', 'blazeface', 'mobilefacenet'")
    check_error(run("models", "pull", "default"), 2, "'default' is not one of")
    check_error(
        run("models", "pull", "yunet", "blazeface", "--url", "https://a/"), 2, "Expected one name with --url, got 2"
    )
    check_error(run("models", "push"), 2, "No such command 'push'")
    check_error(run("models", "pull", "yunet", "--url", "file:///etc/passwd"), 2, "Expected an address such as")
    assert not cache.exists()


def test_a_mirror_with_another_file_is_refused(run: Run, cache: Path) -> None:
    with serving(whole(bytes(YUNET.size_bytes))) as server:
        check_error(run("models", "pull", "yunet", "--url", server.address), 3, "Expected sha256 25a606a145a5…, got")
    with serving(status(404)) as server:
        check_error(run("models", "pull", "yunet", "--url", server.address), 3, "HTTP status 404")
    assert list(cache.iterdir()) == []


def test_without_a_network_the_error_names_the_machine_that_was_asked(run: Run) -> None:
    with serving(status(404)) as server:
        closed = server.address
    check_error(run("models", "pull", "yunet", "--url", closed), 3, "Expected an answer from 127.0.0.1", "connection")


def test_ctrl_c_keeps_what_has_arrived_for_the_next_time(cache: Path, yunet_file: Path) -> None:
    content = yunet_file.read_bytes()

    def interrupt(handler: object) -> None:
        send(handler, content[:200_000], length=len(content))  # type: ignore[arg-type]
        partial = cache / f"{YUNET.file_name}.part"
        while partial.stat().st_size == 0:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.wait(30)

    with serving(interrupt, part(content)) as server:
        command = [sys.executable, "-m", "edgegender", "models", "pull", "yunet", "--url", server.address]
        process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment())
        out, err = process.communicate(timeout=60)
        check_error(Answer(process.returncode, out, err), 130, "Interrupted.")
        kept = (cache / f"{YUNET.file_name}.part").read_bytes()
        assert kept
        assert content.startswith(kept)
        answer = run_apart("models", "pull", "yunet", "--url", server.address)
    assert answer.code == 0, answer
    assert server.ranges == ["", f"bytes={len(kept)}-"]
    assert [file.name for file in cache.iterdir()] == [YUNET.file_name]


# What is pulled is used


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    face = draw_face(draw_attributes("male", rng), size_px=240, rng=rng).image_rgb
    return write_photo(tmp_path / "photos" / "face.png", face)


@pytest.mark.parametrize("name", ["yunet", "blazeface"])
def test_a_pulled_detector_needs_no_path(
    run: Run, request: pytest.FixtureRequest, cache: Path, photo: Path, name: str
) -> None:
    content = request.getfixturevalue(f"{name}_file").read_bytes()
    words = ("predict", photo, "--detector", name, "--assume-face")
    check_error(run(*words), 2, f"Expected the file of the {name} network", f"edgegender models pull {name}")
    with serving(part(content)) as server:
        assert run("models", "pull", name, "--url", server.address).code == 0
    assert run(*words).code == 0
    (cache / DOWNLOADABLE[name].file_name).write_bytes(content[:-1])
    check_error(run(*words), 3, "got an altered file", f"edgegender models pull {name}")


def test_a_named_file_comes_before_the_pulled_one(run: Run, cache: Path, photo: Path) -> None:
    cache.mkdir(parents=True)
    (cache / YUNET.file_name).write_bytes(b"altered")
    answer = run("predict", photo, "--detector", "yunet", "--detector-path", "none.onnx")
    check_error(answer, 2, "got nothing at none.onnx")


@pytest.mark.parametrize("words", [("evaluate",), ("benchmark",), ("data", "crop")])
def test_every_command_with_a_detector_finds_the_pulled_file(run: Run, cache: Path, words: tuple[str, ...]) -> None:
    cache.mkdir(parents=True)
    (cache / BLAZEFACE.file_name).write_bytes(b"altered")
    data = ("faces.csv", "-o", "out") if words == ("data", "crop") else ("--data", "faces.csv")
    check_error(run(*words, *data, "--detector", "blazeface"), 3, "got an altered file", "models pull blazeface")

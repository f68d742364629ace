"""``edgegender serve`` as a user runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from edgegender.cli.serve import command
from edgegender.errors import ModelFileError, OutputError, UsageError
from tests.cli.commands import interrupt, started
from tests.serving.running import DEADLINE_S, jpeg_of_people, serving

JPEG = {"Content-Type": "image/jpeg"}
# the command itself, whoever lists it
_PROGRAM = "import sys; from edgegender.cli.serve import command; command.main(sys.argv[1:], standalone_mode=False)"


def read_address(process: subprocess.Popen[str]) -> str:
    """Returns the address that the command prints."""
    assert process.stderr is not None
    found = re.search(r"serving on (http://\S+) ", process.stderr.readline())
    assert found is not None
    return found[1]


def run(*arguments: str) -> BaseException | None:
    """Runs the command in here and returns what it raised."""
    return CliRunner().invoke(command, arguments, standalone_mode=False).exception


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_photos_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with started([sys.executable, "-c", _PROGRAM, ":0"], tmp_path) as process:
        address = read_address(process)
        assert address.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=address, timeout=DEADLINE_S, trust_env=False) as ask:
            answer = ask.post("v1/predict", content=jpeg_of_people(), headers=JPEG).json()
            assert len(answer["faces"]) == 2
            ended = interrupt(process, number)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_options_reach_the_server(tmp_path: Path) -> None:
    options = [
        "--detector",
        "none",
        "--max-upload-mb",
        "0.5",
        "--rate",
        "0.5",
        "--token",
        "of-my-own",
        "--threads",
        "1",
    ]
    with started([sys.executable, "-c", _PROGRAM, "127.0.0.1:0", *options], tmp_path) as process:
        address, _, query = read_address(process).partition("?")
        assert query == "token=of-my-own"
        headers = {**JPEG, "Authorization": "Bearer of-my-own"}
        with httpx.Client(base_url=address, timeout=DEADLINE_S, trust_env=False) as ask:
            assert ask.get("v1/state").status_code == 401
            assert ask.post("v1/predict", content=b"x" * 600_000, headers=headers).status_code == 429
        with httpx.Client(base_url=address, timeout=DEADLINE_S, trust_env=False, headers=headers) as ask:
            assert ask.get("v1/state").json()["max_upload_bytes"] == 500_000
        interrupt(process)


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEGENDER_TOKEN", "1234")
    error = run(":0")
    assert isinstance(error, UsageError)
    assert "Expected a token" in str(error)


def test_a_port_in_use_ends_it(tmp_path: Path) -> None:
    del tmp_path
    with serving() as server:
        error = run(f":{server.port}")
    assert isinstance(error, OutputError)
    assert error.exit_code == 3
    assert f"got {server.port} in use" in str(error)


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    assert isinstance(run("http://pi"), UsageError)
    assert isinstance(run(":0", "--detector", "yunet", "--detector-path", str(tmp_path / "none.onnx")), UsageError)
    assert isinstance(run(":0", "--model", str(tmp_path / "none.tflite")), ModelFileError)
    assert isinstance(run(":0", "--rate", "0"), click.UsageError)
    assert isinstance(run(":0", "--max-upload-mb", "101"), click.UsageError)


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run("http://pi")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_help_says_what_it_is_not_for() -> None:
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "never an identity" in text
    assert "this machine only" in text

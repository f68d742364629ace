"""Writing: the whole file or none of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgegender import files
from edgegender.errors import OutputError

WRITER = """
import sys, time
from pathlib import Path
from edgegender import files
with files.replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"new" * 100_000)
    print("written", flush=True)
    time.sleep(60)
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from edgegender import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_bytes(Path(sys.argv[1]), bytes(5000))
except errors.OutputError as error:
    print(error)
"""


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_killing_the_writer_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    files.write_bytes(target, b"newer")  # what the dead writer left behind is in nobody's way
    assert target.read_bytes() == b"newer"


def test_interrupting_the_writer_removes_its_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert names_in(tmp_path) == []


def test_a_reader_sees_one_whole_version_or_another(tmp_path: Path) -> None:
    target = tmp_path / "state.bin"
    versions = [bytes([number]) * 50_000 for number in range(30)]
    files.write_bytes(target, versions[0])
    seen: set[bytes] = set()
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        files.write_bytes(target, version)
    is_done.set()
    reader.join()
    assert seen
    assert seen <= set(versions)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("stop")], ids=["error", "Ctrl-C"])
def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "result.json"
    target.write_text("old")

    def fail() -> None:
        with files.replacing(target) as temporary:
            temporary.write_text("half of")
            raise error

    with pytest.raises(type(error), match=str(error)):
        fail()
    assert names_in(tmp_path) == ["result.json"]
    assert target.read_text() == "old"


def test_the_temporary_file_stands_beside_the_target_hidden_and_with_its_ending(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "model.tflite") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".tflite"
    assert names_in(tmp_path) == ["model.tflite"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a.txt", "a")
        assert os.umask(umask) == umask  # and the umask itself stays
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_missing_folders_are_made(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "c.txt", "ü")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "ü".encode()
    assert files.make_folder(tmp_path / "a") == tmp_path / "a"


@pytest.mark.usefixtures("plain_user")
def test_a_folder_that_may_not_be_written_to_is_an_output_error() -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"Expected to write locked/a\.txt, got Permission denied") as caught:
        files.write_text(Path("locked/a.txt"), "a")
    assert caught.value.hint == "Choose a folder that you may write to and that has room."


@pytest.mark.parametrize("name", ["file/a.txt", "file/below/a.txt"])
def test_a_folder_below_a_file_is_an_output_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Expected to write .*file.*, got (Not a directory|File exists)"):
        files.write_text(tmp_path / name, "a")


def test_a_name_too_long_for_the_file_system_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="got File name too long"):
        files.write_text(tmp_path / ("a" * 300), "a")
    assert names_in(tmp_path) == []


def test_running_out_of_room_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "big.bin")], capture_output=True, text=True, check=True
    )
    assert "Expected to write" in answer.stdout
    assert "File too large" in answer.stdout
    assert names_in(tmp_path) == []


def test_a_folder_or_a_device_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "folder").mkdir()
    for path in (pipe, tmp_path / "folder"):
        with pytest.raises(OutputError, match=rf"Expected a file or nothing at {path}, got a folder or a device"):
            files.write_text(path, "a")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names_in(tmp_path) == ["folder", "pipe"]


def test_json_comes_back_as_it_was_and_keeps_its_letters(tmp_path: Path) -> None:
    value = {"name": "Bädge", "values": [1, 2.5, None, True]}
    files.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == value
    assert "Bädge" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_without_finite_numbers_is_refused_and_the_old_file_stays(tmp_path: Path, value: float) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        files.write_json(target, {"accuracy": value})
    assert target.read_text() == "old"


@pytest.mark.parametrize("size_bytes", [0, 1, files.HASH_BLOCK_BYTES, files.HASH_BLOCK_BYTES * 2 + 1])
def test_the_hash_of_a_file_is_the_sha256_of_all_its_bytes(tmp_path: Path, size_bytes: int) -> None:
    content = np.random.default_rng(size_bytes).bytes(size_bytes)
    (tmp_path / "a").write_bytes(content)
    assert files.hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()

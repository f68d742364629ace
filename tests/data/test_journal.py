"""The journal: what was written down is found again, whatever ended the run, and nothing else is believed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegender.data.journal import Journal
from edgegender.errors import OutputError, UsageError

ABOUT = {"step": "test", "size": 96, "ratios": (70, 10)}
VALUE: list[object] = ["é\n", -1, 1.5, None, True]


def write(path: Path, *keys: str, about: dict[str, object] | None = None) -> bytes:
    with Journal(path, about or ABOUT) as journal:
        for key in keys:
            journal.add(key, [*VALUE, key])
    return path.read_bytes()


def keys_in(path: Path, about: dict[str, object] | None = None) -> list[str]:
    with Journal(path, about or ABOUT) as journal:
        return list(journal.entries)


def test_a_second_run_finds_what_the_first_one_wrote(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "journal"
    write(file, "a.jpg", "ž \udce9.jpg")
    with Journal(file, ABOUT) as journal:
        assert journal.entries == {"a.jpg": [*VALUE, "a.jpg"], "ž \udce9.jpg": [*VALUE, "ž \udce9.jpg"]}
        journal.add("c.jpg", [3])
    assert keys_in(file) == ["a.jpg", "ž \udce9.jpg", "c.jpg"]


def test_the_later_of_two_entries_counts(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", ABOUT) as journal:
        journal.add("a.jpg", [1])
        journal.add("a.jpg", [2])
    with Journal(tmp_path / "journal", ABOUT) as journal:
        assert journal.entries == {"a.jpg": [2]}


@pytest.mark.parametrize("about", [{**ABOUT, "size": 97}, {**ABOUT, "new": ""}, {"step": "test"}])
def test_a_journal_of_other_settings_is_started_anew(tmp_path: Path, about: dict[str, object]) -> None:
    file = tmp_path / "journal"
    write(file, "a.jpg")
    assert keys_in(file, about) == []
    assert keys_in(file) == []  # it was started anew, not put aside


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_is_dropped_and_the_next_run_goes_on_behind_the_whole_ones(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "journal"
    whole = write(file, "a.jpg", "b.jpg")
    file.write_bytes(whole[:-cut])
    assert keys_in(file) == ["a.jpg"]
    write(file, "c.jpg")
    assert keys_in(file) == ["a.jpg", "c.jpg"]


def test_a_torn_first_line_leaves_an_empty_journal(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_bytes(write(file)[:-1])
    assert keys_in(file) == []
    write(file, "a.jpg")
    assert keys_in(file) == ["a.jpg"]


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON\n",
        b"\x00" * 5000 + b"\n",
        b"\xff\xfe\n",
        b"{}\n",
        b'["a.jpg"]\n',
        b'["a.jpg", 5]\n',
        b'["a.jpg", {"width": 1}]\n',
        b'[5, ["a.jpg"]]\n',
        b"[" * 100_000 + b"\n",
        b"\n",
    ],
    ids=["text", "zeros", "other bytes", "object", "short", "number", "no list", "no key", "deep", "empty"],
)
def test_what_is_no_entry_ends_the_journal_and_is_written_over(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "journal"
    whole = write(file, "a.jpg")
    file.write_bytes(whole + line + b'["later.jpg", [1]]\n')
    assert keys_in(file) == ["a.jpg"]
    assert file.read_bytes() == whole


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_garbage_stops_a_run(tmp_path: Path, garbage: bytes, is_behind: bool) -> None:
    file = tmp_path / "journal"
    file.unlink(missing_ok=True)
    whole = write(file, "a.jpg") if is_behind else b""
    file.write_bytes(whole + garbage)
    assert keys_in(file)[: int(is_behind)] == ["a.jpg"] * is_behind
    write(file, "b.jpg")
    assert keys_in(file)[-1] == "b.jpg"


def test_a_file_of_someone_else_is_no_journal(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_text("path,label\na.jpg,x\n")
    assert keys_in(file) == []


def test_a_long_journal_is_read_whole_and_added_to_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    names = [f"{number}.jpg" for number in range(5_000)]  # far more than a stream keeps in memory
    write(file, *names)
    assert file.stat().st_size > 200_000
    write(file, "last.jpg")
    assert keys_in(file) == [*names, "last.jpg"]


def test_an_open_journal_is_nobody_elses(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    with Journal(file, ABOUT) as journal:
        journal.add("a.jpg", [1])
        with pytest.raises(UsageError, match=r"Expected one run at a time, got another that is writing .*journal") as e:
            Journal(file, {"step": "other"})
        journal.add("b.jpg", [2])
    assert e.value.hint == "Wait for it, or choose another output."
    assert keys_in(file) == ["a.jpg", "b.jpg"]


class RemovedOnce(Journal):
    """A journal that the run before it removes at the worst moment: after it was opened, before it was locked."""

    num_opened = 0

    def _lock(self, stream: IO[bytes]) -> None:
        self.num_opened += 1
        if self.num_opened == 1:
            self.path.unlink()
        super()._lock(stream)


def test_a_journal_that_the_run_before_has_just_removed_is_made_anew(tmp_path: Path) -> None:
    with RemovedOnce(tmp_path / "journal", ABOUT) as journal:
        journal.add("a.jpg", [1])
    assert journal.num_opened == 2
    assert keys_in(tmp_path / "journal") == ["a.jpg"]


def test_a_disk_without_locks_still_keeps_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    write(tmp_path / "journal", "a.jpg")
    assert keys_in(tmp_path / "journal") == ["a.jpg"]


@pytest.mark.parametrize("special", [".", "/dev/zero"], ids=["folder", "device"])
def test_what_is_no_plain_file_is_no_journal(tmp_path: Path, special: str) -> None:
    file = tmp_path / "journal"
    file.symlink_to(tmp_path / special)
    with pytest.raises(OutputError, match=r"Expected a file or nothing at .*journal, got a folder or a device"):
        Journal(file, ABOUT)


@pytest.mark.usefixtures("plain_user")
def test_a_journal_that_may_not_be_written_is_an_output_error() -> None:
    Path("journal").touch(mode=0o400)
    with pytest.raises(OutputError, match=r"Expected a file that can be written, got Permission denied") as caught:
        Journal(Path("journal"), ABOUT)
    assert caught.value.hint == "Choose another name or folder."


def test_a_full_disk_is_an_output_error_and_what_was_flushed_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as a full disk: EFBIG in the place of ENOSPC
    try:
        with pytest.raises(OutputError, match=r"Expected room for the journal, got .*journal") as caught:
            write(file, *(f"{number}.jpg" for number in range(2_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.hint == "Make room and run the same command again: it goes on where it stopped."
    names = keys_in(file)
    assert len(names) > 100
    assert names == [f"{number}.jpg" for number in range(len(names))]


def test_a_killed_run_loses_the_last_fifty_entries_at_most(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from edgegender.data.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), {'step': 'test'}) as journal:\n"
        "    for number in range(175):\n"
        "        journal.add(f'{number}.jpg', [number])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    about: dict[str, object] = {"step": "test"}
    with Journal(file, about) as journal:
        kept = len(journal.entries)
        assert 125 <= kept <= 175
        assert journal.entries == {f"{number}.jpg": [number] for number in range(kept)}
        journal.add("next.jpg", [0])
    assert len(keys_in(file, about)) == kept + 1


def test_each_line_is_plain_json(tmp_path: Path) -> None:
    lines = write(tmp_path / "journal", "a.jpg").decode("ascii").splitlines()
    about = {"edgegender_journal": 1, "step": "test", "size": 96, "ratios": [70, 10]}
    assert [json.loads(line) for line in lines] == [about, ["a.jpg", [*VALUE, "a.jpg"]]]

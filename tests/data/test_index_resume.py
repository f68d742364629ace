"""Indexing that is stopped, and files that change or vanish meanwhile: nothing is lost, nothing stale is believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegender.data import index
from edgegender.data.index import IndexedFolder, index_folder
from edgegender.data.manifest import ManifestRow
from edgegender.errors import DataError, OutputError, UsageError
from tests import pictures


def write_photos(folder: Path, count: int) -> list[Path]:
    """Writes photos into x/ and y/ in turn; ``.png``, so that a change of a pixel keeps the size of the file."""
    return [
        pictures.write_photo(folder / "xy"[number % 2] / f"{number:03d}.png", pictures.noise(8, 8, number))
        for number in range(count)
    ]


def indexed(folder: Path, **options: object) -> IndexedFolder:
    settings: dict[str, object] = {"output_folder": folder, "journal_path": folder / ".journal", "with_phash": False}
    return index_folder(folder, **{**settings, **options})  # type: ignore[arg-type]


def by_path(done: IndexedFolder) -> dict[str, ManifestRow]:
    return {row.path: row for row in done.manifest}


def stop_after(count: int) -> Callable[[int, int], None]:
    def stop(done: int, total: int) -> None:
        del total
        if done == count:
            raise KeyboardInterrupt

    return stop


def spoil(file: Path) -> None:
    """Makes a file no photo, of the same size and time: who reads it again cannot but see it."""
    status = file.stat()
    file.write_bytes(b"?" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_run_that_was_interrupted_goes_on_and_reads_only_what_is_left(tmp_path: Path) -> None:
    files = sorted(write_photos(tmp_path, 8))
    expected = by_path(indexed(tmp_path, journal_path=None))
    with pytest.raises(KeyboardInterrupt):
        indexed(tmp_path, on_progress=stop_after(5))
    for file in files[:5]:
        spoil(file)
    calls: list[tuple[int, int]] = []
    done = indexed(tmp_path, on_progress=lambda *call: calls.append(call))
    assert done.num_resumed == 5
    assert by_path(done) == expected
    assert calls == [(number, 8) for number in range(1, 9)]


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    write_photos(tmp_path, 130)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from edgegender.data.index import index_folder\n"
        "def stop(done, total):\n"
        "    if done == 120: os.kill(os.getpid(), signal.SIGKILL)\n"
        "folder = Path(sys.argv[1])\n"
        "index_folder(folder, output_folder=folder, journal_path=folder / '.journal', with_phash=False,"
        " on_progress=stop)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = indexed(tmp_path)
    assert 100 <= done.num_resumed <= 120
    assert by_path(done) == by_path(indexed(tmp_path, journal_path=None))


def test_the_journal_stays_until_the_caller_removes_it(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    assert indexed(tmp_path).num_resumed == 0
    assert (tmp_path / ".journal").is_file()
    assert indexed(tmp_path).num_resumed == 4


def test_without_a_journal_no_file_is_written(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    before = sorted(tmp_path.rglob("*"))
    assert indexed(tmp_path, journal_path=None).num_resumed == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_changed_in_between_is_measured_anew(tmp_path: Path) -> None:
    files = write_photos(tmp_path, 6)
    before = by_path(indexed(tmp_path))
    pictures.write_photo(files[2], pictures.noise(8, 8, 99))
    os.utime(files[2], ns=(0, files[3].stat().st_mtime_ns + 1))
    pictures.write_photo(files[3], pictures.noise(9, 8, 98))
    os.utime(files[4])  # touched: read again, and found to be what it was
    done = indexed(tmp_path)
    after = by_path(done)
    assert done.num_resumed == 3
    changed = {path for path in after if after[path].sha256 != before[path].sha256}
    assert changed == {"x/002.png", "y/003.png"}
    assert dict(after["y/003.png"].extra) == {"width": "8", "height": "9"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_vanishes_while_others_are_read_is_marked_and_measured_anew_when_it_is_back(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_PHOTOS_PER_WORKER", 1)
    monkeypatch.setattr(index, "_CHUNK_PHOTOS", 1)
    files = sorted(write_photos(tmp_path, 40))
    content = files[-1].read_bytes()

    def remove(done: int, total: int) -> None:
        del total
        if done == 2:  # two workers are 9 photos ahead at most
            files[-1].unlink()

    first = indexed(tmp_path, workers=workers, on_progress=remove)
    assert by_path(first)["y/039.png"].exclude == "unreadable: missing"
    assert sum(bool(row.exclude) for row in first.manifest) == 1
    files[-1].write_bytes(content)
    second = indexed(tmp_path, workers=workers)
    assert second.num_resumed == 39
    assert by_path(second)["y/039.png"].exclude == ""


def test_a_file_that_vanished_between_two_runs_is_not_taken_from_the_journal(tmp_path: Path) -> None:
    files = write_photos(tmp_path, 4)
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"xy/{n}.png,{'xy'[n % 2]}\n" for n in range(4)))
    (tmp_path / "xy").mkdir()
    for number, file in enumerate(files):
        file.rename(tmp_path / "xy" / f"{number}.png")
    assert indexed(tmp_path, labels=tmp_path / "labels.csv").num_resumed == 0
    (tmp_path / "xy" / "1.png").unlink()
    done = indexed(tmp_path, labels=tmp_path / "labels.csv")
    assert (done.num_resumed, by_path(done)["xy/1.png"].exclude) == (3, "unreadable: missing")


def test_a_journal_without_perceptual_hashes_is_not_used_for_a_run_with_them(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    indexed(tmp_path)
    done = indexed(tmp_path, with_phash=True)
    assert done.num_resumed == 0
    assert all(len(cell) == 64 for cell in done.manifest.column("phash"))


def test_a_journal_of_another_folder_is_not_used(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_photos(tmp_path / name, 4)
    indexed(tmp_path / "one", journal_path=tmp_path / "journal")
    assert indexed(tmp_path / "two", journal_path=tmp_path / "journal").num_resumed == 0


def test_a_journal_with_entries_of_another_shape_is_measured_anew(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    indexed(tmp_path)
    lines = (tmp_path / ".journal").read_text().splitlines()
    (tmp_path / ".journal").write_text(f'{lines[0]}\n["x/000.png",[1,2]]\n["y/001.png",[]]\n["z",[1]]\n')
    assert indexed(tmp_path).num_resumed == 0


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)

    def run_again(done: int, total: int) -> None:
        del total
        if done == 2:
            indexed(tmp_path)

    with pytest.raises(UsageError, match=r"Expected one run at a time, got another that is writing .*\.journal"):
        indexed(tmp_path, on_progress=run_again)
    assert indexed(tmp_path).num_resumed == 2


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    with pytest.raises(OutputError, match=r"Expected a file or nothing at .*, got a folder"):
        indexed(tmp_path, journal_path=tmp_path / "x")


def test_what_was_measured_is_kept_when_the_photos_turn_out_to_be_of_one_label(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    for file in (tmp_path / "y").iterdir():
        spoil(file)
    with pytest.raises(DataError, match="Expected at least two labels, got 'x' only"):
        indexed(tmp_path)
    for number in (1, 3):
        pictures.write_photo(tmp_path / "y" / f"{number:03d}.png", pictures.noise(8, 9, number))
    assert indexed(tmp_path).num_resumed == 2


def test_one_and_two_workers_index_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_PHOTOS_PER_WORKER", 1)
    monkeypatch.setattr(index, "_CHUNK_PHOTOS", 3)
    spoil(write_photos(tmp_path, 20)[7])
    alone, together = (indexed(tmp_path, workers=number, journal_path=None, with_phash=True) for number in (1, 2))
    assert by_path(alone) == by_path(together)
    assert sum(row.exclude == "unreadable: format" for row in alone.manifest) == 1

"""A crop that was stopped or killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgegender import files, images
from edgegender.data.crop import CropSettings, CropSummary, Detector, crop_faces
from edgegender.data.journal import Journal
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.errors import UsageError
from tests import pictures
from tests.cli.commands import REPOSITORY, environment
from tests.data.crop_scenes import CountingDetector, RedSquareDetector, SignedDetector, one_face_each, scene, tree

NUM_PHOTOS = 120
JOURNAL = ".faces.csv.journal"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos' manifest. Nobody writes into its folder."""
    folder = tmp_path_factory.mktemp("resume") / "photos"
    write_manifest(folder / "faces.csv", one_face_each(folder, NUM_PHOTOS))
    return folder / "faces.csv"


@pytest.fixture(scope="module")
def whole(photos: Path) -> dict[str, str]:
    """What an uninterrupted run makes, of photos that stand where ``photos`` does."""
    output = photos.parent.parent / "whole"
    crop(photos, output)
    made = tree(output)
    shutil.rmtree(output)
    return made


class StoppedError(Exception):
    """Ends a run from within."""


def crop(
    manifest_path: Path,
    output: Path,
    *,
    stop_at: int = 0,
    settings: CropSettings | None = None,
    detector_name: str = "red",
    make_detector: Callable[[], Detector] = RedSquareDetector,
    workers: int = 1,
) -> CropSummary:
    """Crops as the command does; ends with :class:`StoppedError` when ``stop_at`` photos are done."""

    def stop(done: int, total: int) -> None:
        del total
        if done == stop_at:
            raise StoppedError

    rows, summary = crop_faces(
        read_manifest(manifest_path),
        output,
        make_detector=make_detector,
        settings=settings,
        workers=workers,
        journal_path=output / JOURNAL,
        detector_name=detector_name,
        on_progress=stop,
    )
    write_manifest(output / "faces.csv", rows)
    (output / JOURNAL).unlink()
    return summary


def stopped(manifest_path: Path, output: Path, *, at: int = 60) -> Path:
    """Crops the first ``at`` photos and returns the output."""
    with pytest.raises(StoppedError):
        crop(manifest_path, output, stop_at=at)
    return output


def count(run: Callable[[], CropSummary]) -> tuple[CropSummary, int]:
    """Returns a run's summary and how many photos its detector saw."""
    before = CountingDetector.seen
    summary = run()
    return summary, CountingDetector.seen - before


def run_and_be_killed(code: str, manifest_path: Path, output: Path) -> None:
    """Runs a crop in a process of its own that ends by SIGKILL."""
    script = (
        "import functools, os, pathlib, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.data.crop_scenes import KillingDetector, RedSquareDetector\n"
        "from edgegender.data.crop import crop_faces\n"
        "from edgegender.data.manifest_file import read_manifest\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def run(**options):\n"
        "    manifest, output = read_manifest(Path(sys.argv[1])), Path(sys.argv[2])\n"
        f"    journal = output / {JOURNAL!r}\n"
        "    crop_faces(manifest, output, journal_path=journal, detector_name='red', **options)\n"
        "if __name__ == '__main__':\n"
    ) + "\n".join(f"    {line}" for line in code.splitlines())
    file = output.parent / "killed.py"  # in a file: the processes that it starts import it
    file.write_text(script)
    command = [sys.executable, str(file), str(manifest_path), str(output)]
    with (output.parent / "killed.txt").open("w") as said:  # a pipe would wait for the worker processes, too
        done = subprocess.run(
            command, env={**environment(), "PYTHONPATH": str(REPOSITORY)}, stdout=said, stderr=said, check=False
        )
    assert done.returncode == -signal.SIGKILL, (output.parent / "killed.txt").read_text()


# Killed


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(photos: Path, whole: dict[str, str]) -> None:
    output = photos.parent.parent / "killed"
    run_and_be_killed("run(make_detector=functools.partial(KillingDetector, 70))", photos, output)
    assert not (output / "faces.csv").exists()
    summary, num_seen = count(lambda: crop(photos, output, make_detector=CountingDetector))
    # The killed run had seen 69 photos of some 81: every seventh cannot be read. Up to 50 are not in the journal yet.
    assert 30 <= summary.num_resumed <= 81
    num_unreadable_left = sum(number >= summary.num_resumed for number in range(6, NUM_PHOTOS, 7))
    assert num_seen == NUM_PHOTOS - summary.num_resumed - num_unreadable_left
    assert tree(output) == whole


def test_two_processes_that_are_killed_leave_whole_crops_and_go_on(photos: Path, whole: dict[str, str]) -> None:
    output = photos.parent.parent / "killed twice"
    code = "run(make_detector=RedSquareDetector, workers=2, on_progress=lambda done, total: done == 70 and die())"
    run_and_be_killed(code, photos, output)
    for file in output.rglob("*.jpg"):
        if not file.name.startswith(".part-"):
            images.read_image(file)
    summary = crop(photos, output, workers=2)
    assert 50 <= summary.num_resumed <= 70
    assert tree(output) == whole


def test_what_was_half_written_is_taken_away(photos: Path, whole: dict[str, str]) -> None:
    """Killed before the rename: what stands under a crop's name is whole, and the rest goes with the next run."""
    output = photos.parent.parent / "half"
    code = (
        "real, calls = pathlib.Path.replace, []\n"
        "def replace(self, target):\n"
        "    calls.append(1)\n"
        "    return die() if len(calls) == 60 else real(self, target)\n"
        "pathlib.Path.replace = replace\n"
        "run(make_detector=RedSquareDetector)"
    )
    run_and_be_killed(code, photos, output)
    assert len(list(output.rglob(".part-*"))) == 1
    assert len([images.read_image(file) for file in output.rglob("*-*.jpg") if file.name[0] != "."]) == 59
    crop(photos, output)
    assert tree(output) == whole


# Stopped, and something changed before the next run


@pytest.fixture
def own_photos(tmp_path: Path) -> Path:
    """A manifest of photos that a test may change."""
    folder = tmp_path / "photos"
    write_manifest(folder / "faces.csv", one_face_each(folder, 20))
    return folder / "faces.csv"


def test_all_that_a_stopped_run_did_is_taken_over(own_photos: Path, tmp_path: Path) -> None:
    crop(own_photos, tmp_path / "whole")
    output = stopped(own_photos, tmp_path / "crops", at=12)
    summary, num_seen = count(lambda: crop(own_photos, output, make_detector=CountingDetector))
    assert summary.num_resumed == 12
    assert num_seen == 7  # eight are left, one of which cannot be read
    assert replace(summary, num_resumed=0) == crop(own_photos, tmp_path / "again")
    assert tree(output) == tree(tmp_path / "whole")


def test_a_photo_that_changed_is_done_anew(own_photos: Path, tmp_path: Path) -> None:
    output = stopped(own_photos, tmp_path / "crops", at=12)
    pictures.write_photo(own_photos.parent / "3.png", scene((10, 10, 100)))
    summary = crop(own_photos, output)
    assert summary.num_resumed == 11
    assert read_manifest(output / "faces.csv").row(3).extra["width"] == "176"
    crop(own_photos, tmp_path / "whole")
    assert tree(output) == tree(tmp_path / "whole")


@pytest.mark.parametrize("fault", ["deleted", "emptied", "drawn over"])
def test_a_crop_that_is_not_what_was_written_is_done_anew(own_photos: Path, tmp_path: Path, fault: str) -> None:
    output = stopped(own_photos, tmp_path / "crops", at=12)
    (victim,) = output.glob("x/2-*.jpg")
    if fault == "deleted":
        victim.unlink()
    elif fault == "emptied":  # as a power cut does
        victim.write_bytes(b"")
    else:
        pictures.write_photo(victim, scene())
    assert crop(own_photos, output).num_resumed == 11
    crop(own_photos, tmp_path / "whole")
    assert tree(output) == tree(tmp_path / "whole")


def test_a_photo_that_was_missing_is_looked_for_again(own_photos: Path, tmp_path: Path) -> None:
    away = (own_photos.parent / "2.png").rename(tmp_path / "2.png")
    output = stopped(own_photos, tmp_path / "crops", at=12)
    away.rename(own_photos.parent / "2.png")
    summary = crop(own_photos, output)
    assert summary.num_resumed == 11
    assert "2.png" not in summary.unreadable


def test_a_photo_that_could_not_be_read_is_read_again(plain_user: Path) -> None:
    """To give the right to read a file changes neither its size nor its time."""
    del plain_user  # a superuser may read all
    photos, output = Path("photos"), Path("crops")
    manifest = Manifest.from_rows(photos, one_face_each(photos, 4))
    (photos / "2.png").chmod(0)
    for num_cropped, num_resumed in ((3, 0), (4, 3)):
        _, summary = crop_faces(manifest, output, make_detector=RedSquareDetector, journal_path=output / JOURNAL)
        assert (summary.num_cropped, summary.num_resumed) == (num_cropped, num_resumed)
        (photos / "2.png").chmod(0o600)


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": CropSettings(context=1.5)},
        {"settings": CropSettings(size_px=64)},
        {"settings": CropSettings(suffix=".png")},
        {"detector_name": "another"},
    ],
    ids=["context", "size", "format", "detector"],
)
def test_other_settings_or_another_detector_start_anew(
    own_photos: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    output = stopped(own_photos, tmp_path / "crops", at=12)
    summary = crop(own_photos, output, **changed)  # type: ignore[arg-type]
    assert summary.num_resumed == 0


def test_photos_of_another_folder_with_the_same_names_start_anew(own_photos: Path, tmp_path: Path) -> None:
    """The same sizes and times of change, as a copy of another version of the set may have."""
    output = stopped(own_photos, tmp_path / "crops", at=12)
    shutil.copytree(own_photos.parent, tmp_path / "others", copy_function=shutil.copy2)
    assert crop(tmp_path / "others" / "faces.csv", output).num_resumed == 0


def test_photos_that_were_excluded_since_are_left_out(own_photos: Path, tmp_path: Path) -> None:
    output = stopped(own_photos, tmp_path / "crops", at=12)
    manifest = read_manifest(own_photos)
    write_manifest(own_photos, manifest.with_columns({"exclude": ["blurred", *[""] * 19]}))
    assert crop(own_photos, output).num_resumed == 11
    assert len(read_manifest(output / "faces.csv")) == 19


def test_a_run_that_did_all_but_write_its_manifest_does_no_photo_again(own_photos: Path, tmp_path: Path) -> None:
    output = stopped(own_photos, tmp_path / "crops", at=20)
    summary, num_seen = count(lambda: crop(own_photos, output, make_detector=CountingDetector))
    assert (summary.num_resumed, num_seen) == (20, 0)


def test_two_runs_do_not_write_into_one_folder(own_photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "crops"
    with Journal(output / JOURNAL, {}), pytest.raises(UsageError, match=r"Expected one run at a time"):
        crop(own_photos, output)


def test_a_stopped_run_of_one_process_is_ended_by_two(photos: Path, whole: dict[str, str], tmp_path: Path) -> None:
    output = stopped(photos, photos.parent.parent / "one and two", at=10)
    signed = tmp_path / "processes"
    signed.mkdir()
    summary = crop(photos, output, make_detector=functools.partial(SignedDetector, signed), workers=2)
    assert summary.num_resumed == 10
    assert len({file.name for file in signed.iterdir()} - {str(os.getpid())}) == 2
    assert tree(output) == whole


def test_leftovers_are_removed_from_one_folder_only(tmp_path: Path) -> None:
    for name in (".part-1.jpg", "whole.jpg", "deeper/.part-2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path)
    files.remove_leftovers(tmp_path / "none")
    assert sorted(tree(tmp_path)) == ["deeper/.part-2.jpg", "whole.jpg"]


def test_the_manifest_of_a_resumed_run_is_one_of_the_output(own_photos: Path, tmp_path: Path) -> None:
    output = stopped(own_photos, tmp_path / "crops", at=12)
    crop(own_photos, output)
    crops: Manifest = read_manifest(output / "faces.csv")
    for row in crops.select():
        assert files.hash_file(crops.file(row)) == row.sha256
        assert (output / row.extra["original"]).resolve().parent == own_photos.parent

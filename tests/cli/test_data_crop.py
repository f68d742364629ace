"""``edgegender data crop``: options, what it tells, and the manifest that it must not write over."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegender.cli.data_crop import crop
from edgegender.data import crop as crop_module
from edgegender.data.crop import CropSettings
from edgegender.data.drawn_faces import draw_attributes, draw_background, draw_scene, write_drawn_faces
from edgegender.data.manifest import ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.images import read_image
from tests.cli.commands import Answer, check_error, check_no_parts, run_here, snapshot
from tests.pictures import write_photo

Run = Callable[..., Answer]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # what this user has pulled is no matter here
    return lambda *words: run_here(capfd, "data", "crop", *words)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six photos: three of one person, one of three people, a wall, an empty file."""
    folder = tmp_path / "photos"
    rows = write_drawn_faces(folder, num_faces=4, seed=7, size_px=200)
    faces = [draw_attributes("male", np.random.default_rng(number)) for number in range(3)]
    write_photo(folder / "three.png", draw_scene(faces, rng=np.random.default_rng(1)).image_rgb)
    write_photo(folder / "wall.png", draw_background(200, np.random.default_rng(1)))
    (folder / "empty.jpg").touch()
    more = [ManifestRow(name, "male") for name in ("three.png", "wall.png", "empty.jpg")]
    write_manifest(folder / "faces.csv", [*rows[:3], *more])
    return folder / "faces.csv"


def test_text_tells_faces_walls_crowds_and_damage(run: Run, manifest: Path, tmp_path: Path) -> None:
    answer = run(manifest, "-o", "out/crops")
    assert answer.code == 0
    assert answer.out == (
        "4 faces; 1 photos without a face, 1 with several (the most prominent was taken), 1 unreadable "
        "→ out/crops/faces.csv\n"
    )
    assert answer.err.splitlines() == [
        "warning: empty.jpg: unreadable, left out",
        "warning: wall.png: no face found",
        "hint: the column num_faces of out/crops/faces.csv tells photos with several faces",
    ]
    crops = read_manifest(tmp_path / "out" / "crops" / "faces.csv")
    assert [row.exclude for row in crops] == ["", "", "", "", "no_face", "unreadable: empty"]
    assert [row.extra["num_faces"] for row in crops][:3] == ["1"] * 3
    assert int(crops.row(3).extra["num_faces"]) > 1
    for row in crops:
        assert (tmp_path / "out" / "crops" / row.extra["original"]).is_file()
    assert not list(tmp_path.rglob(".*"))  # neither a journal nor a part


def test_json_lists_the_photos_of_each_kind(run: Run, manifest: Path) -> None:
    answer = run(manifest, "-o", "crops", "--json")
    assert json.loads(answer.out) == {
        "manifest": "crops/faces.csv",
        "num_cropped": 4,
        "num_no_face": 1,
        "num_several_faces": 1,
        "num_unreadable": 1,
        "num_resumed": 0,
        "no_face": ["wall.png"],
        "several_faces": ["three.png"],
        "unreadable": ["empty.jpg"],
    }


def test_of_many_photos_without_a_face_ten_are_named(run: Run, tmp_path: Path) -> None:
    rows = write_drawn_faces(tmp_path, num_faces=2, seed=7)
    for number in range(12):
        write_photo(tmp_path / f"{number:02d}.png", draw_background(64, np.random.default_rng(number)))
        rows.append(ManifestRow(f"{number:02d}.png", "male"))
    write_manifest(tmp_path / "faces.csv", rows)
    lines = run("faces.csv", "-o", "crops").err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "warning: and 2 more: no face found; the new manifest names them all"


def test_options_reach_the_crops(run: Run, manifest: Path, tmp_path: Path) -> None:
    answer = run(manifest, "-o", "crops", "--size", "48", "--context", "1.5", "--format", "png", "--workers", "1")
    assert answer.code == 0
    row = read_manifest(tmp_path / "crops" / "faces.csv").row(0)
    assert row.path.endswith(".png")
    assert read_image(tmp_path / "crops" / row.path).shape == (48, 48, 3)
    assert row.face_box is not None
    assert row.face_box.side_px == pytest.approx(32, abs=0.1)


def test_the_defaults_are_those_of_the_library() -> None:
    defaults = {option.name: option.default for option in crop.params}
    assert (defaults["context"], defaults["size"]) == (CropSettings().context, CropSettings().size_px)
    ranges = {option.name: option.type for option in crop.params}
    assert (ranges["context"].max, ranges["size"].min, ranges["size"].max) == (  # type: ignore[attr-defined]
        crop_module.MAX_CONTEXT,
        crop_module.MIN_SIZE_PX,
        crop_module.MAX_SIZE_PX,
    )
    assert inspect.getdoc(crop.callback) is not None


@pytest.mark.parametrize("detector", ["yunet", "blazeface"])
def test_a_detector_that_finds_eyes_levels_them(
    run: Run, manifest: Path, tmp_path: Path, request: pytest.FixtureRequest, detector: str
) -> None:
    file = request.getfixturevalue(f"{detector}_file")
    words = ("--detector", detector, "--detector-path", file, "--format", "png")
    for align in ("none", "eyes"):
        answer = run(manifest, "-o", align, "--align", align, *words)
        assert answer.code == 0, answer
    plain, aligned = (read_manifest(tmp_path / align / "faces.csv") for align in ("none", "eyes"))
    assert list(plain.column("path")) == list(aligned.column("path"))
    assert list(plain.column("face_box")) == list(aligned.column("face_box"))
    assert list(plain.column("sha256")) != list(aligned.column("sha256"))  # drawn heads are tilted by some degrees


def test_a_stopped_run_is_gone_on_with_and_says_so(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = crop_module.files.write_bytes, []

    def stop(*words: object, **options: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(crop_module.files, "write_bytes", stop)
    answer = run(manifest, "-o", "crops")
    check_error(answer, 130, "Interrupted.", "The same command goes on where it stopped.")
    assert not (tmp_path / "crops" / "faces.csv").exists()
    answer = run(manifest, "-o", "crops", "--workers", "1")
    assert answer.code == 0
    assert "note: 2 photos were done by a run that was stopped" in answer.err.splitlines()
    assert run(manifest, "-o", "whole").code == 0
    resumed, whole = snapshot(tmp_path / "crops"), snapshot(tmp_path / "whole")
    assert resumed == whole


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--detector", "none"), "Expected a detector that finds faces, got none"),
        (("--align", "eyes"), "Expected a detector that finds eyes, got cascade"),
        (("--align", "nose"), "Invalid value for '--align'"),
        (("--detector-path", "x.onnx"), "Expected no --detector-path with the detector cascade, got x.onnx"),
        (("--detector", "yunet"), "edgegender models pull yunet"),
        (("--detector", "blazeface", "--detector-path", "x.tflite"), "x.tflite"),
        (("--context", "0.5"), "Invalid value for '--context': 0.5 is not in the range 1<=x<=10"),
        (("--context", "nan"), "Expected a context of 1 to 10"),
        (("--size", "8"), "Invalid value for '--size'"),
        (("--workers", "-1"), "Invalid value for '--workers'"),
        (("--format", "gif"), "Invalid value for '--format'"),
        (("-o", "photos"), "Expected another file than the manifest of the photos, got photos/faces.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_nonsense_is_refused_before_a_photo_is_read(
    run: Run, manifest: Path, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    before = snapshot(tmp_path)
    answer = run(manifest, *(() if "-o" in words else ("-o", "crops")), *words)
    check_error(answer, 2, expected)
    assert answer.out == ""
    assert snapshot(tmp_path) == before


def test_crops_may_stand_beside_their_photos_under_another_manifest(run: Run, manifest: Path) -> None:
    manifest.rename(manifest.with_name("photos.csv"))
    assert run(manifest.with_name("photos.csv"), "-o", manifest.parent).code == 0
    crops = read_manifest(manifest)
    assert all(row.path != row.extra["original"] for row in crops)
    check_no_parts(manifest.parent)


def test_photos_that_are_not_there_are_told_with_the_first(run: Run, tmp_path: Path) -> None:
    write_manifest(tmp_path / "faces.csv", [ManifestRow("a.jpg", "x"), ManifestRow("b.jpg", "y")])
    answer = run("faces.csv", "-o", "crops")
    check_error(answer, 2, "Expected photos that can be read, got 2 that cannot", "The first: a.jpg is unreadable")
    assert not (tmp_path / "crops" / "faces.csv").exists()

"""What all tests share: where the real photos lie, and hypothesis without a folder of its own."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import configuration

REPOSITORY = Path(__file__).resolve().parent.parent

# derandomize: the same examples on each machine; deadline: a busy board is no failure
hypothesis.settings.register_profile("edgegender", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("edgegender")
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "edgegender-hypothesis")


_LONGEST_FIRST = ("tests/training", "tests/cli", "tests/conversion", "tests/install")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the folders with minutes of work first: several processes then end at about the same time."""
    ranks = {folder: rank for rank, folder in enumerate(_LONGEST_FIRST)}

    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.relative_to(REPOSITORY).as_posix()
        return ranks.get(folder, len(ranks))

    items.sort(key=rank)


@pytest.fixture(autouse=True, scope="module")
def _leaks_show_where_they_are() -> Iterator[None]:
    """Collects garbage after each module: a file or socket left open fails here, not in whichever test comes later."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """The folder of real photos: sample.csv, faces/ and scenes/."""
    folder = Path(os.environ.get("EDGEGENDER_DATA", REPOSITORY / ".." / "shared" / "data" / "sample")).resolve()
    if not (folder / "sample.csv").is_file():
        pytest.skip(f"no real photos in {folder}: set EDGEGENDER_DATA to a folder with sample.csv and scenes/")
    return folder


@pytest.fixture(scope="session")
def scene_files(sample_folder: Path) -> list[Path]:
    """Real photos with more than the face in them."""
    return sorted((sample_folder / "scenes").glob("*.jpg"))


@pytest.fixture(scope="session")
def yunet_file() -> Path:
    """The YuNet detector's network."""
    file = (REPOSITORY / ".." / "shared" / "models" / "yunet_n_640_640.onnx").resolve()
    if not file.is_file():
        pytest.skip(f"no YuNet network at {file}")
    return file


@pytest.fixture(scope="session")
def blazeface_file() -> Path:
    """The BlazeFace detector's network."""
    file = (REPOSITORY / ".." / "shared" / "models" / "face_detection_short_range.tflite").resolve()
    if not file.is_file():
        pytest.skip(f"no BlazeFace network at {file}")
    return file


@pytest.fixture(scope="session")
def mobilefacenet_file() -> Path:
    """The network that embeds faces."""
    file = (REPOSITORY / ".." / "shared" / "models" / "MobileFaceNet.onnx").resolve()
    if not file.is_file():
        pytest.skip(f"no MobileFaceNet network at {file}")
    return file


@pytest.fixture
def plain_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Runs a test without the superuser's rights, in ``tmp_path``; use relative paths."""
    monkeypatch.chdir(tmp_path)
    if os.geteuid() != 0:
        yield tmp_path
        return
    os.chown(tmp_path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield tmp_path
    finally:
        os.seteuid(0)

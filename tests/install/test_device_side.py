"""On a device: the wheel alone, in an environment of its own, without the training stack and without the internet."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import edgegender
from edgegender.data.drawn_faces import draw_attributes, draw_face, write_drawn_faces
from edgegender.images import encode_image
from tests.cli.commands import REPOSITORY, environment

HEAVY = ("tensorflow", "keras", "matplotlib", "pandas", "scipy", "sklearn", "jax", "torch")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git would hold: nothing in the working tree is touched."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "edgegender", source / "edgegender", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_the_model_its_sidecar_and_card_and_the_recipes(wheel: Path) -> None:
    assert wheel.name == f"edgegender-{edgegender.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        model = archive.read("edgegender/models/default.tflite")
    assert {
        "edgegender/models/default.json",
        "edgegender/models/default.md",
        "edgegender/training/recipes/demo.json",
        "edgegender/training/recipes/edge.json",
        "edgegender/benchmark/result.schema.json",
        "edgegender/runtime/camera_event.schema.json",
        "edgegender/runtime/capture/children/video.py",
        "edgegender/serving/page/page.html",
        "edgegender/py.typed",
    } <= names
    assert model == (REPOSITORY / "edgegender" / "models" / "default.tflite").read_bytes()


def test_the_wheel_holds_no_tests_caches_or_photos(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if not name.startswith(("edgegender/", "edgegender-"))]
    pictures = [name for name in names if name.endswith((".jpg", ".jpeg", ".png"))]
    assert pictures == ["edgegender/benchmark/golden_faces.png"]  # drawn: tools/draw_golden_sheet.py
    assert not [name for name in names if name.endswith((".pyc", ".h5", ".onnx"))]
    assert not [name for name in names if "/tests/" in name or "test_" in name]


def test_the_wheel_asks_for_no_training_stack_without_its_extra(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(needed) == 5
    assert not [line for line in needed if any(name in line.lower() for name in HEAVY)]


@pytest.fixture(scope="session")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and what it asks for; returns its bin folder."""
    folder = tmp_path_factory.mktemp("device")
    venv.create(folder / "venv", with_pip=True)
    command = [
        str(folder / "venv" / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index within reach: {done.stderr.strip().splitlines()[-1]}")
    return folder / "venv" / "bin"


def offline() -> list[str]:
    """Returns a prefix that takes the network away, where this machine lets us."""
    prefix = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
        return prefix
    return []


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [*offline(), *map(str, command)]
    # no proxy, and a home without caches: nothing is taken from elsewhere
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "LANG": "C.UTF-8"}
    return subprocess.run(words, capture_output=True, text=True, env=clean, cwd=cwd, check=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "face.jpg"
    path.write_bytes(encode_image(draw_face(draw_attributes("male", rng), size_px=240, rng=rng).image_rgb))
    return path


@pytest.mark.slow
def test_the_training_stack_is_not_installed(device: Path, tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([name for name in {HEAVY} if u.find_spec(name)])"
    assert run(device / "python", "-c", code, cwd=tmp_path).stdout == "[]\n"


@pytest.mark.slow
def test_the_device_side_imports_nothing_heavy_and_no_native_runtime_yet(device: Path, tmp_path: Path) -> None:
    code = "import sys, edgegender.runtime; print(*sys.modules)"
    done = run(device / "python", "-c", code, cwd=tmp_path)
    modules = {name.split(".")[0] for name in done.stdout.split()}
    assert done.returncode == 0, done.stderr
    assert not modules & {*HEAVY, "ai_edge_litert", "rich", "click"}


@pytest.mark.slow
def test_predict_works_offline_right_after_the_installation(device: Path, tmp_path: Path, photo: Path) -> None:
    done = run(device / "edgegender", "predict", photo.name, "--json", "--annotate", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    event = json.loads(done.stdout)
    assert event["status"] == "ok"
    assert event["predicted_label"] in ("female", "male")
    assert (tmp_path / "out" / "face.jpg").is_file()


@pytest.mark.slow
def test_inspect_and_doctor_work_offline(device: Path, tmp_path: Path) -> None:
    done = run(device / "edgegender", "inspect", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["labels"] == ["female", "male"]
    done = run(device / "edgegender", "doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pip install 'edgegender[train]'" in done.stdout


@pytest.mark.slow
def test_a_benchmark_works_offline(device: Path, tmp_path: Path) -> None:
    done = run(device / "edgegender", "benchmark", "--short", "--threads", "1", "-o", "result.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(device / "edgegender", "report", "result.json", cwd=tmp_path)
    assert "edgegender-mobilenetv2-96" in done.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_drawn_faces(tmp_path / "photos", num_faces=12, seed=1)
    return tmp_path / "photos"


@pytest.mark.slow
def test_data_commands_work_without_their_extra_as_far_as_they_need_none(
    device: Path, tmp_path: Path, photos: Path
) -> None:
    (photos / "male" / "copy.jpg").write_bytes((photos / "male" / "male_00001.jpg").read_bytes())
    for words in (
        ("index", "photos", "-o", "faces.csv", "--no-phash"),
        ("check", "faces.csv", "-o", "clean.csv", "--no-near"),
        ("split", "clean.csv", "-o", "split.csv", "--group-by", "block,duplicates"),
        ("crop", "split.csv", "-o", "crops"),
    ):
        done = run(device / "edgegender", "data", *words, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        if words[0] == "check":
            assert document["duplicates"] == [["photos/male/copy.jpg", "photos/male/male_00001.jpg"]]
    assert document["num_cropped"] > 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "package", "instead"),
    [
        (("index", "photos", "-o", "new.csv"), "ImageHash", ", or index without perceptual hashes: --no-phash"),
        (("index", "photos", "-o", "new.parquet", "--no-phash"), "pyarrow", ", or name it .csv"),
        (("check", "faces.csv"), "ImageHash", ", or look for exact duplicates only: --no-near"),
        (("check", "faces.csv", "--no-near", "--html", "page.html"), "Jinja2", ""),
    ],
    ids=["index", "parquet", "check", "page"],
)
def test_what_needs_the_data_extra_names_the_command_that_installs_it_and_the_way_without(  # noqa: PLR0917
    device: Path, tmp_path: Path, photos: Path, words: tuple[str, ...], package: str, instead: str
) -> None:
    assert photos.is_dir()
    made = run(device / "edgegender", "data", "index", "photos", "-o", "faces.csv", "--no-phash", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = run(device / "edgegender", "data", *words, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines() == [
        f"error: Expected the package {package} to be installed, got none.",
        f"hint: pip install 'edgegender[data]'{instead}",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "photos"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "convert", "evaluate", "demo"])
def test_what_needs_the_training_stack_names_the_command_that_installs_it(
    device: Path, tmp_path: Path, command: str
) -> None:
    write = "from pathlib import Path; from edgegender.data.drawn_faces import write_drawn_faces as w; "
    write += "from edgegender.data.manifest_file import write_manifest as m; from dataclasses import replace as r; "
    write += "s = ['train', 'train', 'val', 'val', 'test', 'test']; "
    write += "m(Path('faces.csv'), [r(x, split=y) for x, y in zip(w(Path('.'), num_faces=6, seed=1), s)])"
    assert run(device / "python", "-c", write, cwd=tmp_path).returncode == 0
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    recipe = json.loads((REPOSITORY / "edgegender" / "training" / "recipes" / "demo.json").read_text())
    epoch = dict.fromkeys(
        ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_f1", "learning_rate",
         "images_per_second", "seconds"), 1,
    )  # fmt: skip
    record = {
        "schema": "edgegender.run/1", "recipe": recipe, "labels": ["female", "male"], "positive_label": "male",
        "data_sha256": "", "best_epoch": 1, "environment": {}, "history": [epoch],
    }  # fmt: skip
    (run_folder / "run.json").write_text(json.dumps(record))
    (run_folder / "best.weights.h5").touch()
    words = {
        "train": ("train", "--data", "faces.csv", "--recipe", "demo", "-o", "new"),
        "convert": ("convert", "run", "--data", "faces.csv"),
        "evaluate": ("evaluate", "run", "--data", "faces.csv"),
        "demo": ("demo",),
    }
    done = run(device / "edgegender", *words[command], cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 3, done.stderr
    assert lines[-2].startswith("error: Expected the package ")
    assert lines[-1] == "hint: pip install 'edgegender[train]'"
    assert "Traceback" not in done.stderr

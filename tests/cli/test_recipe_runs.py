"""Every recipe of the package, end to end, on drawn faces at sizes that are quick: train, evaluate, convert."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgegender.runtime.model_file import read_model
from edgegender.training.recipes import load_recipe, recipe_names
from edgegender.training.run_folder import load_run
from tests.cli.commands import ANY_LOSS, run_here
from tests.trained_run import write_drawn_set

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# Smallest inputs: InceptionV3 halves its input five times without padding, the cnn three times
SIZES_PX = {"tareq2025-inceptionv3": 75, "tareq2025-resnet50": 32, "edge": 48}
# Tracing their graphs takes most of the time; what freezing does is seen with MobileNetV2
ONE_EPOCH = ("tareq2025-inceptionv3", "tareq2025-resnet50")
CONVERTED = ("hamza2025", "tareq2025-cnn", "demo")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 drawn faces: 36 train, 9 val, 15 test."""
    return write_drawn_set(tmp_path_factory.mktemp("recipes"), num_faces=60, seed=4)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_goes_the_whole_way(faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    recipe = load_recipe(name)
    num_epochs, frozen_epochs = (1, 0) if name in ONE_EPOCH else (2, min(recipe.frozen_epochs, 1))
    settings = [f"input_size_px={SIZES_PX.get(name, 40)}", "batch_size=8", "start_weights=none"]
    settings += [f"epochs={num_epochs}", f"frozen_epochs={frozen_epochs}"]
    if recipe.architecture == "mobilenetv2":
        settings.append("alpha=0.35")
    words = [word for setting in settings for word in ("--set", setting)]
    folder = tmp_path / "run"
    answer = run_here(capfd, "train", "--recipe", name, *words, "--data", faces, "-o", folder, "--json")
    assert answer.code == 0, answer
    run = load_run(folder)
    assert (run.status, len(run.history), run.recipe.name) == ("finished", num_epochs, name)
    assert (run.threshold != 0.5) is (recipe.threshold == "best_f1")
    if frozen_epochs:
        assert run.history[1].learning_rate == pytest.approx(0.01 * run.history[0].learning_rate)
    if name in ONE_EPOCH:
        return
    # a recipe that draws its own split wrote it down: what is evaluated was not learnt from
    data = folder / "faces.csv"
    evaluated = run_here(capfd, "evaluate", folder, "--data", data, "--split", "test", "--json")
    assert evaluated.code == 0, evaluated
    assert json.loads(evaluated.out)["num_photos"] >= 8
    if name not in CONVERTED:
        return
    converted = run_here(capfd, "convert", folder, "--data", data, "-o", tmp_path / "m.tflite", "--force", *ANY_LOSS)
    is_same = recipe.validation_split == "test"
    assert ("temperature and band are fitted on the photos they are measured on" in converted.err) is is_same
    if "hardly ever answers" not in converted.err:  # two epochs may have taught one answer only: then it is refused
        assert converted.code == 0, converted
        metadata = read_model(tmp_path / "m.tflite").metadata
        assert metadata.preprocessing == run.preprocessing
        assert metadata.preprocessing.scaling == ("tf" if name == "demo" else "unit")

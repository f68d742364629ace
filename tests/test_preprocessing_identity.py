"""The same photo gives the same bytes on every way to a network: training, calibration, evaluation, device, benchmark.

Each way is driven through the code that a command runs, up to where the network would take over. The last tests turn
one way at a time by one pixel, and see to it that the comparison notices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import images, preprocess
from edgegender.benchmark import worker
from edgegender.cli import convert
from edgegender.cli.convert_outcome import Job
from edgegender.cli.main import main
from edgegender.cli.photo_samples import read_photos
from edgegender.conversion import float_network
from edgegender.conversion.calibration import choose_rows
from edgegender.conversion.float_network import FloatNetwork
from edgegender.conversion.measured import MeasuredPhotos
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.files import hash_file
from edgegender.preprocess import to_float, to_input
from edgegender.reporting.evaluation import score_photos
from edgegender.runtime import classifier as classifier_module
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import WholeImageDetector
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.photos import PhotoPredictor
from edgegender.training import augmentation, dataset, run_folder
from edgegender.training.batches import TrainingBatches
from edgegender.training.dataset import Sample, evaluation_batches, read_input, to_samples
from edgegender.training.recipes import load_recipe
from edgegender.training.run_folder import Run, save_record
from tests import pictures
from tests.tiny_model import build_tiny_model

SIZE_PX = 48
PREPROCESSING = Preprocessing(SIZE_PX, 1.3)
LABELS = ("female", "male")
Ways = dict[str, list[bytes]]


@dataclasses.dataclass(frozen=True)
class Photos:
    """The same photos three times, as train, val and test, with another tail so that no two files are copies."""

    folder: Path
    manifest_path: Path

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.manifest_path)


def draw_photos() -> dict[str, tuple[bytes, FaceBox | None]]:
    """Returns file names with their bytes and face boxes, which count in pixels of the upright photo."""
    rng = np.random.default_rng(4)
    drawn = draw_face(draw_attributes("male", rng), size_px=160, rng=rng)
    quarters = images.encode_image(pictures.quarters(91, 133))
    grey = cv2.imencode(".png", pictures.gradient(75, 75)[:, :, 0])[1].tobytes()
    alpha = np.dstack([pictures.noise(50, 70, seed=6), np.full((50, 70), 90, np.uint8)])
    return {
        "drawn.jpg": (images.encode_image(drawn.image_rgb), drawn.box),
        "crop.png": (images.encode_image(pictures.noise(SIZE_PX, SIZE_PX, seed=1), suffix=".png"), None),
        "odd.png": (images.encode_image(pictures.noise(61, 47, seed=2), suffix=".png"), None),
        "wide.jpg": (images.encode_image(pictures.gradient(33, 211)), FaceBox(100.3, 2.7, 121.9, 24.3)),
        "large.jpg": (images.encode_image(pictures.noise(701, 903, seed=3)), FaceBox(200.5, 100.5, 640.5, 540.5)),
        "beyond.png": (images.encode_image(pictures.noise(90, 80, seed=4), suffix=".png"), FaceBox(-30, -20, 50, 60)),
        "turned right.jpg": (
            pictures.insert_segment(quarters, pictures.exif_segment(6)),
            FaceBox(20, 40, 80, 100),
        ),
        "upside down.jpg": (pictures.insert_segment(quarters, pictures.exif_segment(3)), FaceBox(10, 10, 50, 50)),
        "mirrored crop.jpg": (pictures.insert_segment(quarters, pictures.exif_segment(2)), None),
        "grey größe.png": (grey, FaceBox(10, 10, 60, 60)),
        "alpha.png": (cv2.imencode(".png", alpha)[1].tobytes(), FaceBox(5, 5, 45, 45)),
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for split in ("train", "val", "test"):
        (folder / split).mkdir()
        for number, (name, (content, box)) in enumerate(draw_photos().items()):
            path = folder / split / name
            path.write_bytes(content + split.encode())
            label = LABELS[number % 2]
            rows.append(ManifestRow(f"{split}/{name}", label, split, sha256=hash_file(path), face_box=box))
    write_manifest(folder / "faces.csv", rows)
    return Photos(folder, folder / "faces.csv")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return build_tiny_model(folder / "m.tflite", input_size_px=SIZE_PX, crop_margin=PREPROCESSING.crop_margin)


# The ways. Each gives the bytes of its inputs in the order of the manifest's rows.


def as_bytes(inputs: UInt8Array) -> bytes:
    assert inputs.shape == (SIZE_PX, SIZE_PX, 3)
    assert inputs.dtype == np.uint8
    return inputs.tobytes()


def back_to_bytes(floats: np.ndarray) -> bytes:
    """Returns the bytes that a float network's input stands for, exactly."""
    found = np.round(floats * np.float32(127.5) + np.float32(127.5)).astype(np.uint8)
    np.testing.assert_array_equal(to_float(found), floats)
    return as_bytes(found)


def training_ways(manifest: Manifest) -> Ways:
    test = manifest.select(split="test")
    samples = to_samples(test, LABELS)
    evaluated: list[bytes] = []
    for batch, _ in evaluation_batches(samples, PREPROCESSING, batch_size=4):
        evaluated += map(as_bytes, batch)
    # each photo is its own label, so that a target says which photo it belongs to
    numbered = [Sample(sample.file, sample.box, number) for number, sample in enumerate(samples)]
    batches = TrainingBatches(
        numbered,
        PREPROCESSING,
        num_labels=len(numbered),
        batch_size=1,
        augmentation="none",
        label_weights=[1.0] * len(numbered),
        seed=3,
    )
    stream = batches.run(num_epochs=1)
    trained = {int(batch.targets[0].argmax()): back_to_bytes(batch.inputs[0]) for batch in stream}
    return {
        "training: read_input": [as_bytes(read_input(sample, PREPROCESSING)) for sample in samples],
        "training: evaluation_batches": evaluated,
        "training: TrainingBatches": [trained[number] for number in range(len(samples))],
    }


class StopError(Exception):
    """The command has come as far as the test wants."""


class RecordingNetwork:
    """Stands for a Keras model and keeps what it is fed."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def predict_on_batch(self, inputs: np.ndarray) -> np.ndarray:
        self.batches.append(inputs)
        return np.tile(np.float32([0.4, 0.6]), (len(inputs), 1))


def convert_ways(photos: Photos, folder: Path) -> Ways:
    """``edgegender convert``, as it is typed, up to the quantizer."""
    recipe = load_recipe("demo", [f"input_size_px={SIZE_PX}", f"crop_margin={PREPROCESSING.crop_margin}"])
    run = Run(folder / "run", recipe, LABELS, "male", "", (), 1, {})
    epoch = run_folder.EpochRecord(1, *[0.0] * 9)
    save_record(dataclasses.replace(run, history=(epoch,)))
    run.weights_file.touch()
    network, caught = RecordingNetwork(), {}

    def stop(job: Job) -> None:
        caught.update(vars(job))
        raise StopError

    count = len(photos.manifest.select(split="train"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "load_model", lambda _: network)
        patch.setattr(
            float_network,
            "build_float_network",
            lambda *_, scaling: FloatNetwork(b"", scaling, SIZE_PX, 2, lambda _: b""),
        )
        patch.setattr(convert, "_climb", stop)
        with pytest.raises(StopError):
            main(["--debug", "convert", str(run.folder), "--int8", "--force", "--data", str(photos.manifest_path)])
    chosen = choose_rows(photos.manifest.select(split="train"), num_photos=500, seed=0)
    order = [row.path for row in photos.manifest.select(split="train")]
    shown = {row.path: image for row, image in zip(chosen, caught["representative"].inputs, strict=True)}
    ways = {"convert: calibration": [as_bytes(shown[path]) for path in order]}
    for name, batch in zip(("evaluation", "validation"), network.batches, strict=True):
        measured = caught[name]
        assert isinstance(measured, MeasuredPhotos)
        ways[f"convert: {name}, int8"] = [as_bytes(image) for image in measured.inputs()]
        ways[f"convert: {name}, float"] = [back_to_bytes(image) for image in batch[:count]]
    return ways


@contextmanager
def recorded() -> Iterator[list[bytes]]:
    """Keeps what any classifier's network is fed."""
    seen: list[bytes] = []
    forward, invoke = Classifier.forward, Interpreter.invoke

    def record(self: Classifier, inputs: UInt8Array) -> np.ndarray:
        seen.append(as_bytes(inputs))
        return forward(self, inputs)

    def record_in_place(self: Interpreter) -> None:
        seen.append(as_bytes(self.picture().copy()))
        invoke(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "forward", record)
        patch.setattr(Interpreter, "invoke", record_in_place)
        yield seen


class BoxDetector:
    """Finds the one box that it was given."""

    name = "given"

    def __init__(self, box: FaceBox) -> None:
        self._box = box

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        del image_rgb
        return [self._box]


def device_ways(photos: Photos, model_file: Path) -> Ways:
    classifier = Classifier(model_file, num_threads=1)
    test = photos.manifest.select(split="test")
    ways: Ways = {}
    with recorded() as ways["predict"]:
        for row in test:
            detector = WholeImageDetector() if row.face_box is None else BoxDetector(row.face_box)
            assert PhotoPredictor(classifier, detector).predict_file(test.file(row)).status == "ok"
    with recorded() as ways["evaluate: model file"]:
        score_photos(classifier, test, detector=WholeImageDetector())
    samples = read_photos(photos.manifest_path, "test", [model_file], WholeImageDetector()).of(classifier)
    ways["benchmark: accuracy"] = [as_bytes(sample.image) for sample in samples if sample.image is not None]
    job = {
        "model": str(model_file),
        "num_threads": 1,
        "detector": "none",
        "detector_path": None,
        "photos": [(str(test.file(row)), row.face_box.box_xyxy if row.face_box else None) for row in test],
        "min_seconds": 0.0,
    }
    num_opencv_threads = cv2.getNumThreads()
    try:
        with recorded() as seen:
            worker.run_stages(job, bytearray())
    finally:
        cv2.setNumThreads(num_opencv_threads)  # the worker's own process would be gone by now
    ways["benchmark: stages"] = seen[-len(test) :]
    return ways


def all_ways(photos: Photos, model_file: Path, folder: Path) -> Ways:
    """Returns each way's inputs; ``reference`` is the definition itself, applied to the upright photo."""
    test = photos.manifest.select(split="test")
    reference = [as_bytes(REFERENCE(images.read_image(test.file(row)), row.face_box, PREPROCESSING)) for row in test]
    return {
        "reference": reference,
        **training_ways(photos.manifest),
        **convert_ways(photos, folder),
        **device_ways(photos, model_file),
    }


REFERENCE = to_input  # as it was before a test turned it


def drifted(ways: Ways) -> set[str]:
    """Returns the ways whose bytes are not the reference's."""
    return {name for name, inputs in ways.items() if inputs != ways["reference"]}


# The facts


def test_every_way_gives_the_same_bytes(photos: Photos, model_file: Path, tmp_path: Path) -> None:
    ways = all_ways(photos, model_file, tmp_path)
    assert {name: len(inputs) for name, inputs in ways.items()} == dict.fromkeys(ways, len(draw_photos()))
    assert drifted(ways) == set()
    assert len(ways) == 13


def test_the_photos_are_all_different_so_that_a_mix_up_would_show(photos: Photos, model_file: Path) -> None:
    inputs = device_ways(photos, model_file)["predict"]
    assert len(set(inputs)) == len(inputs)


TRAINING_READS = {
    "training: read_input",
    "training: evaluation_batches",
    "convert: validation, int8",
    "convert: validation, float",
    "convert: evaluation, int8",
    "convert: evaluation, float",
}
ON_THE_DEVICE = {"predict", "evaluate: model file", "benchmark: accuracy", "benchmark: stages"}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (dataset, TRAINING_READS),
        (augmentation, {"training: TrainingBatches"}),
        (preprocess, {"convert: calibration"}),
        (classifier_module, ON_THE_DEVICE),
    ],
    ids=["training's reader", "augmentation", "calibration", "device"],
)
def test_a_way_that_drifts_by_one_pixel_is_noticed(
    photos: Photos, model_file: Path, tmp_path: Path, module: object, expected: set[str]
) -> None:
    """A copy of the preprocessing, anywhere, that shifts by one pixel: exactly the ways through it are named."""

    def shifted(
        image_rgb: UInt8Array, box: FaceBox | None, preprocessing: Preprocessing, *, out: UInt8Array | None = None
    ) -> UInt8Array:
        return REFERENCE(np.roll(image_rgb, 1, axis=1), box, preprocessing, out=out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "to_input", shifted)
        ways = all_ways(photos, model_file, tmp_path)
    assert drifted(ways) == expected


def test_a_reader_that_forgets_the_exif_rotation_is_noticed(photos: Photos, model_file: Path, tmp_path: Path) -> None:
    def careless(path: Path, **_: object) -> UInt8Array:
        decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)

    reference = all_ways(photos, model_file, tmp_path / "a")["reference"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "read_image", careless)
        ways = {**all_ways(photos, model_file, tmp_path / "b"), "reference": reference}
    # the benchmark's accuracy run decodes the bytes that it has hashed, by decode_image
    assert set(ways) - drifted(ways) == {"reference", "benchmark: accuracy"}


def test_real_photos_give_the_same_bytes_in_training_and_on_the_device(sample_folder: Path, tmp_path: Path) -> None:
    path = build_tiny_model(tmp_path / "m.tflite", input_size_px=96)
    classifier = Classifier(path, num_threads=1)
    for file in sorted((sample_folder / "scenes").glob("*.jpg"))[:5]:
        box = FaceBox(70.4, 60.2, 180.9, 170.7)
        trained = read_input(Sample(file, box, 0), classifier.metadata.preprocessing)
        np.testing.assert_array_equal(classifier.pre_process(images.read_image(file), box), trained)

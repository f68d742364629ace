"""Batches: the same for the same (seed, epoch, photo) whatever the threads, and an unreadable photo teaches nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgegender import images
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import FaceBox, Preprocessing
from edgegender.errors import DataError, ImageError
from edgegender.preprocess import to_float, to_input
from edgegender.training.dataset import (
    Sample,
    TrainingBatches,
    balanced_weights,
    evaluation_batches,
    read_input,
    readable_samples,
    to_samples,
)
from tests import pictures

PREPROCESSING = Preprocessing(32, 1.3)
BOX = FaceBox(10, 8, 34, 32)


def make_samples(folder: Path, count: int, *, unreadable: tuple[int, ...] = ()) -> list[Sample]:
    """Writes ``count`` photos, every second with a face box; ``unreadable`` ones are cut behind their header."""
    samples = []
    for number in range(count):
        file = pictures.write_photo(folder / f"{number}.jpg", pictures.noise(40, 44, seed=number))
        if number in unreadable:
            file.write_text("no photo")
        samples.append(Sample(file, BOX if number % 2 else None, number % 3))
    return samples


def make_batches(samples: list[Sample], **changes: object) -> TrainingBatches:
    options: dict[str, object] = {
        "num_labels": 3,
        "batch_size": 4,
        "augmentation": "camera",
        "label_weights": [1.0, 2.0, 0.5],
        "seed": 7,
    }
    return TrainingBatches(samples, PREPROCESSING, **{**options, **changes})  # type: ignore[arg-type]


def everything(batches: TrainingBatches, epoch: int) -> bytes:
    return b"".join(array.tobytes() for batch in batches.epoch(epoch) for array in batch)


# Training


def test_the_same_seed_and_epoch_give_the_same_bytes_whatever_the_number_of_threads(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 21)
    reference = everything(make_batches(samples, num_threads=1), 3)
    for num_threads in (1, 2, 7):
        assert everything(make_batches(samples, num_threads=num_threads), 3) == reference
    assert everything(make_batches(samples, seed=8), 3) != reference


def test_an_epoch_is_the_same_whether_or_not_others_came_before_it(tmp_path: Path) -> None:
    """A resumed run goes on exactly where it stopped."""
    samples = make_samples(tmp_path, 9)
    through = make_batches(samples)
    epochs = [everything(through, epoch) for epoch in range(3)]
    assert everything(make_batches(samples), 2) == epochs[2]
    assert len(set(epochs)) == 3


def test_a_photo_is_augmented_anew_in_each_epoch(tmp_path: Path) -> None:
    batches = make_batches(make_samples(tmp_path, 1))
    assert len({next(batches.epoch(epoch))[0].tobytes() for epoch in range(4)}) == 4


def test_each_photo_comes_once_an_epoch_in_another_order_each_time(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 12)
    plain = {to_float(read_input(sample, PREPROCESSING)).tobytes(): n for n, sample in enumerate(samples)}
    orders = []
    for epoch in range(3):
        batches = list(make_batches(samples, augmentation="none").epoch(epoch))
        orders.append([plain[image.tobytes()] for inputs, _, _ in batches for image in inputs])
        assert sorted(orders[-1]) == list(range(12))
    assert orders[0] != orders[1] != orders[2]


def test_inputs_targets_and_weights_belong_to_the_same_photo(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 12)
    plain = {to_float(read_input(sample, PREPROCESSING)).tobytes(): sample.label_index for sample in samples}
    for inputs, targets, weights in make_batches(samples, augmentation="none").epoch(0):
        assert (inputs.shape, inputs.dtype) == ((4, 32, 32, 3), np.float32)
        assert (targets.shape, targets.dtype) == ((4, 3), np.float32)
        assert (weights.shape, weights.dtype) == ((4,), np.float32)
        for image, target, weight in zip(inputs, targets, weights, strict=True):
            label_index = plain[image.tobytes()]
            np.testing.assert_array_equal(target, np.eye(3)[label_index])
            assert weight == [1.0, 2.0, 0.5][label_index]


def test_a_photo_that_cannot_be_decoded_has_the_weight_zero_and_the_others_stay(tmp_path: Path) -> None:
    whole = make_samples(tmp_path / "whole", 8)
    broken = make_samples(tmp_path / "broken", 8, unreadable=(2, 5))
    zeros = 0
    both = zip(make_batches(whole).epoch(0), make_batches(broken).epoch(0), strict=True)
    for (inputs, targets, weights), (broken_inputs, broken_targets, broken_weights) in both:
        is_read = broken_weights > 0
        zeros += int((~is_read).sum())
        np.testing.assert_array_equal(broken_inputs[is_read], inputs[is_read])
        np.testing.assert_array_equal(broken_weights[is_read], weights[is_read])
        np.testing.assert_array_equal(broken_targets, targets)
    assert zeros == 2


def test_the_ragged_rest_is_left_out_and_a_batch_is_no_larger_than_the_set(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 7)
    assert make_batches(samples).steps_per_epoch == len(list(make_batches(samples).epoch(0))) == 1
    large = make_batches(samples, batch_size=100)
    assert large.steps_per_epoch == 1
    assert [len(weights) for _, _, weights in large.epoch(0)] == [7]


def test_a_pass_can_be_left_early(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 12)
    passes = make_batches(samples).epoch(0)
    first = next(passes)
    passes.close()
    np.testing.assert_array_equal(first[0], next(make_batches(samples).epoch(0))[0])


# Evaluation


def test_what_evaluation_sees_is_the_one_preprocessing_byte_for_byte(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 7)
    batches = list(evaluation_batches(samples, PREPROCESSING, batch_size=3))
    assert [positions for _, positions in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    for image, sample in zip(itertools.chain(*(inputs for inputs, _ in batches)), samples, strict=True):
        np.testing.assert_array_equal(image, to_input(images.read_image(sample.file), sample.box, PREPROCESSING))


def test_training_without_augmentation_sees_what_evaluation_sees(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 8)
    ((evaluated, _),) = evaluation_batches(samples, PREPROCESSING)
    trained = {
        image.tobytes() for inputs, _, _ in make_batches(samples, augmentation="none").epoch(0) for image in inputs
    }
    assert trained == {to_float(image).tobytes() for image in evaluated}


@pytest.mark.parametrize("num_threads", [1, 5])
def test_unreadable_photos_are_left_out_of_evaluation_and_the_positions_say_which(
    tmp_path: Path, num_threads: int
) -> None:
    samples = make_samples(tmp_path, 7, unreadable=(0, 3, 4, 5))
    batches = list(evaluation_batches(samples, PREPROCESSING, batch_size=3, num_threads=num_threads))
    assert [positions for _, positions in batches] == [[1, 2], [6]]
    assert [len(inputs) for inputs, _ in batches] == [2, 1]


def test_a_batch_without_a_readable_photo_is_passed_over(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 4, unreadable=(0, 1))
    assert [positions for _, positions in evaluation_batches(samples, PREPROCESSING, batch_size=2)] == [[2, 3]]


def test_an_input_that_cannot_be_read_is_an_image_error(tmp_path: Path) -> None:
    (sample,) = make_samples(tmp_path, 1, unreadable=(0,))
    with pytest.raises(ImageError, match=r"Expected a JPEG, PNG, BMP or WebP photo, got another format \(.*0\.jpg\)"):
        read_input(sample, PREPROCESSING)


# Rows to samples


def test_labels_become_their_positions_and_paths_start_at_the_manifest(tmp_path: Path) -> None:
    rows = (ManifestRow("a.jpg", "y", face_box=BOX), ManifestRow("sub/b.jpg", "x"))
    assert to_samples(Manifest.from_rows(tmp_path, rows), ["x", "y"]) == [
        Sample(tmp_path / "a.jpg", BOX, 1),
        Sample(tmp_path / "sub" / "b.jpg", None, 0),
    ]


def test_readable_and_unreadable_samples_are_told_apart_by_their_headers(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 5, unreadable=(1, 4))
    good, bad = readable_samples(samples)
    assert good == [samples[0], samples[2], samples[3]]
    assert bad == [samples[1].file, samples[4].file]


def test_samples_of_which_none_can_be_read_are_refused_with_the_first(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 2, unreadable=(0, 1))
    with pytest.raises(
        DataError, match=rf"Expected photos that can be read, got 2 that cannot \(the first: {tmp_path}/0\.jpg\)\."
    ):
        readable_samples(samples)
    with pytest.raises(DataError, match=r"Expected photos that can be read, got 0 that cannot\."):
        readable_samples([])


# Weights


def test_balanced_weights_make_all_labels_weigh_the_same_and_a_photo_one_on_average() -> None:
    label_index = np.array([0] * 30 + [1] * 10 + [2] * 5)
    weights = balanced_weights(label_index, 3, is_balanced=True)
    totals = [weights[label] * (label_index == label).sum() for label in range(3)]
    # sums of a few floats: rounding in the last of 16 digits
    assert totals == pytest.approx([15, 15, 15], rel=1e-12)


def test_a_label_without_photos_weighs_nothing() -> None:
    assert balanced_weights(np.array([0, 0]), 2, is_balanced=True) == [0.5, 0.0]


def test_without_balancing_every_label_weighs_one() -> None:
    assert balanced_weights(np.array([0, 0, 1]), 2, is_balanced=False) == [1.0, 1.0]

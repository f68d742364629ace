"""Rows become samples, and evaluation sees the one preprocessing of each, in order, a little ahead."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgegender import images
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import UInt8Array
from edgegender.errors import DataError, ImageError
from edgegender.preprocess import to_input
from edgegender.training import dataset
from edgegender.training.dataset import (
    Sample,
    balanced_weights,
    evaluation_batches,
    read_input,
    readable_samples,
    to_samples,
)
from tests.training.photos import BOX, PREPROCESSING, make_samples, wait_until

# Evaluation


def test_what_evaluation_sees_is_the_one_preprocessing_byte_for_byte(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 7)
    batches = list(evaluation_batches(samples, PREPROCESSING, batch_size=3))
    assert [positions for _, positions in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    for image, sample in zip(itertools.chain(*(inputs for inputs, _ in batches)), samples, strict=True):
        np.testing.assert_array_equal(image, to_input(images.read_image(sample.file), sample.box, PREPROCESSING))


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


def test_evaluation_reads_a_few_batches_ahead_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = make_samples(tmp_path, 3) * 20
    read = []

    def count(sample: Sample, preprocessing: object) -> UInt8Array:
        read.append(sample)
        return read_input(sample, preprocessing)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "read_input", count)
    batches = evaluation_batches(samples, PREPROCESSING, batch_size=5)
    next(batches)
    wait_until(lambda: len(read) == 15)  # three batches: the one handed out and two ahead
    time.sleep(0.1)
    assert len(read) == 15
    batches.close()


def test_evaluation_that_is_left_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    batches = evaluation_batches(make_samples(tmp_path, 12), PREPROCESSING, batch_size=2)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


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

"""Batches: the same for the same (seed, epoch, step) whoever reads the photos, and a clean end whatever happens."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import images
from edgegender.entities import Preprocessing, UInt8Array
from edgegender.errors import DataError, UsageError, WorkerError
from edgegender.preprocess import SCALINGS, to_float
from edgegender.training import batches as batches_module
from edgegender.training.augmentation import augment
from edgegender.training.batches import Batch
from edgegender.training.dataset import Sample, evaluation_batches, read_input
from tests.training.photos import PREPROCESSING, make_batches, make_samples, wait_until

TIMEOUT_S = 60  # a busy machine starts two interpreters in some seconds
BOTH = pytest.mark.parametrize("workers", [0, 2], ids=["threads", "processes"])


def as_bytes(batch: Batch) -> bytes:
    arrays = (batch.inputs, batch.targets, batch.weights, batch.teacher_inputs)
    return b"".join(array.tobytes() for array in arrays if array is not None)


def keyed(stream: Iterable[Batch]) -> dict[tuple[int, int], bytes]:
    return {(batch.epoch, batch.step): as_bytes(batch) for batch in stream}


def plain_inputs(samples: list[Sample]) -> dict[bytes, int]:
    """Returns what each photo looks like to the network without augmentation, with its number."""
    return {to_float(read_input(sample, PREPROCESSING)).tobytes(): number for number, sample in enumerate(samples)}


# The same bytes


def test_threads_and_processes_however_many_give_the_same_batches_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = make_samples(tmp_path, 21)
    reference = keyed(make_batches(samples).run(num_epochs=2))
    assert list(reference) == [(epoch, step) for epoch in (1, 2) for step in range(5)]
    for workers in (1, 2):
        assert list(keyed(make_batches(samples, workers=workers).run(num_epochs=2)).items()) == list(reference.items())
    for cores in (1, 7):
        monkeypatch.setattr(batches_module, "available_cores", lambda cores=cores: cores)
        assert keyed(make_batches(samples).run(num_epochs=2)) == reference
    assert set(keyed(make_batches(samples, seed=8).run(num_epochs=2)).values()).isdisjoint(reference.values())


def test_the_stream_may_start_at_any_step_and_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    batches = make_batches(make_samples(tmp_path, 9))
    whole = list(keyed(batches.run(num_epochs=3)).items())
    assert batches.steps_per_epoch == 2
    for number, ((epoch, step), _) in enumerate(whole):
        resumed = batches.run(num_epochs=3, first_epoch=epoch, first_step=step)
        assert list(keyed(resumed).items()) == whole[number:]
    # a checkpoint at the very end of an epoch
    assert list(keyed(batches.run(num_epochs=3, first_epoch=2, first_step=2)).items()) == whole[4:]
    assert list(batches.run(num_epochs=3, first_epoch=4)) == []


def test_processes_resume_in_the_middle_of_an_epoch_too(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 9)
    whole = list(keyed(make_batches(samples).run(num_epochs=3)).items())
    resumed = make_batches(samples, workers=2).run(num_epochs=3, first_epoch=2, first_step=1)
    assert list(keyed(resumed).items()) == whole[3:]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_slices_of_all_shards_put_together_are_the_batches_of_one_process(tmp_path: Path, count: int) -> None:
    samples = make_samples(tmp_path, 20)
    teacher = Preprocessing(40, 1.3, "caffe")
    whole = make_batches(samples, batch_size=6, teacher=teacher)
    shards = [make_batches(samples, batch_size=6, teacher=teacher, shard=(index, count)) for index in range(count)]
    assert {shard.steps_per_epoch for shard in shards} == {whole.steps_per_epoch} == {3}
    streams = [shard.run(num_epochs=2) for shard in shards]
    for batch, *slices in zip(whole.run(num_epochs=2), *streams, strict=True):
        assert {(part.epoch, part.step, len(part.weights)) for part in slices} == {
            (batch.epoch, batch.step, 6 // count)
        }
        for name in ("inputs", "teacher_inputs", "targets", "weights"):
            np.testing.assert_array_equal(
                np.concatenate([getattr(part, name) for part in slices]), getattr(batch, name)
            )


@pytest.mark.parametrize(("batch_size", "photos", "found"), [(7, 20, 7), (64, 7, 7)])
def test_a_batch_that_cannot_be_shared_equally_is_refused(
    tmp_path: Path, batch_size: int, photos: int, found: int
) -> None:
    message = f"Expected a batch that 2 processes share equally, got {found} photos."
    with pytest.raises(UsageError, match=message) as caught:
        make_batches(make_samples(tmp_path, photos), batch_size=batch_size, shard=(0, 2))
    assert "multiple of 2" in caught.value.hint


# What is in them


def test_a_photo_is_augmented_anew_in_each_epoch(tmp_path: Path) -> None:
    (sample,) = make_samples(tmp_path, 1)
    stream = make_batches([sample]).run(num_epochs=4)
    assert len({batch.inputs.tobytes() for batch in stream}) == 4


def test_an_input_is_the_augmented_photo_for_its_seed_epoch_and_index(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 4)
    (batch,) = make_batches(samples).run(num_epochs=2, first_epoch=2)
    expected = set()
    for index, sample in enumerate(samples):
        rng = np.random.default_rng((7, 2, index))
        view = augment(images.read_image(sample.file), sample.box, PREPROCESSING, "camera", rng)
        expected.add(to_float(view).tobytes())
    assert {image.tobytes() for image in batch.inputs} == expected


def test_each_photo_comes_once_an_epoch_in_another_order_each_time(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 12)
    plain = plain_inputs(samples)
    orders: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for batch in make_batches(samples, augmentation="none").run(num_epochs=3):
        orders[batch.epoch] += [plain[image.tobytes()] for image in batch.inputs]
    assert all(sorted(order) == list(range(12)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 3


@pytest.mark.parametrize("scaling", SCALINGS)
def test_inputs_are_scaled_as_the_preprocessing_says(tmp_path: Path, scaling: str) -> None:
    samples = make_samples(tmp_path, 4)
    (batch,) = make_batches(samples, Preprocessing(32, 1.3, scaling), augmentation="none").run(num_epochs=1)
    expected = {to_float(read_input(sample, PREPROCESSING), scaling).tobytes() for sample in samples}
    assert {image.tobytes() for image in batch.inputs} == expected


def test_inputs_targets_and_weights_belong_to_the_same_photo(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 12)
    plain = plain_inputs(samples)
    for batch in make_batches(samples, augmentation="none").run(num_epochs=1):
        assert (batch.inputs.shape, batch.inputs.dtype) == ((4, 32, 32, 3), np.float32)
        assert (batch.targets.shape, batch.targets.dtype) == ((4, 3), np.float32)
        assert (batch.weights.shape, batch.weights.dtype) == ((4,), np.float32)
        assert batch.teacher_inputs is None
        for image, target, weight in zip(batch.inputs, batch.targets, batch.weights, strict=True):
            label_index = samples[plain[image.tobytes()]].label_index
            np.testing.assert_array_equal(target, np.eye(3)[label_index])
            assert weight == [1.0, 2.0, 0.5][label_index]


def test_training_without_augmentation_sees_what_evaluation_sees(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 8)
    ((evaluated, _),) = evaluation_batches(samples, PREPROCESSING)
    stream = make_batches(samples, augmentation="none").run(num_epochs=1)
    trained = {image.tobytes() for batch in stream for image in batch.inputs}
    assert trained == {to_float(image).tobytes() for image in evaluated}


def test_the_ragged_rest_is_left_out_and_a_batch_is_no_larger_than_the_set(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 7)
    assert make_batches(samples).steps_per_epoch == len(list(make_batches(samples).run(num_epochs=1))) == 1
    large = make_batches(samples, batch_size=100)
    assert large.steps_per_epoch == 1
    assert [len(batch.weights) for batch in large.run(num_epochs=1)] == [7]


# A teacher


def both_views(samples: list[Sample], teacher: Preprocessing, **changes: object) -> list[Batch]:
    return list(make_batches(samples, teacher=teacher, **changes).run(num_epochs=2))


def test_a_teacher_of_the_same_size_sees_the_same_bytes_in_its_own_scaling(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 8)
    for batch, alone in zip(
        both_views(samples, Preprocessing(32, 2.0, "caffe")), make_batches(samples).run(num_epochs=2), strict=True
    ):
        np.testing.assert_array_equal(batch.inputs, alone.inputs)
        view = np.round(batch.inputs * 127.5 + 127.5).astype(np.uint8)
        np.testing.assert_array_equal(batch.teacher_inputs, to_float(view, "caffe"))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("teacher_size_px", [16, 64])
def test_the_smaller_of_two_views_is_the_larger_one_shrunk_by_area(
    tmp_path: Path, teacher_size_px: int, workers: int
) -> None:
    samples = make_samples(tmp_path, 4)
    larger = make_batches(samples, Preprocessing(max(32, teacher_size_px), 1.3))
    expected = next(larger.run(num_epochs=1)).inputs
    batch = both_views(samples, Preprocessing(teacher_size_px, 2.0), workers=workers)[0]
    assert batch.teacher_inputs is not None
    views = sorted([batch.inputs, batch.teacher_inputs], key=lambda inputs: inputs.shape[1])
    np.testing.assert_array_equal(views[1], expected)
    bytes_seen: list[UInt8Array] = [np.round(image * 127.5 + 127.5).astype(np.uint8) for image in expected]
    size_px = views[0].shape[1]
    shrunk = [cv2.resize(view, (size_px, size_px), interpolation=cv2.INTER_AREA) for view in bytes_seen]
    np.testing.assert_array_equal(views[0], to_float(np.stack(shrunk)))


# Photos that cannot be read


@BOTH
def test_a_photo_that_cannot_be_read_has_the_weight_zero_and_is_told_once(tmp_path: Path, workers: int) -> None:
    whole = make_samples(tmp_path / "whole", 8)
    broken = make_samples(tmp_path / "broken", 8, unreadable=(2, 5))
    told: list[Path] = []
    zeros = 0
    stream = make_batches(broken, workers=workers, on_skip=told.append).run(num_epochs=3)
    for batch, seen in zip(make_batches(whole).run(num_epochs=3), stream, strict=True):
        is_read = seen.weights > 0
        zeros += int((~is_read).sum())
        np.testing.assert_array_equal(seen.inputs[is_read], batch.inputs[is_read])
        np.testing.assert_array_equal(seen.weights[is_read], batch.weights[is_read])
        np.testing.assert_array_equal(seen.targets, batch.targets)
        assert not seen.inputs[~is_read].any()
    assert zeros == 3 * 2
    assert sorted(told) == [broken[2].file, broken[5].file]


@BOTH
def test_photos_that_vanish_while_the_network_learns_end_the_run(tmp_path: Path, workers: int) -> None:
    samples = make_samples(tmp_path, 40)
    stream = make_batches(samples, workers=workers).run(num_epochs=1)
    next(stream)
    for sample in samples:
        sample.file.unlink()
    message = (
        r"Expected photos that can be read, got \d+ of \d+ that cannot, in epoch 1 up to step \d+ "
        r"\(the first: .+\.jpg\)\."
    )
    with pytest.raises(DataError, match=message) as caught:
        list(stream)
    assert caught.value.hint == (
        "A disk may be gone. Once the photos are back, go on with: edgegender train --resume RUN"
    )
    assert multiprocessing.active_children() == []


def test_twenty_unread_photos_that_are_more_than_a_twentieth_of_an_epoch_end_the_run(tmp_path: Path) -> None:
    (good, _, bad) = make_samples(tmp_path, 3, unreadable=(2,))
    with pytest.raises(DataError, match=r"got 2\d of \d+ that cannot, in epoch 1"):
        list(make_batches([good, good, good, good, bad] * 60, batch_size=10).run(num_epochs=1))


def test_four_in_a_row_are_enough_where_batches_are_small(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 6, unreadable=(0, 1, 2, 3, 4, 5))
    for batch_size, found in ((1, 4), (2, 4), (6, 6)):
        with pytest.raises(DataError, match=f"got {found} of {found} that cannot"):
            list(make_batches(samples, batch_size=batch_size).run(num_epochs=1))


@pytest.mark.parametrize("bad_photos", [5, 19])
def test_a_few_unread_photos_do_not_end_the_run(tmp_path: Path, bad_photos: int) -> None:
    """Nineteen are too few to be a gone disk, and five in two hundred too small a part."""
    (good, bad) = make_samples(tmp_path, 2, unreadable=(1,))
    samples = [good] * (100 if bad_photos == 19 else 195) + [bad] * bad_photos
    assert len(list(make_batches(samples, batch_size=20).run(num_epochs=2))) == 2 * (len(samples) // 20)


# Little ahead, and a clean end


def test_the_caller_reads_photos_itself_instead_of_waiting_for_a_thread_that_is_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = make_samples(tmp_path, 32)
    reference = keyed(make_batches(samples, batch_size=32).run(num_epochs=1))
    caller_is_done = threading.Event()
    readers: list[threading.Thread] = []
    read = batches_module._Reader.__call__

    def slow_in_threads(self: object, item: tuple[Sample, int, int]) -> object:
        readers.append(threading.current_thread())
        if threading.current_thread() is not threading.main_thread():
            caller_is_done.wait(TIMEOUT_S)
        elif readers.count(threading.main_thread()) == 24:  # all but the eight photos that the thread has begun with
            caller_is_done.set()
        return read(self, item)  # type: ignore[arg-type]

    monkeypatch.setattr(batches_module, "available_cores", lambda: 2)
    monkeypatch.setattr(batches_module._Reader, "__call__", slow_in_threads)
    stream = make_batches(samples, batch_size=32).run(num_epochs=1)
    assert keyed(stream) == reference
    assert readers.count(threading.main_thread()) >= 24


def test_only_a_few_batches_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    read_image = images.read_image

    def count(path: Path) -> UInt8Array:
        read.append(path)
        return read_image(path)

    monkeypatch.setattr(images, "read_image", count)
    stream = make_batches(make_samples(tmp_path, 3) * 20, batch_size=5).run(num_epochs=3)
    for step in range(15):  # over the end of an epoch, too
        next(stream)
        wait_until(lambda step=step: len(read) == 5 * (step + 3))
    time.sleep(0.1)
    assert len(read) == 5 * 17
    stream.close()


def test_the_first_photos_of_the_next_epoch_are_read_while_the_last_step_of_this_one_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    read = batches_module._Reader.__call__

    def record(self: object, item: tuple[Sample, int, int]) -> object:
        epochs.append(item[1])
        return read(self, item)  # type: ignore[arg-type]

    monkeypatch.setattr(batches_module._Reader, "__call__", record)
    stream = make_batches(make_samples(tmp_path, 8)).run(num_epochs=2)
    next(stream)
    assert next(stream).step == 1
    wait_until(lambda: 2 in epochs)
    stream.close()


@BOTH
def test_a_stream_that_is_closed_early_leaves_no_thread_and_no_process_behind(tmp_path: Path, workers: int) -> None:
    before = set(threading.enumerate())
    stream = make_batches(make_samples(tmp_path, 12) * 10, workers=workers).run(num_epochs=10)
    next(stream)
    assert set(threading.enumerate()) > before
    assert bool(multiprocessing.active_children()) == bool(workers)
    stream.close()
    assert set(threading.enumerate()) == before
    assert multiprocessing.active_children() == []


def test_a_stream_that_was_never_begun_starts_nothing(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    stream = make_batches(make_samples(tmp_path, 4), workers=2).run(num_epochs=1)
    assert set(threading.enumerate()) == before
    stream.close()


def test_a_fault_in_a_reading_thread_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> UInt8Array:
        raise MemoryError("too large")

    before = set(threading.enumerate())
    monkeypatch.setattr(images, "read_image", fail)
    with pytest.raises(MemoryError, match="too large"):
        list(make_batches(make_samples(tmp_path, 12)).run(num_epochs=1))
    assert set(threading.enumerate()) == before


def test_a_reading_process_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    stream = make_batches(make_samples(tmp_path, 12) * 20, workers=2).run(num_epochs=50)
    next(stream)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(WorkerError, match="Expected 2 processes to work to the end, got one that was killed"):
        list(stream)
    assert multiprocessing.active_children() == []


SCRIPT = """
import sys
from pathlib import Path
from edgegender.entities import Preprocessing
from edgegender.training.batches import TrainingBatches
from edgegender.training.dataset import Sample

if __name__ == "__main__":
    samples = [Sample(file, None, 0) for file in Path(sys.argv[1]).iterdir()]
    batches = TrainingBatches(
        samples, Preprocessing(32), num_labels=2, batch_size=4, augmentation="camera", label_weights=[1.0, 1.0],
        seed=1, workers=int(sys.argv[2]),
    )
    try:
        for number, batch in enumerate(batches.run(num_epochs=1_000_000)):
            if number == 5:
                print("working", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@BOTH
def test_ctrl_c_ends_all_threads_and_processes_and_one_tells_of_it(tmp_path: Path, workers: int) -> None:
    make_samples(tmp_path / "photos", 8)
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "photos"), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job is deaf to Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it only resets a signal
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them at once
        # the answer is whole when the last process that holds the pipes has ended
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out, err) == (130, "interrupted\n", "")


def test_opencv_keeps_its_threads_in_this_process(tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    list(make_batches(make_samples(tmp_path, 4)).run(num_epochs=1))
    assert cv2.getNumThreads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_a_decoding_thread_lets_the_network_go_first() -> None:
    def own_niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before, heard = own_niceness(), []

    def yield_and_look() -> None:
        for _ in range(3):
            batches_module._yield_to_network()
            heard.append(own_niceness())

    thread = threading.Thread(target=yield_and_look)
    thread.start()
    thread.join()
    assert heard == [min(19, before + 10), min(19, before + 20), min(19, before + 30)]
    assert own_niceness() == before

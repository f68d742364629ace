"""TensorBoard's event files: read back record by record, as TensorBoard does."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgegender.errors import MissingDependencyError, OutputError
from edgegender.training.run_folder import EpochRecord
from edgegender.training.tensorboard import TensorBoardWriter

pytest.importorskip("tensorboardX", reason="the [tensorboard] extra is not installed")
from tensorboardX.proto.event_pb2 import Event, SessionLog

TAGS = {
    "accuracy/train", "accuracy/validation", "f1/train", "f1/validation", "images_per_second", "learning_rate",
    "loss/train", "loss/validation",
}  # fmt: skip


def record(epoch: int, **changes: float | None) -> EpochRecord:
    values = EpochRecord(epoch, 0.5 / epoch, 0.8, 0.7, 0.6 / epoch, 0.9, 0.85, 1e-4, 120.0, 30.0)
    return dataclasses.replace(values, **changes)


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(file: Path) -> list[Event]:
    """Source of the framing: tensorflow/core/lib/io/record_writer.h."""
    content, events = file.read_bytes(), []
    while content:
        length, length_crc = struct.unpack("<QI", content[:12])
        data = content[12 : 12 + length]
        (data_crc,) = struct.unpack("<I", content[12 + length : 16 + length])
        assert (length_crc, data_crc) == (masked(content[:8]), masked(data))
        events.append(Event.FromString(data))
        content = content[16 + length :]
    return events


def read_points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag → (epoch, value), as TensorBoard shows them: a start of a session hides the points from its step on."""
    points: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.iterdir()):
        events = read_events(file)
        assert events[0].file_version == "brain.Event:2"
        for event in events[1:]:
            if event.session_log.status == SessionLog.START:
                points = {tag: [point for point in row if point[0] < event.step] for tag, row in points.items()}
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def test_each_epoch_is_a_point_of_each_figure(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path / "new" / "board") as writer:
        writer.epoch(record(1))
        writer.epoch(record(2, val_accuracy=0.95))
    points = read_points(tmp_path / "new" / "board")
    assert set(points) == TAGS
    # 32-bit floating point: seven digits
    assert points["loss/train"] == [(1, pytest.approx(0.5, rel=1e-6)), (2, pytest.approx(0.25, rel=1e-6))]
    assert points["accuracy/validation"] == [(1, pytest.approx(0.9, rel=1e-6)), (2, pytest.approx(0.95, rel=1e-6))]
    assert points["learning_rate"][0] == (1, pytest.approx(1e-4, rel=1e-6))


def test_figures_that_are_missing_or_not_finite_are_left_out(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.epoch(record(1, train_f1=None, train_loss=float("nan"), val_loss=float("inf")))
    assert set(read_points(tmp_path)) == TAGS - {"f1/train", "loss/train", "loss/validation"}


def test_after_a_resume_epochs_go_on_and_none_is_doubled(tmp_path: Path) -> None:
    """The first process wrote epoch 3 and was killed before its checkpoint; the second one trains it again."""
    with TensorBoardWriter(tmp_path) as writer:
        for epoch in (1, 2, 3):
            writer.epoch(record(epoch))
    with TensorBoardWriter(tmp_path) as writer:
        for epoch in (3, 4):
            writer.epoch(record(epoch, val_f1=0.99))
    assert len(list(tmp_path.iterdir())) == 2
    epochs, values = zip(*read_points(tmp_path)["f1/validation"], strict=True)
    assert epochs == (1, 2, 3, 4)
    assert values == pytest.approx([0.85, 0.85, 0.99, 0.99], rel=1e-6)


def test_a_resume_that_ends_before_its_first_epoch_hides_nothing(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.epoch(record(1))
    TensorBoardWriter(tmp_path).close()
    assert read_points(tmp_path)["loss/train"] == [(1, 0.5)]


def test_a_point_is_in_the_file_before_the_writer_is_closed(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.epoch(record(1))
    assert set(read_points(tmp_path)) == TAGS
    writer.close()
    writer.close()


def test_no_thread_is_started(tmp_path: Path) -> None:
    before = threading.active_count()
    with TensorBoardWriter(tmp_path) as writer:
        writer.epoch(record(1))
        assert threading.active_count() == before


def test_a_folder_named_like_an_address_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    TensorBoardWriter(Path("s3:") / "bucket").close()
    assert len(list((tmp_path / "s3:" / "bucket").iterdir())) == 1


def test_neither_import_nor_writing_brings_a_training_stack_along_or_warns(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edgegender.training.tensorboard import TensorBoardWriter\n"
        "assert 'tensorboardX' not in sys.modules\n"
        "TensorBoardWriter(Path(sys.argv[1])).close()\n"
        "print([name for name in ('tensorflow', 'keras', 'jax', 'matplotlib') if name in sys.modules])"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("[]\n", "")


def test_without_tensorboardx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingDependencyError, match="Expected the package tensorboardX") as caught:
        TensorBoardWriter(tmp_path / "board")
    assert caught.value.hint == "pip install 'edgegender[tensorboard]'"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Expected to write"):
        TensorBoardWriter(tmp_path / "file" / "board")


def test_a_file_that_cannot_be_made_is_an_output_error(plain_user: Path) -> None:
    del plain_user
    Path("board").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"Expected to write .*tfevents.*, got Permission denied") as caught:
        TensorBoardWriter(Path("board"))
    assert caught.value.hint


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes the place of the file: each flush says that no space is left."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    monkeypatch.setattr("tensorboardX.record_writer.open_file", lambda _: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(OutputError, match="got No space left on device"):
        TensorBoardWriter(tmp_path)

"""A run's figures for TensorBoard, which draws them while training goes on. Works with each backend of Keras."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgegender import files
from edgegender.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgegender.training.run_folder import EpochRecord

_FORMAT = "brain.Event:2"  # from this version on TensorBoard hides what a restart writes anew
_TAGS: Mapping[str, str] = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "train_f1": "f1/train",
    "val_f1": "f1/validation",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
}


class TensorBoardWriter:
    """Writes one point an epoch into an event file, each on the disk when :meth:`epoch` returns.

    A resumed run makes a new file in the same folder, and its first epoch hides the points from that epoch on which the
    process before may have written: no epoch stands there twice.

    tensorboardX's record writer is used alone: its SummaryWriter has a queue and a thread, which lose what was not
    written when the process is killed, and wait for ever when the disk is full.

    Args:
        folder: For the event files; made if needed.

    Raises:
        MissingDependencyError: tensorboardX is not installed.
        OutputError: The file cannot be written.

    Source: tensorflow/core/util/event.proto; tensorboard/backend/event_processing/event_accumulator.py,
    ``_CheckForRestartAndMaybePurge``.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import RecordWriter
        except ImportError as error:
            raise MissingDependencyError("tensorboardX", extra="tensorboard") from error
        nanoseconds = time.time_ns()
        # TensorBoard reads a folder's files in the order of their names: the time comes first
        name = f"events.out.tfevents.{nanoseconds // 10**9}.edgegender.{nanoseconds % 10**9:09d}"
        self._file = files.make_folder(folder) / name
        self._is_started = False
        try:
            # tensorboardX takes what stands in front of a colon for a protocol
            self._records = RecordWriter(str(self._file) if folder.is_absolute() else f"./{self._file}")
        except OSError as error:
            raise self._cannot_write(error) from error
        self._write(file_version=_FORMAT)

    def epoch(self, record: EpochRecord) -> None:
        """Writes the figures of an epoch; one that is ``None`` or not finite is left out.

        Raises:
            OutputError: The file cannot be written.
        """
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        if not self._is_started:
            self._write(step=record.epoch, session_log=SessionLog(status=SessionLog.START))
            self._is_started = True
        named = {tag: getattr(record, column) for column, tag in _TAGS.items()}
        points = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in named.items()
            if value is not None and math.isfinite(value)
        ]
        self._write(step=record.epoch, summary=Summary(value=points))

    def close(self) -> None:
        """Closes the file; a second time is no error."""
        self._records.close()

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, **content: object) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), **content)
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # what is left in its buffer has nowhere to go
                self._records.close()
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> OutputError:
        return OutputError(
            f"Expected to write {self._file}, got {error.strerror or error}.",
            hint="Choose a folder that you may write to and that has room.",
        )

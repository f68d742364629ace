"""What runs a network while it is measured: LiteRT, ONNX Runtime, OpenVINO, Keras, … behind one protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.records import EngineRecord
from edgegender.entities import FloatArray, UInt8Array


class Engine(Protocol):
    """One network, loaded and ready to run, with one picture or a batch of them in and a row of scores for each out."""

    @property
    def record(self) -> EngineRecord:
        """What it is."""

    @property
    def batch_size(self) -> int:
        """Pictures of one run."""

    @property
    def input_size_px(self) -> int:
        """Side of the square input, pixels."""

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes as this network's input; not timed.

        Args:
            images: Shape (batch_size, S, S, 3), uint8, RGB.
        """

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input, runs the network, and returns when its answer is there; this is what is timed.

        Args:
            tensor: From :meth:`to_tensor`.
        """

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run in the order of the model's labels, shape (batch_size, labels)."""

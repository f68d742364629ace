"""One face in, one honest answer out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgegender.entities import FaceBox, FacePrediction, FloatArray, ModelMetadata, UInt8Array
from edgegender.errors import ModelFileError
from edgegender.metrics import apply_temperature, predict_labels
from edgegender.preprocess import to_input
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import embedded_model_path, read_model


class Classifier:
    """A verified model with its own preprocessing, temperature, threshold and "unsure" band.

    Args:
        model_path: A ``.tflite`` made by edgegender; ``None`` takes the embedded one.
        num_threads: 1 to 256; ``None`` chooses.
        is_reference: Whether to use the reference kernels, which answer the same on every machine.

    Raises:
        ModelFileError: The file is damaged, altered or not ours.
        MissingDependencyError: No runtime is installed.
    """

    def __init__(
        self, model_path: Path | None = None, *, num_threads: int | None = None, is_reference: bool = False
    ) -> None:
        self.file = read_model(model_path or embedded_model_path())
        self.interpreter = Interpreter(
            self.file.content,
            num_threads=num_threads,
            is_reference=is_reference,
            scaling=self.metadata.preprocessing.scaling,
        )
        size_px = self.metadata.preprocessing.input_size_px
        expected = (1, size_px, size_px, 3)
        if self.interpreter.input_shape != expected or self.interpreter.num_outputs != len(self.metadata.labels):
            raise ModelFileError(
                f"Expected input {expected} and {len(self.metadata.labels)} scores, got "
                f"{self.interpreter.input_shape} and {self.interpreter.num_outputs} ({self.file.path}).",
                hint="Metadata and network do not belong together: convert the run again with edgegender convert.",
            )

    @property
    def metadata(self) -> ModelMetadata:
        """What the model file says about itself."""
        return self.file.metadata

    def pre_process(self, image_rgb: UInt8Array, box: FaceBox | None) -> UInt8Array:
        """Returns the network's input for one face. See :func:`edgegender.preprocess.to_input`."""
        return to_input(image_rgb, box, self.metadata.preprocessing)

    def forward(self, inputs: UInt8Array) -> FloatArray:
        """Returns the network's own scores, before the temperature.

        Args:
            inputs: Shape (input_size_px, input_size_px, 3), uint8.

        Returns:
            Scores, shape (labels,).
        """
        return self.interpreter.run(inputs)

    def calibrate(self, scores: FloatArray) -> FloatArray:
        """Returns calibrated scores that sum to one. Shape as given: (labels,) or (photos, labels)."""
        return apply_temperature(scores, self.metadata.temperature)

    def post_process(self, scores: FloatArray, box: FaceBox | None) -> FacePrediction:
        """Returns the answer for the network's scores of one face.

        Args:
            scores: From :meth:`forward`, shape (labels,).
            box: The face that the scores belong to.
        """
        calibrated = self.calibrate(scores)
        labels = self.metadata.labels
        chosen = predict_labels(
            calibrated[np.newaxis],
            positive_index=labels.index(self.metadata.positive_label),
            threshold=self.metadata.threshold,
        )[0]
        score = float(calibrated[chosen])
        return FacePrediction(
            box=box,
            predicted_label=labels[chosen],
            score=score,
            scores={label: float(value) for label, value in zip(labels, calibrated, strict=True)},
            is_unsure=score < self.metadata.unsure_below,
        )

    def classify(self, image_rgb: UInt8Array, box: FaceBox | None = None) -> FacePrediction:
        """Returns the answer for one face.

        Args:
            image_rgb: Upright photo, shape (height, width, 3), uint8, RGB.
            box: Where the face stands; ``None`` when the photo is a face crop.
        """
        return self.post_process(self.forward(self.pre_process(image_rgb, box)), box)

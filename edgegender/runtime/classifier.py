"""One face in, one honest answer out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgegender.entities import FaceBox, FacePrediction, FloatArray, ModelMetadata, UInt8Array
from edgegender.errors import ModelFileError
from edgegender.metrics import apply_temperature, apply_temperature_to_row
from edgegender.preprocess import to_input
from edgegender.runtime.face_batch import MAX_BATCH, FaceBatches
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

        def load(*, num_threads: int | None, batch_size: int | None = None) -> Interpreter:
            return Interpreter(
                self.file.content,
                num_threads=num_threads,
                is_reference=is_reference,
                scaling=self.metadata.preprocessing.scaling,
                batch_size=batch_size,
            )

        self.interpreter = load(num_threads=num_threads)
        self._batches = FaceBatches(
            self.interpreter, lambda size: load(num_threads=self.interpreter.num_threads, batch_size=size)
        )
        size_px = self.metadata.preprocessing.input_size_px
        expected = (1, size_px, size_px, 3)
        if self.interpreter.input_shape != expected or self.interpreter.num_outputs != len(self.metadata.labels):
            raise ModelFileError(
                f"Expected input {expected} and {len(self.metadata.labels)} scores, got "
                f"{self.interpreter.input_shape} and {self.interpreter.num_outputs} ({self.file.path}).",
                hint="Metadata and network do not belong together: convert the run again with edgegender convert.",
            )
        # read for each face: attributes of a frozen record behind two properties cost more than the arithmetic
        self._preprocessing = self.metadata.preprocessing
        self._labels = self.metadata.labels
        self._positive_index = self._labels.index(self.metadata.positive_label)
        self._temperature, self._threshold = self.metadata.temperature, self.metadata.threshold
        self._unsure_below = self.metadata.unsure_below

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
        return self._answer(scores.tolist(), box)

    def _answer(self, scores: Sequence[float], box: FaceBox | None) -> FacePrediction:
        calibrated = apply_temperature_to_row(scores, self._temperature)
        if len(calibrated) == 2:  # as metrics.predict_labels has it
            positive = self._positive_index
            chosen = positive if calibrated[positive] >= self._threshold else 1 - positive
        else:
            chosen = calibrated.index(max(calibrated))
        score = calibrated[chosen]
        return FacePrediction(
            box,
            self._labels[chosen],
            score,
            dict(zip(self._labels, calibrated, strict=True)),
            score < self._unsure_below,
        )

    def classify(self, image_rgb: UInt8Array, box: FaceBox | None = None) -> FacePrediction:
        """Returns the answer for one face.

        The same as :meth:`pre_process`, :meth:`forward` and :meth:`post_process` in turn, but the crop is written
        straight into the network's input tensor.

        Args:
            image_rgb: Upright photo, shape (height, width, 3), uint8, RGB.
            box: Where the face stands; ``None`` when the photo is a face crop.
        """
        interpreter = self.interpreter
        to_input(image_rgb, box, self._preprocessing, out=interpreter.picture())
        interpreter.invoke()
        return self._answer(interpreter.read_rows()[0], box)

    def classify_faces(self, image_rgb: UInt8Array, boxes: Sequence[FaceBox]) -> tuple[FacePrediction, ...]:
        """Returns the answers for several faces of one photo, in one batch where that is faster on this machine.

        Args:
            image_rgb: Upright photo, shape (height, width, 3), uint8, RGB.
            boxes: Where the faces stand.
        """
        answers: list[FacePrediction] = []
        for start in range(0, len(boxes), MAX_BATCH):
            part = boxes[start : start + MAX_BATCH]
            together = self._batches.interpreter_for(len(part))
            if together is None:
                answers += [self.classify(image_rgb, box) for box in part]
                continue
            for position, box in enumerate(part):
                to_input(image_rgb, box, self._preprocessing, out=together.picture(position))
            together.invoke()
            answers += [self._answer(scores, box) for scores, box in zip(together.read_rows(), part, strict=True)]
        return tuple(answers)

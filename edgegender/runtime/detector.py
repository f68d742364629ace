"""Finding faces: what every detector promises, and the one that a name stands for.

Each maps its own idea of a face to the same square, :class:`edgegender.entities.FaceBox`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError
from edgegender.runtime.detector_blazeface import BlazeFaceDetector
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.detector_yunet import YuNetDetector

DETECTOR_NAMES = ("cascade", "yunet", "blazeface", "none")


class FaceDetector(Protocol):
    """Finds faces in one photo."""

    @property
    def name(self) -> str:
        """The detector's name, as it is recorded with results."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first.

        Args:
            image_rgb: Upright photo, shape (height, width, 3), uint8.
        """


class WholeImageDetector:
    """For photos that are face crops already: the largest central square is the face crop itself."""

    name = "none"

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns no box: :func:`edgegender.preprocess.to_input` then takes the photo whole."""
        del image_rgb
        return []


def create_detector(name: str, model_path: Path | None = None) -> FaceDetector:
    """Returns the detector called ``name``.

    Args:
        name: One of ``DETECTOR_NAMES``.
        model_path: The network's file, for ``yunet`` and ``blazeface``.

    Raises:
        UsageError: The name is unknown, or the detector has no file or another one.
        MissingDependencyError: ``blazeface`` finds no runtime installed.
    """
    if name == "cascade":
        return CascadeDetector()
    if name == "none":
        return WholeImageDetector()
    networks: dict[str, type[YuNetDetector] | type[BlazeFaceDetector]] = {
        "yunet": YuNetDetector,
        "blazeface": BlazeFaceDetector,
    }
    if name not in networks:
        raise UsageError(f"Expected a detector of {', '.join(DETECTOR_NAMES)}, got {name!r}.")
    if model_path is None:
        raise UsageError(
            f"Expected the file of the {name} network, got none.",
            hint=f"Fetch it with: edgegender models pull {name}. Or give a file with --detector-path.",
        )
    return networks[name](model_path)

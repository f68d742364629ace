"""edgegender: from face photos to a measured, quantized classifier on a device.

Example:
    >>> import edgegender
    >>> classifier = edgegender.Classifier()          # the embedded model
    >>> classifier.metadata.labels
    ('female', 'male')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegender.entities import FaceBox as FaceBox
    from edgegender.entities import FacePrediction as FacePrediction
    from edgegender.errors import EdgeGenderError as EdgeGenderError
    from edgegender.images import read_image as read_image
    from edgegender.runtime.classifier import Classifier as Classifier
    from edgegender.runtime.detector import create_detector as create_detector
    from edgegender.runtime.photos import PhotoPredictor as PhotoPredictor

__version__ = "0.1.0"

# Resolved when first asked for (PEP 562): importing edgegender itself loads nothing heavy.
_PUBLIC = {
    "Classifier": "edgegender.runtime.classifier",
    "EdgeGenderError": "edgegender.errors",
    "FaceBox": "edgegender.entities",
    "FacePrediction": "edgegender.entities",
    "PhotoPredictor": "edgegender.runtime.photos",
    "create_detector": "edgegender.runtime.detector",
    "read_image": "edgegender.images",
}
__all__ = [
    "Classifier",
    "EdgeGenderError",
    "FaceBox",
    "FacePrediction",
    "PhotoPredictor",
    "__version__",
    "create_detector",
    "read_image",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgegender' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)

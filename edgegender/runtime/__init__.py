"""The device side: model files, detectors, classification. Never TensorFlow.

The native runtime (LiteRT) is imported when the first :class:`Interpreter` is made, not here.
"""

from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import FaceDetector, WholeImageDetector, create_detector
from edgegender.runtime.detector_blazeface import BlazeFaceDetector
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.detector_yunet import YuNetDetector
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import ModelFile, embedded_model_path, read_model
from edgegender.runtime.photos import PhotoPredictor, PhotoResult

__all__ = [
    "BlazeFaceDetector",
    "CascadeDetector",
    "Classifier",
    "FaceDetector",
    "Interpreter",
    "ModelFile",
    "PhotoPredictor",
    "PhotoResult",
    "WholeImageDetector",
    "YuNetDetector",
    "create_detector",
    "embedded_model_path",
    "read_model",
]

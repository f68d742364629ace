"""The device side: model files, detectors, classification. Never TensorFlow."""

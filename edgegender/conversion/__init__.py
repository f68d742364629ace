"""From a trained network to a quantized ``.tflite`` that was checked against it."""

"""edgegender: from face photos to a measured, quantized classifier on a device."""

__version__ = "0.1.0"

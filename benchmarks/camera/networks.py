"""Networks of given width and size for measuring speed: int8 MobileNetV2 with random weights, which cost as much.

Run: python benchmarks/camera/networks.py 0.35 96 network.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgegender.conversion.float_network import build_float_network
from edgegender.conversion.metadata import add_metadata
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.training.architectures import build_model
from edgegender.training.recipes import load_recipe


def main() -> None:
    """Builds one network and writes it."""
    alpha, size_px, path = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    settings = [f"alpha={alpha}", f"input_size_px={size_px}", "start_weights=none"]
    network = build_float_network(build_model(load_recipe("edge", settings), 2))
    pictures = np.random.default_rng(0).integers(0, 256, (16, size_px, size_px, 3), np.uint8)
    metadata = ModelMetadata(
        labels=("female", "male"),
        positive_label="male",
        preprocessing=Preprocessing(size_px, 1.3),
        architecture="mobilenetv2",
        scheme=QuantizationScheme.FULL_INTEGER,
        name=f"mobilenetv2-{alpha:.2f}-{size_px}-random-weights",
    )
    path.write_bytes(add_metadata(Quantizer(network, pictures).integer(IntegerPlan()), metadata))


if __name__ == "__main__":
    main()

"""Stands in for picamera2, whose camera is not here: the part of its interface that edgegender uses.

Copied as ``picamera2.py`` into a folder on the child's path. ``FAKE_CAMERA`` says what the camera is like.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import cv2
import numpy as np

KIND = os.environ.get("FAKE_CAMERA", "pi 5")
STRIDE_PX = 64  # rows of small pictures are padded to it, as on the real boards


class Request:
    def __init__(self, config: dict[str, Any], number: int) -> None:
        self.config = config
        self.number = number

    def make_array(self, name: str) -> np.ndarray[Any, Any]:
        stream = self.config[name]
        width, height = stream["size"]
        padded = -(-width // STRIDE_PX) * STRIDE_PX if stream["format"] == "YUV420" else width
        image = np.zeros((height, padded, 3), np.uint8)
        image[..., 0] = 200  # red first: what "BGR888" is in memory
        image[..., 2] = self.number % 50
        if stream["format"] == "BGR888":
            return image
        if stream["format"] == "YUV420":
            return cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        raise RuntimeError(f"no such format: {stream['format']}")

    def release(self) -> None:
        sys.stderr.write("released\n")


class Picamera2:
    def __init__(self, camera_num: int) -> None:
        if KIND == "absent":
            raise IndexError("list index out of range")
        if KIND == "in use":
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.camera_num = camera_num
        self.config: dict[str, Any] = {}
        self.number = 0
        self.is_started = False

    def create_video_configuration(self, *, main: Any, lores: Any, controls: Any) -> dict[str, Any]:
        return {"main": main, "lores": lores, "controls": controls}

    def configure(self, config: dict[str, Any]) -> None:
        if config["lores"] and config["lores"]["format"] != "YUV420" and KIND != "pi 5":
            raise RuntimeError("lores stream must be YUV")
        if KIND == "other size":
            config["main"]["size"] = (48, 32)
        self.config = {name: stream for name, stream in config.items() if stream}

    def camera_configuration(self) -> dict[str, Any]:
        return self.config

    def start(self) -> None:
        self.is_started = True

    def capture_request(self) -> Request:
        assert self.is_started
        time.sleep(0.01)
        self.number += 1
        if KIND == "hangs" and self.number > 5:
            time.sleep(1000)
        if KIND == "breaks" and self.number > 5:
            raise RuntimeError("Camera frontend has timed out!")
        return Request(self.config, self.number)

    def stop(self) -> None:
        self.is_started = False

    def close(self) -> None:
        with open(os.environ["FAKE_CAMERA_LOG"], "a") as log:  # noqa: PTH123 - a few lines for the test
            log.write("closed\n")

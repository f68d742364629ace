"""Answers for photos that are sent: one at a time, in a thread of their own, with few that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from edgegender import images
from edgegender.errors import ImageError
from edgegender.runtime.model_file import ModelFile
from edgegender.runtime.photos import PhotoPredictor, PhotoResult
from edgegender.serving.answers import RefusedRequestError

MAX_PHOTO_PIXELS = 25_000_000  # 75 MB as 8-bit RGB, beside a camera on a board with 1 GB
MAX_WAITING = 4  # with the photos in memory that are being sent


def describe_model(file: ModelFile) -> dict[str, object]:
    """Returns what people should know about a model before they trust its answers."""
    metadata = file.metadata
    return {
        "name": metadata.name,
        "sha256": file.sha256,
        "labels": list(metadata.labels),
        "architecture": metadata.architecture,
        "scheme": metadata.scheme.value,
        "input_size_px": metadata.preprocessing.input_size_px,
        "unsure_below": metadata.unsure_below,
        "accuracy": metadata.metrics.get("accuracy"),
        "license": metadata.license,
        "intended_use": metadata.intended_use,
    }


class PhotoDesk:
    """Answers photos one after the other, for an interpreter serves one thread only.

    Args:
        model: What answers.
        create_predictor: Makes what answers, at the first photo and in the desk's own thread; it must not be shared
            with the camera.
        max_pixels: Photos with more pixels are refused before they are decoded.
    """

    def __init__(
        self, model: ModelFile, create_predictor: Callable[[], PhotoPredictor], *, max_pixels: int = MAX_PHOTO_PIXELS
    ) -> None:
        self.model = model
        self._create_predictor = create_predictor
        self._max_pixels = max_pixels
        self._predictor: PhotoPredictor | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="preview-photos")
        self._num_places_taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place in the row for the block, in the server's thread; taken before the photo is read.

        Raises:
            RefusedRequestError: As many as may are waiting (503).
        """
        if self._num_places_taken > MAX_WAITING:
            raise RefusedRequestError(
                503,
                "Expected a free place for a photo, got none: others wait.",
                hint="Try again soon.",
                retry_after_s=1,
            )
        self._num_places_taken += 1
        try:
            yield
        finally:
            self._num_places_taken -= 1

    async def answer(self, content: bytes) -> dict[str, object]:
        """Returns the answer for a photo's file, as ``edgegender predict --json`` has it, without the path.

        Raises:
            RefusedRequestError: The bytes are no photo or damaged (400), or hold too many pixels (413).
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, content)

    def close(self) -> None:
        """Lets nobody in any more. May be called twice."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _answer(self, content: bytes) -> dict[str, object]:
        try:
            image_rgb = images.decode_image(content, where="upload", max_pixels=self._max_pixels)
        except ImageError as error:
            code = 413 if error.kind == "too_large" else 400
            raise RefusedRequestError(code, str(error), hint=error.hint or "Send another photo.") from error
        if self._predictor is None:
            self._predictor = self._create_predictor()
        faces = self._predictor.predict_image(image_rgb)
        status, problem = ("ok", "") if faces else ("no_face", "no face found")
        answer = PhotoResult(Path(), status, faces, problem).to_json()
        del answer["path"]
        return answer

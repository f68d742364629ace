"""Files that do not come with the package: where they are, what they must be, and how they are fetched.

A file is known by its sha256, so that it may come from any server, in several pieces, or over plain http.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgegender import files
from edgegender.errors import DownloadError, OutputError
from edgegender.progress import Progress, no_progress
from edgegender.transfer import DroppedError, Transfer, locked_part, require_address

TIMEOUT_S = 30.0  # without a byte
MAX_ATTEMPTS = 5
_FIRST_PAUSE_S = 1.0  # doubles with each attempt: 1, 2, 4, 8 s


@dataclass(frozen=True)
class DownloadableModel:
    """A file that ``edgegender models pull`` fetches.

    Args:
        name: What it is called on the command line.
        purpose: What it is for.
        file_name: Its name in the folder.
        url: Where it is: a file at a commit, which cannot change.
        sha256: Of the file, 64 hexadecimal digits.
        size_bytes: Its size.
        license: Its licence (SPDX).
        source: Whose work it is.
    """

    name: str
    purpose: str
    file_name: str
    url: str
    sha256: str
    size_bytes: int
    license: str
    source: str


YUNET = DownloadableModel(
    name="yunet",
    purpose="face detector: finds more faces than the bundled cascade, and eyes, nose and mouth",
    file_name="yunet_n_640_640.onnx",
    url="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
    "0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/yunet_n_640_640.onnx",
    sha256="25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
    size_bytes=317_466,
    license="Apache-2.0",
    source="https://github.com/ShiqiYu/libfacedetection.train",
)
BLAZEFACE = DownloadableModel(
    name="blazeface",
    purpose="face detector: the fastest, for faces near to the camera",
    file_name="face_detection_short_range.tflite",
    # the commit of v0.8.9: later releases fetch the file from elsewhere
    url="https://raw.githubusercontent.com/google-ai-edge/mediapipe/"
    "e6c19885c6d3c6f410c730952aeed2852790d306/mediapipe/modules/face_detection/face_detection_short_range.tflite",
    sha256="3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    size_bytes=229_032,
    license="Apache-2.0",
    source="https://github.com/google-ai-edge/mediapipe",
)
MOBILEFACENET = DownloadableModel(
    name="mobilefacenet",
    purpose="face embedding: groups the photos of one person, for splits without leaks",
    file_name="MobileFaceNet.onnx",
    url="https://raw.githubusercontent.com/foamliu/MobileFaceNet/"
    "a6cc9032a659b615f477833e1a70b5e7931bcccc/weights/MobileFaceNet.onnx",
    sha256="b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507",
    size_bytes=3_998_070,
    license="Apache-2.0",
    source="https://github.com/foamliu/MobileFaceNet",
)
DOWNLOADABLE: Mapping[str, DownloadableModel] = {model.name: model for model in (YUNET, BLAZEFACE, MOBILEFACENET)}


def is_whole(path: Path, model: DownloadableModel) -> bool:
    """Returns whether ``path`` is a file with the size and the sha256 of ``model``."""
    try:
        return path.is_file() and path.stat().st_size == model.size_bytes and files.hash_file(path) == model.sha256
    except OSError:
        return False


def find(model: DownloadableModel, folder: Path) -> Path | None:
    """Returns a file that was pulled into ``folder``, ``None`` when there is none.

    Raises:
        DownloadError: What lies there has another sha256.
    """
    path = folder / model.file_name
    if not path.exists():
        return None
    if not is_whole(path, model):
        raise DownloadError(
            f"Expected sha256 {model.sha256[:12]}…, got an altered file ({path}).",
            hint=f"Fetch it again with: edgegender models pull {model.name}",
        )
    return path


def pull(
    model: DownloadableModel,
    *,
    folder: Path,
    url: str | None = None,
    on_progress: Progress = no_progress,
    timeout_s: float = TIMEOUT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetches a file into ``folder`` and returns its path; one that is there and whole is not fetched again.

    What has arrived is kept in a ``.part`` file, so that the next call goes on after an interruption. The file takes
    its name only when its size and sha256 are right. Calls for the same file wait for each other.

    Args:
        model: The file.
        folder: Where it goes; made when it is not there.
        url: Another server's copy (http or https) instead of ``model.url``.
        on_progress: Called with (bytes that have arrived, bytes in all).
        timeout_s: Longest wait for the next byte.
        sleep: Waits so many seconds between two attempts.

    Raises:
        UsageError: ``url`` is no http or https address.
        DownloadError: The server cannot be reached, or has another file.
        OutputError: The folder cannot be written.
    """
    address = model.url if url is None else url
    require_address(address)
    target = folder / model.file_name
    if is_whole(target, model):
        return target
    if target.exists() and not target.is_file():
        raise OutputError(f"Expected a file or nothing at {target}, got a folder or a device.", hint="Remove it.")
    files.make_folder(folder)
    part = folder / f"{model.file_name}.part"
    with locked_part(part) as stream:
        if is_whole(target, model):  # another process was faster
            stream.truncate(0)
            return target
        transfer = Transfer(address, stream, model.size_bytes, on_progress=on_progress, timeout_s=timeout_s)
        _receive(transfer, sleep)
        transfer.check(model.sha256)
        try:
            os.fsync(stream.fileno())
            part.replace(target)
        except OSError as error:
            raise OutputError(
                f"Expected to write {target}, got {error.strerror or error}.",
                hint="Choose a folder that you may write to and that has room.",
            ) from error
    return target


def _receive(transfer: Transfer, sleep: Callable[[float], None]) -> None:
    """Tries again, after longer and longer pauses, for as long as there is hope."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            transfer.receive()
        except DroppedError as error:
            if attempt == MAX_ATTEMPTS:
                raise DownloadError(
                    f"Expected {transfer.size_bytes:,} bytes, got {transfer.num_arrived:,} in {MAX_ATTEMPTS} attempts "
                    f"({error}, {transfer.address}).",
                    hint="Run it again: it goes on from there.",
                ) from error
            sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        else:
            return

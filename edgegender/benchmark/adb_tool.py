"""TensorFlow's ``benchmark_model`` on a phone: answers for pictures, and times."""

from __future__ import annotations

import base64
import math
import struct
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.adb_device import Adb
from edgegender.benchmark.adb_output import ToolOutput, last_failure, parse_output
from edgegender.benchmark.answers import Answers, Sample
from edgegender.benchmark.records import Durations
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import MeasurementError, UsageError
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import ModelFile

# ELF e_machine → Android's ABI. Source: elf.h, and developer.android.com/ndk/guides/abis
_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86"}
_ELF_MAGIC, _ELF_HEADER_BYTES = b"\x7fELF", 20
TOOL, MODEL = "benchmark_model", "model.tflite"
CHUNK = 128  # pictures that are sent at once: 20 MB of a float network's 112 px
_START_S, _PHOTO_S = 60.0, 20.0  # a GPU delegate compiles its kernels for seconds, each time
_SPARE_S = 120.0
_MARK = "---edgegender---"
_OLD_HINT = "An old benchmark_model has no --output_filepath: take a newer one."
DELEGATES = {
    "xnnpack": ("--use_xnnpack=true",),
    "none": ("--use_xnnpack=false",),
    # XNNPACK would take what the GPU leaves, and the figure would be of neither
    "gpu": ("--use_gpu=true", "--use_xnnpack=false"),
}
Tensor = npt.NDArray[np.generic]


def require_tool(path: Path, abi: str) -> None:
    """Makes sure that a program is one for the phone's processor.

    Raises:
        UsageError: It is no program of Linux, or one for another processor.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_ELF_HEADER_BYTES)
    except OSError as error:
        raise UsageError(f"Expected the program benchmark_model, got {error.strerror or error} ({path}).") from error
    if head[:4] != _ELF_MAGIC or len(head) < _ELF_HEADER_BYTES:
        raise UsageError(f"Expected the program benchmark_model, got another file ({path}).")
    found = _ABIS.get(struct.unpack_from("<H", head, 18)[0], "another processor")
    if found != abi:
        raise UsageError(
            f"Expected a benchmark_model for {abi}, got one for {found} ({path}).",
            hint="Build or fetch the one for the phone: docs/rivals.md says where.",
        )


@dataclass(frozen=True)
class PhoneModel:
    """A model on the phone, and how its bytes are read.

    Args:
        file: The verified model.
        network: The same, on this machine: it says types, scales and shapes, and answers nothing.
    """

    file: ModelFile
    network: Interpreter

    def to_bytes(self, image: UInt8Array) -> bytes:
        """Returns a picture as the bytes of the input tensor."""
        return np.ascontiguousarray(self.network.to_tensor(image)).tobytes()

    def to_scores(self, content: bytes) -> FloatArray:
        """Returns the scores in the bytes of the output tensor, dequantized, shape (labels,).

        Raises:
            MeasurementError: There is another number of bytes.
        """
        network = self.network
        wanted = network.num_outputs * network.output_dtype.itemsize
        if len(content) != wanted:
            raise MeasurementError(f"Expected {wanted} bytes of answer from the phone, got {len(content)}.")
        values = np.frombuffer(content, network.output_dtype).astype(np.float64)
        if network.output_dtype == np.float32:
            return values
        return np.asarray((values - network.output_zero_point) * network.output_scale, np.float64)


class PhoneTool:
    """``benchmark_model`` and one model, both on the phone.

    Args:
        adb: The phone.
        model: Already copied as ``model.tflite``.
        delegate: One of ``DELEGATES``.
    """

    def __init__(self, adb: Adb, model: PhoneModel, delegate: str) -> None:
        self._adb, self._model, self._delegate = adb, model, delegate

    def _words(self, num_threads: int, name: str, *more: str) -> str:
        folder, shape = self._adb.folder, ",".join(map(str, self._model.network.input_shape))
        words = (
            f"{folder}/{TOOL}",
            f"--graph={folder}/{MODEL}",
            f"--num_threads={num_threads}",
            *DELEGATES[self._delegate],
            "--input_layer=image",
            f"--input_layer_shape={shape}",
            f"--input_layer_value_files=image:{folder}/in/{name}",
            f"--output_filepath={folder}/out/{name}",
            *more,
        )
        return " ".join(words)

    def send(self, images: Sequence[UInt8Array]) -> list[str]:
        """Copies pictures to the phone, in place of those that were there, and returns their names.

        Raises:
            MeasurementError: The phone went away.
        """
        names = [f"{place:05d}" for place in range(len(images))]
        self._adb.empty("in", "out")
        with tempfile.TemporaryDirectory(prefix="edgegender-") as held:
            for name, image in zip(names, images, strict=True):
                (Path(held) / name).write_bytes(self._model.to_bytes(image))
            self._adb.push(Path(held), "in")
        return names

    def answer(self, images: Sequence[UInt8Array], *, num_threads: int) -> list[FloatArray]:
        """Returns the scores of pictures: one call of the tool with one run for each of them.

        Raises:
            MeasurementError: The phone went away, the tool failed, or it is too old to write its answers.
        """
        names = self.send(images)
        # one command for all: a cable's round trip for each picture would take longer than the picture
        runs = ("--num_runs=1", "--min_secs=0", "--warmup_runs=0", "--warmup_min_secs=-1")
        script = f"for name in {' '.join(names)}; do {self._words(num_threads, '$name', *runs)} || exit 9; done 2>&1"
        said = self._adb.shell(script, timeout_s=_START_S + _PHOTO_S * len(images), is_checked=False)
        with tempfile.TemporaryDirectory(prefix="edgegender-") as held:
            self._adb.pull("out", Path(held))
            contents = [(Path(held) / name).read_bytes() for name in names if (Path(held) / name).is_file()]
        if len(contents) < len(names):
            raise MeasurementError(
                f"Expected {len(names)} answers from the phone, got {len(contents)}: {last_failure(said)}",
                hint=_OLD_HINT,
            )
        return [self._model.to_scores(content) for content in contents]

    def probe(self) -> ToolOutput:
        """Returns what the tool says of two runs on one thread, for whether the delegate runs the network at all.

        Raises:
            MeasurementError: The tool failed.
        """
        size_px = self._model.network.input_shape[1]
        (name,) = self.send([np.zeros((size_px, size_px, 3), np.uint8)])
        brief = Durations(min_seconds=0, min_runs=2, max_seconds=30, warmup_seconds=0, warmup_runs=1)
        return self.time(name, num_threads=1, durations=brief)[0]

    def time(
        self, name: str, *, num_threads: int, durations: Durations, is_memory: bool = False
    ) -> tuple[ToolOutput, FloatArray]:
        """Returns (what one call of the tool says, the scores after its last run).

        Args:
            name: Of the picture that every run of the call is fed, from :meth:`send`.
            num_threads: Threads.
            durations: Of this one call.
            is_memory: Whether to watch the memory, which takes a thread and therefore time.

        Raises:
            MeasurementError: The phone went away, or the tool failed.
        """
        words = (
            f"--num_runs={durations.min_runs}",
            f"--min_secs={durations.min_seconds:g}",
            f"--max_secs={durations.max_seconds:g}",
            f"--warmup_runs={durations.warmup_runs}",
            f"--warmup_min_secs={durations.warmup_seconds:g}",
            *(("--report_peak_memory_footprint=true",) if is_memory else ()),
        )
        answer = f"{self._adb.folder}/out/{name}"
        script = f"rm -f {answer}; {self._words(num_threads, name, *words)} 2>&1; echo {_MARK}; base64 {answer}"
        longest_s = 2 * durations.max_seconds + _SPARE_S  # the tool's limit holds for warm-up and runs, each
        said, _, encoded = self._adb.shell(script, timeout_s=longest_s, is_checked=False).partition(_MARK)
        output = parse_output(said)
        try:
            content = base64.b64decode("".join(encoded.split()), validate=True)
        except ValueError:
            content = b""
        if not content:
            raise MeasurementError("Expected the answer of benchmark_model, got none.", hint=_OLD_HINT)
        return output, self._model.to_scores(content)


def answer_samples_on_phone(
    tool: PhoneTool,
    answers: Answers,
    samples: Iterable[Sample],
    *,
    num_threads: int,
    on_sample: Callable[[int], None],
) -> None:
    """Has the phone answer every sample, a chunk at a time, into ``answers``.

    Raises:
        DataError: No sample has an image, or one does not fit the model.
        MeasurementError: The phone went away, or the tool failed.
    """
    waiting: list[tuple[Sample, UInt8Array]] = []
    done = 0

    def send() -> None:
        found = tool.answer([image for _, image in waiting], num_threads=num_threads)
        for (sample, image), scores in zip(waiting, found, strict=True):
            answers.add(sample, image, scores)
        waiting.clear()
        on_sample(done)

    for done, sample in enumerate(samples, start=1):  # noqa: B007 - told by send
        image = answers.check(sample)
        if image is not None:
            waiting.append((sample, image))
        if len(waiting) == CHUNK:
            send()
    if waiting:
        send()
    answers.require_some()


def share(durations: Durations, count: int) -> Durations:
    """Returns what each of ``count`` calls gets of the timed runs; each warms up in full."""
    return Durations(
        min_seconds=durations.min_seconds / count,
        min_runs=max(2, math.ceil(durations.min_runs / count)),
        max_seconds=max(durations.max_seconds / count, 0.1),
        warmup_seconds=durations.warmup_seconds,
        warmup_runs=max(1, durations.warmup_runs),
    )

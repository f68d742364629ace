"""The measuring core as another machine runs it: a job in a file, results as lines of JSON on standard output.

:mod:`edgegender.benchmark.remote_agent` starts it there and ends it by closing its standard input.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgegender.benchmark.decode import decode
from edgegender.benchmark.engines import DEFAULT_ENGINE
from edgegender.benchmark.measure import StagePhoto
from edgegender.benchmark.records import Durations
from edgegender.benchmark.result import result_to_json
from edgegender.benchmark.run import DataSource, Sample, benchmark_model
from edgegender.entities import FaceBox
from edgegender.errors import EdgeGenderError
from edgegender.runtime.interpreter import available_cores

ALL_CORES = 0  # as a number of threads: only the machine itself knows how many it has
_PROGRESS_INTERVAL_S = 0.5
_ORPHANED = 1


class SentSamples:
    """Samples as they were sent: pictures in ``.npy`` files, what is known about them in the job.

    Args:
        folder: Where the files lie.
        data: ``rows`` (label index, sha256, photo, box, box source, problem) and ``chunks`` (names of files).
        num_rows: Only the first so many.
    """

    def __init__(self, folder: Path, data: Mapping[str, Any], num_rows: int | None = None) -> None:
        self._folder = folder
        self._rows = data["rows"][:num_rows]
        self._chunks = data["chunks"]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Sample]:
        images = (image for name in self._chunks for image in np.load(self._folder / name, mmap_mode="r"))
        for label_index, photo_sha256, photo, box, box_source, problem in self._rows:
            yield Sample(
                None if problem else np.array(next(images)),
                label_index,
                photo_sha256=photo_sha256,
                photo=StagePhoto(self._folder / photo, FaceBox(*box) if box else None) if photo else None,
                box_source=box_source,
                problem=problem,
            )


class _Answers:
    """Standard output, of which native libraries get nothing."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._counted = time.monotonic()

    def tell(self, **event: object) -> None:
        self._stream.write(json.dumps(event).encode() + b"\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Passes a line to a person."""
        self.tell(event="progress", text=text)

    def say_measuring(self, engine: str, num_threads: int) -> None:
        """Says what begins."""
        self.say(f"measuring with {engine}, {num_threads} thread(s) …")

    def count(self, done: int) -> None:
        """Says how many samples were answered, not too often: each line takes time from the processor."""
        if time.monotonic() - self._counted >= _PROGRESS_INTERVAL_S:
            self._counted = time.monotonic()
            self.say(f"answered {done}")


def _end_with_agent() -> None:
    while os.read(0, 1):
        pass
    os._exit(_ORPHANED)


def resolve_threads(threads: list[int]) -> tuple[int, ...]:
    """Returns numbers of threads, each once, with this machine's cores in the place of 0."""
    return tuple(dict.fromkeys(available_cores() if number == ALL_CORES else number for number in threads))


def _measure(folder: Path, job: Mapping[str, Any], model: Mapping[str, Any], answers: _Answers) -> None:
    """Measures one model, a number of threads after the other, so that each is sent as soon as it is there."""
    source = DataSource(**job["source"], detector_path=folder / job["detector"] if job["detector"] else None)
    threads = resolve_threads(job["threads"])
    for engine in job["engines"] or [DEFAULT_ENGINE]:
        answers.tell(event="begin", number=model["number"], threads=threads)
        for place, num_threads in enumerate(threads):
            samples = None
            if model["data"] is not None:
                # accuracy is measured once; the speed runs after the first take its pictures, and no more
                samples = SentSamples(folder, model["data"], model["data"]["num_speed_rows"] if place else None)
            result = benchmark_model(
                folder / model["file"],
                samples,
                threads=[num_threads],
                durations=decode(Durations, job["durations"]),
                until_share=job["until_share"],
                engine=engine,
                source=source,
                on_sample=answers.count,
                on_configuration=partial(answers.say_measuring, engine),
            )
            answers.tell(event="result", document=result_to_json(result))


def main(job_file: str) -> None:
    """Carries out a job and tells what comes of it.

    Args:
        job_file: JSON, as :mod:`edgegender.benchmark.target_ssh` writes it; the files that it names lie beside it.
    """
    threading.Thread(target=_end_with_agent, daemon=True).start()
    answers = _Answers()
    path = Path(job_file)
    job = json.loads(path.read_bytes())
    try:
        for model in job["models"]:
            _measure(path.parent, job, model, answers)
    except EdgeGenderError as error:
        answers.tell(event="failed", kind=type(error).__name__, message=str(error), hint=error.hint)

"""Takes sources away and brings them back: a real RTSP server killed and restarted, a FIFO cut off in mid-frame.

Run: python benchmarks/camera/source_losses.py -o benchmarks/camera/source_losses.json [--losses 25]

Needs GStreamer's RTSP server (tests/rtsp_server.py names the packages). Each source is read by one process from first
to last. A server stays away for 0.2 to 6 s, so that some returns fall into the longest pause between two attempts; the
time from its return (it listens) to the first frame is taken. A FIFO's writer is cut off in the middle of a frame, and
the next one comes after 0 to 1 s.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.runtime.capture import CaptureOptions, open_source
from edgegender.runtime.frames import FrameSource
from tests.rtsp_server import RtspServer

SIZE_WH = (320, 240)
FRAME_BYTES = 3 * SIZE_WH[0] * SIZE_WH[1]
GIVE_UP_S = 30.0
WRITER = f"""
import os, sys, time
pipe = os.open(sys.argv[1], os.O_WRONLY)
frame = bytes({FRAME_BYTES})
for _ in range(5):
    os.write(pipe, frame)
    time.sleep(0.02)
os.write(pipe, frame[: {FRAME_BYTES} // 3])
"""


def read_until(source: FrameSource, *, state: str) -> float:
    """Reads until the source is in a state; returns how long it took, seconds."""
    begin_s = time.monotonic()
    while source.state != state:
        source.read(0.05)
        if time.monotonic() - begin_s > GIVE_UP_S:
            sys.exit(f"error: {source.name} is {source.state} after {GIVE_UP_S:.0f} s: {source.problem}")
    return time.monotonic() - begin_s


def read_for(source: FrameSource, seconds: float) -> None:
    """Reads for so long."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        source.read(0.05)


def summary(name: str, source: FrameSource, back_s: list[float], noticed_s: list[float]) -> dict[str, Any]:
    """Returns what is recorded of one source."""
    return {
        "source": name,
        "num_taken_away": len(back_s),
        "counters": source.counters.to_json(),
        "back_p50_s": round(float(np.median(back_s)), 3),
        "back_max_s": round(max(back_s), 3),
        "noticed_max_s": round(max(noticed_s), 3),
        "back_s": [round(value, 3) for value in back_s],
    }


def lose_rtsp(num_losses: int, rng: np.random.Generator) -> dict[str, Any]:
    """Kills and restarts an RTSP server."""
    back_s, noticed_s = [], []
    with RtspServer(size_wh=SIZE_WH) as server:
        source = open_source(server.address)
        try:
            read_until(source, state="running")
            for number in range(num_losses):
                read_for(source, rng.uniform(0.1, 0.5))
                server.kill()
                noticed_s.append(read_until(source, state="lost"))
                read_for(source, rng.uniform(0.2, 6.0))
                server.start()
                back_s.append(read_until(source, state="running"))
                print(f"rtsp {number + 1}: back after {back_s[-1]:.2f} s", flush=True)
        finally:
            source.close()
    return summary("rtsp", source, back_s, noticed_s)


def lose_fifo(num_losses: int, rng: np.random.Generator, folder: Path) -> dict[str, Any]:
    """Cuts a FIFO's writer off."""
    back_s, noticed_s = [], []
    path = folder / "frames"
    os.mkfifo(path)
    source = open_source(f"fifo:{path}", options=CaptureOptions(size_wh=SIZE_WH))
    write = [sys.executable, "-c", WRITER, str(path)]
    try:
        for number in range(num_losses + 1):
            with subprocess.Popen(write) as writer:
                came_s = read_until(source, state="running")
                while number < num_losses and writer.poll() is None:
                    source.read(0.01)
                writer.kill()  # the last one, whose end is none of the losses
            if number:
                back_s.append(came_s)
            if number < num_losses:
                noticed_s.append(read_until(source, state="lost"))
                read_for(source, rng.uniform(0, 1))
    finally:
        source.close()
    return summary("fifo", source, back_s, noticed_s)


def main() -> None:
    """Parses the command line, measures and records."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--losses", type=int, default=25, help="of each source")
    arguments = parser.parse_args()
    rng = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        results = [lose_fifo(arguments.losses, rng, Path(folder)), lose_rtsp(arguments.losses, rng)]
    record = {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "machine": asdict(describe_machine()),
        "versions": asdict(describe_versions()),
        "process_deaths": 0,  # of the reading process: it is this one, and it wrote this line
        "results": results,
    }
    for result in results:
        counters = result["counters"]
        if not counters["losses"] == counters["reconnects"] == result["num_taken_away"] == arguments.losses:
            sys.exit(f"error: not every loss was counted: {counters}")
    arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps([{key: value for key, value in each.items() if key != "back_s"} for each in results], indent=1))


if __name__ == "__main__":
    main()

"""Measures the same models on every target that this machine can be: itself, a host over ssh, and a phone's browser.

Run: python benchmarks/targets/measure.py MODEL... --data faces.csv -o benchmarks/targets/DATE-MACHINE [--on cpu ...]

Each target takes all models in one command of ``edgegender benchmark --quick``; each result is recorded as
OUTPUT/TARGET-MODEL.json.gz. ``cpu`` uses one and two threads, ``reference`` gives the answers of the reference kernels,
``ssh`` is a real OpenSSH server on loopback with a fresh home folder, ``browser`` is headless Chromium, which opens the
page that a phone opens; LiteRT.js comes from npm. The answers of an arm64 processor come from
``tools/arm64_proof.sh parity``. ``--pack FOLDER --as arm64`` takes such results in as they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from edgegender.benchmark.result import RESULT_SUFFIXES, read_result, write_result  # noqa: E402
from tests.benchmark.litertjs import pack_litertjs, unpack_litertjs  # noqa: E402
from tests.reporting.browser import launched_browser  # noqa: E402
from tests.ssh_server import serving_ssh  # noqa: E402

BENCHMARK = (sys.executable, "-m", "edgegender", "benchmark")
BROWSER_SECONDS = 3600


def run_benchmark(models: Sequence[Path], *words: str) -> None:
    """Runs the command; 1 means that a figure is invalid, which its record says."""
    done = subprocess.run([*BENCHMARK, *map(str, models), *words], check=False)
    if done.returncode not in {0, 1}:
        raise SystemExit(done.returncode)


def on_cpu(models: Sequence[Path], data: Sequence[str], folder: Path) -> None:
    """This machine's processor."""
    run_benchmark(models, *data, "--quick", "--threads", "1,2", "-o", str(folder))


def on_reference(models: Sequence[Path], data: Sequence[str], folder: Path) -> None:
    """The reference kernels: answers only, so that no photos are needed."""
    del data
    run_benchmark(models, "--short", "--threads", "1", "--engine", "litert-reference", "-o", str(folder))


def on_ssh(models: Sequence[Path], data: Sequence[str], folder: Path) -> None:
    """A host that OpenSSH reaches; what it gets is the wheel of this code."""
    with tempfile.TemporaryDirectory() as home, serving_ssh(Path(home)) as server:
        config = ("--option", f"config={server.client_config}")
        words = ("--target", server.address, *config, "--quick", "--threads", "1")
        run_benchmark(models, *words, *data, "-o", str(folder))


def visit(url: str) -> None:
    """Opens the benchmark's page in Chromium, starts it as a person does, and waits for its end."""
    with launched_browser() as browser:
        page = browser.new_page()
        page.goto(url)
        page.fill("#name", "headless Chromium")
        page.click("#start")
        page.locator("#done").wait_for(state="visible", timeout=1000 * BROWSER_SECONDS)


def on_browser(models: Sequence[Path], data: Sequence[str], folder: Path) -> None:
    """Chromium, on the page that a phone opens."""
    with tempfile.TemporaryDirectory() as place:
        library = unpack_litertjs(pack_litertjs(Path(place, "archives")), Path(place, "library"))
        options = ("--option", f"litertjs={library}", "--option", "listen=127.0.0.1:0")
        words = ("--target", "browser", "--engine", "wasm", *options, "--quick", "--threads", "1")
        command = [*BENCHMARK, *map(str, models), *words, *data, "-o", str(folder)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as measuring:
            if measuring.stderr is None:
                raise SystemExit("error: Expected the command's messages, got none.")
            url = next((line.strip() for line in measuring.stderr if line.startswith("http")), "")
            if not url:
                raise SystemExit(measuring.wait() or 1)
            visit(url)
            sys.stderr.write(measuring.stderr.read())


TARGETS: dict[str, Callable[[Sequence[Path], Sequence[str], Path], None]] = {
    "cpu": on_cpu,
    "reference": on_reference,
    "ssh": on_ssh,
    "browser": on_browser,
}


def pack(folder: Path, output: Path, name: str) -> None:
    """Records the results of a folder as compressed ones; each is read, and so checked, before."""
    output.mkdir(parents=True, exist_ok=True)
    for file in sorted(path for suffix in RESULT_SUFFIXES for path in folder.glob(f"*{suffix}")):
        packed = output / f"{name}-{file.name.split('.json', 1)[0]}.json.gz"
        write_result(packed, read_result(file))
        print(packed)


def main() -> None:
    """Measures on the targets that were asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--data", type=Path, help="manifest of face crops; its test split is measured")
    parser.add_argument("--on", action="append", choices=tuple(TARGETS), help="again for several; all without it")
    parser.add_argument("--pack", type=Path, help="a folder of results to take in")
    parser.add_argument("--as", dest="name", help="their target")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    if given.pack:
        pack(given.pack, given.output, given.name or given.pack.name)
        return
    data = ("--data", str(given.data)) if given.data else ()
    for name in given.on or TARGETS:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, name)  # its name stands in the recorded command
            try:
                TARGETS[name](given.models, data, folder)
            finally:  # what was measured before a failure is kept
                pack(folder, given.output, name)


if __name__ == "__main__":
    main()

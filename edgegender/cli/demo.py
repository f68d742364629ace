"""``edgegender demo``: the whole way in one go, each step as the command that a user would type."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Sequence
from importlib import import_module, util
from pathlib import Path

import click

from edgegender.cli.console import FOLDER, progress
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError

_MARKER = ".edgegender-demo"
_NUM_PREDICTED = 8


class _Demo:
    """Says each command, runs it, and says how long it took."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        """Prints a headline."""
        click.echo(click.style(f"\n■ {text}", bold=True))

    def run(self, *arguments: str | Path) -> None:
        """Runs ``edgegender`` with these arguments in this process."""
        words = [str(argument) for argument in arguments]
        click.echo(f"$ edgegender {shlex.join(words)}")
        command = import_module(f"edgegender.cli.{words[0]}").command
        began = time.monotonic()
        command.main(words[1:], prog_name=f"edgegender {words[0]}", standalone_mode=False)
        click.echo(f"({time.monotonic() - began:.0f} s)")


def _prepare_folder(output: Path) -> None:
    if output.exists():
        if not output.is_dir() or (any(output.iterdir()) and not (output / _MARKER).exists()):
            raise UsageError(
                f"Expected a new folder for the report, got one in use ({output}).", hint="Give another -o."
            )
        shutil.rmtree(output)
    from edgegender.files import make_folder, write_text

    make_folder(output)
    write_text(output / _MARKER, "made by edgegender demo; a later demo may replace this folder\n")


def _draw(folder: Path, num_faces: int) -> None:
    from edgegender.data.drawn_faces import write_drawn_faces

    with progress("drawing") as update:
        write_drawn_faces(folder, num_faces=num_faces, seed=1, on_progress=update)
    click.echo(f"{num_faces} faces of nobody → {folder}")


def _check(demo: _Demo, output: Path) -> None:
    try:
        demo.run("data", "check", output / "photos.csv", "-o", output / "clean.csv")
    except CheckFailedError as error:  # the clean manifest was written: that is what the step is for
        click.echo(f"{error} → going on with {output / 'clean.csv'}, without them")


def _predict(demo: _Demo, output: Path) -> None:
    from edgegender.data.manifest_file import read_manifest

    manifest = read_manifest(output / "clean.csv").select(split="test")
    step = max(1, len(manifest) // _NUM_PREDICTED)
    chosen = manifest.take(range(0, len(manifest), step)[:_NUM_PREDICTED])
    photos = [os.path.relpath(chosen.file(row)) for row in chosen]
    demo.run("predict", "--model", output / "model.tflite", "--annotate", output / "annotated", *photos)


def _is_embedded_fit(labels: Sequence[str]) -> bool:
    from edgegender.runtime.model_file import embedded_model_path, read_model

    return set(labels) <= set(read_model(embedded_model_path()).metadata.labels)


def _benchmark(demo: _Demo, output: Path, crops: Path) -> None:
    from edgegender.data.manifest_file import read_manifest

    data = ("--data", crops, "--split", "test")
    demo.run("benchmark", output / "model.tflite", *data, "--short", "-o", output / "trained.json")
    embedded_data = data if _is_embedded_fit(read_manifest(crops).labels) else ()
    demo.run("benchmark", *embedded_data, "--short", "-o", output / "embedded.json")


@click.command(name="demo")
@click.option("--data", "photos", type=FOLDER, help="Your own photos, in a folder a label.  [default: drawn faces]")
@click.option("-o", "--output", type=FOLDER, default=Path("demo-report"), show_default=True, help="The report folder.")
@click.option("--faces", default=1200, show_default=True, type=click.IntRange(200, 20000), help="Faces to draw.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the demo recipe.")
def command(photos: Path | None, output: Path, faces: int, overrides: tuple[str, ...]) -> None:
    """Go the whole way: photos, checks, crops, training, int8 behind the gate, benchmark, table.

    Without --data the faces are drawn: they prove that the way works, not how accurate a model is on people.
    """
    for package in ("tensorflow", "keras"):
        if util.find_spec(package) is None:
            raise MissingDependencyError(package, extra="train")
    if photos is not None and not photos.is_dir():
        raise UsageError(f"Expected a folder of photos, got nothing at {photos}.")
    _prepare_folder(output)
    demo = _Demo()
    if photos is None:
        demo.say("1  Draw faces of nobody: they prove the way, not the accuracy")
        photos = output / "photos"
        _draw(photos, faces + faces % 2)
        about = f"{faces + faces % 2} drawn faces (they prove the way, not the accuracy)"
    else:
        demo.say(f"1  Your photos: {photos}")
        about = f"the photos in {photos.name}"
    demo.say("2  Index and check the photos")
    demo.run("data", "index", photos, "-o", output / "photos.csv")
    _check(demo, output)
    demo.say("3  Cut out the faces")
    demo.run("data", "crop", output / "clean.csv", "-o", output / "crops")
    crops = output / "crops" / "faces.csv"
    demo.say("4  Train a small network from random weights, and measure it")
    settings = [word for override in overrides for word in ("--set", override)]
    demo.run("train", "--recipe", "demo", *settings, "--data", crops, "-o", output / "run")
    demo.run("evaluate", output / "run", "--data", crops, "-o", output / "evaluation")
    demo.say("5  Quantize it to int8; the gate compares both on the same photos")
    convert = ("convert", output / "run", "--int8", "--data", crops, "-o", output / "model.tflite")
    demo.run(*convert, "--representative", "200", "--max-drop", "2", "--max-flips", "5", "--max-group-drop", "5")
    demo.say("6  Predict some photos with the file")
    _predict(demo, output)
    demo.say("7  Benchmark it, and the embedded model, on this machine")
    _benchmark(demo, output, crops)
    demo.run("report", output / "trained.json", output / "embedded.json", "-o", output / "table.md")
    click.echo("")
    click.echo((output / "table.md").read_text("utf-8"))
    _finish(output, about, time.monotonic() - demo.started)


def _finish(output: Path, about: str, seconds: float) -> None:
    from edgegender.files import write_text

    listing = {
        "table.md": "accuracy, F1 and latency of both models",
        "run/curves.png": "loss, accuracy and learning rate over the epochs",
        "evaluation/confusion.png": "confusion matrix of the float network",
        "annotated/": "photos with boxes and labels",
        "model.tflite, model.json": "the quantized model and its sha256",
        "trained.json, embedded.json": "the benchmark's raw values",
    }
    lines = [f"# Demo on {about}", "", *(f"- `{name}`: {text}" for name, text in listing.items()), ""]
    write_text(output / "README.md", "\n".join(lines))
    click.echo(f"Done in {seconds:.0f} s on {about}. Look into {output}/: run/curves.png, annotated/, table.md.")
    click.echo("For accuracy on people use the edge recipe on real photos: edgegender train --recipe edge --help")

"""The command line: finds the command, and turns every error into one line, a hint and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from edgegender import __version__
from edgegender.errors import EdgeGenderError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_TERMINATED = 143  # 128 + SIGTERM

# command → (module, one line); a command's module is imported only when it runs, so that the device side starts fast
_COMMANDS = {
    "data": ("edgegender.cli.data", "Photos that can be trusted: index, check, group, split, crop, show."),
    "train": ("edgegender.cli.train", "Fine-tune a network with a recipe."),
    "runs": ("edgegender.cli.runs", "List and compare training runs."),
    "evaluate": ("edgegender.cli.evaluate", "Accuracy, precision, recall and F1 with intervals."),
    "convert": ("edgegender.cli.convert", "Quantize a run to .tflite, behind a gate."),
    "inspect": ("edgegender.cli.inspect", "What is inside of a model file."),
    "predict": ("edgegender.cli.predict", "Classify photos, folders and globs."),
    "camera": ("edgegender.cli.camera", "Classify faces live, from a camera, a stream or a file."),
    "serve": ("edgegender.cli.serve", "Answer photos over HTTP, with a page to try it."),
    "benchmark": ("edgegender.cli.benchmark", "Accuracy, F1 and latency on a target."),
    "report": ("edgegender.cli.report", "Tables from recorded benchmark results."),
    "compare": ("edgegender.cli.compare", "What differs between two results by more than chance."),
    "models": ("edgegender.cli.models", "The embedded model, and the files that can be pulled."),
    "doctor": ("edgegender.cli.doctor", "What is wrong with this machine, and the fix."),
    "demo": ("edgegender.cli.demo", "The whole way in one go, on drawn faces or on your photos."),
}
_RESUMED = ("data index ", "data crop ")


class _ReaderLeftError(Exception):
    """Nobody reads standard output any more (``| head``). Not an OSError: click ends the process for those itself."""


class _LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(_COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):  # pragma: no cover - a slip of ours, not of the user's
            raise TypeError(cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="edgegender")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Take a face-attribute classifier from photos to a device, with numbers that people can trust.

    The label is gender as perceived by the annotators of the photos, never an identity.

    Exit codes: 0 done, 1 a gate or check failed or nothing could be answered, 2 wrong usage or unusable data,
    3 environment, 130 interrupted.
    """
    ctx.obj = {"debug": debug}


def _fail(message: str, hint: str, exit_code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        _close_stdout()
    one_line = " ".join(message.split())
    sys.stderr.write(f"error: {one_line}\n")
    if hint:
        sys.stderr.write(f"hint: {' '.join(hint.split())}\n")
    sys.exit(exit_code)


def _command_of(arguments: list[str]) -> str:
    """Returns the command that was typed, with a blank behind it, for a hint that has nothing better to say."""
    words = [word for word in arguments[:1] if word in _COMMANDS]
    if words in (["data"], ["models"]) and len(arguments) > 1 and not arguments[1].startswith("-"):
        words.append(arguments[1])
    return "".join(f"{word} " for word in words)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM leaves like Ctrl-C: temporary files are removed on the way out."""
    del number, frame
    sys.exit(EXIT_TERMINATED)


def _close_stdout() -> None:
    """The pipe or the disk behind it is of no use any more: what is left in the buffer has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: BaseException, arguments: list[str]) -> tuple[str, str, int]:
    """Returns what to say about an error, what to do, and the exit code."""
    if isinstance(error, EdgeGenderError):
        return str(error), error.hint or f"edgegender {_command_of(arguments)}--help", error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return error.format_message(), f"{context.command_path if context else 'edgegender'} --help", 2
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        hint = "Nothing was left half-written."
        if _command_of(arguments) in _RESUMED:
            hint += " The same command goes on where it stopped."
        return "Interrupted.", hint, EXIT_INTERRUPTED
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        what = f"Expected files and devices that work, got {error.strerror or error}{where}."
        return what, "Choose another name or place, or make room.", 3
    if isinstance(error, MemoryError):
        return "Expected enough memory, got none left.", "Use fewer photos, a smaller batch or a smaller input.", 3
    # the last net: a user never sees a traceback without --debug
    return f"Unexpected {type(error).__name__}: {error}", "Run it again with --debug and report what it prints.", 3


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code."""
    # Native libraries read these when they load; the library itself never touches the environment.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    is_whole_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    is_debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _terminate)
    try:
        cli.main(arguments, prog_name="edgegender", standalone_mode=False, obj={"debug": is_debug})
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (_ReaderLeftError, BrokenPipeError):
        _close_stdout()
    except (Exception, KeyboardInterrupt) as error:
        is_user = isinstance(error, (click.ClickException, click.Abort, KeyboardInterrupt))
        if is_debug and not is_user:
            raise
        if is_whole_process and isinstance(error, (click.Abort, KeyboardInterrupt)):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the way out
        _fail(*_explain(error, arguments))
    sys.exit(0)


if __name__ == "__main__":
    main()

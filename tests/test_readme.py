"""What the README says is true: its commands exist, its table comes from the records, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from edgegender.benchmark.result import read_result
from edgegender.cli.main import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CARD = (ROOT / "edgegender" / "models" / "default.md").read_text("utf-8")
MAKING = (ROOT / "benchmarks" / "embedded-default" / "README.md").read_text("utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text("utf-8")
CAMERA = (ROOT / "docs" / "camera.md").read_text("utf-8")
RASPBERRY_PI = (ROOT / "docs" / "raspberry-pi.md").read_text("utf-8")
TABLES = runpy.run_path(str(ROOT / "tools" / "update_readme_table.py"))
BENCHMARK = (ROOT / "docs" / "benchmark.md").read_text("utf-8")
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text.replace("\\\n", ""), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [
        line.removeprefix("~/eg/bin/") for line in lines if line.removeprefix("~/eg/bin/").startswith("edgegender ")
    ]


def parse(words: list[str]) -> None:
    """Parses a command line without running it."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    command.make_context(command.name or "", words, parent=context)


@pytest.mark.parametrize(
    "line",
    [
        *commands(README),
        *commands(MAKING),
        *commands(TRAINING),
        *commands(CAMERA),
        *commands(RASPBERRY_PI),
        *commands(BENCHMARK),
    ],
)
def test_a_documented_command_parses(line: str) -> None:
    parse(shlex.split(line)[1:])


def test_the_readme_has_commands_to_parse() -> None:
    assert len(commands(README)) >= 12
    assert sum("--coordinator" in line for line in commands(TRAINING)) == 2


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        parse(["predict", "photo.jpg", "--no-such-option"])


@pytest.mark.parametrize("page", TABLES["PAGES"], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_table_is_what_report_prints_for_the_recorded_results(page: Path) -> None:
    # to renew it: python tools/update_readme_table.py
    text = page.read_text("utf-8")
    assert TABLES["TABLE"].search(text) is not None
    assert TABLES["renew"](text) == text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target


def test_the_model_card_states_the_recorded_accuracy() -> None:
    result = read_result(next(ROOT.glob("benchmarks/20*-edgegender-mobilenetv2-96-full_integer.json")))
    assert result.evaluation is not None
    assert f"{100 * result.evaluation.accuracy.value:.2f} [" in CARD
    assert result.model.sha256 in (ROOT / "edgegender/models/default.json").read_text()

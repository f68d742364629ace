"""``edgegender data``: its commands in the order of the work, each with a line that is whole."""

from __future__ import annotations

import re

import pytest

from edgegender.cli.data import command
from tests.cli.commands import run_here


def test_help_lists_the_commands_in_the_order_of_the_work(capfd: pytest.CaptureFixture[str]) -> None:
    answer = run_here(capfd, "data", "--help")
    assert answer.code == 0
    listed = re.findall(r"^  ([a-z-]+)  +(\S.*)$", answer.out.partition("Commands:")[2], re.MULTILINE)
    names = ["index", "check", "group", "split", "audit-labels", "crop", "show"]
    assert [name for name, _ in listed] == names == list(command.commands)
    assert all(line.endswith(".") and not line.endswith("..") for _, line in listed)


@pytest.mark.parametrize("name", command.commands)
def test_every_option_is_explained(capfd: pytest.CaptureFixture[str], name: str) -> None:
    assert run_here(capfd, "data", name, "--help").code == 0
    for option in command.commands[name].params:
        if option.param_type_name == "option" and option.name != "help":
            assert getattr(option, "help", ""), option.name

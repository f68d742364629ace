"""``edgegender data``: photos become a manifest that can be trusted."""

from __future__ import annotations

import click

from edgegender.cli.data_check import check
from edgegender.cli.data_crop import crop
from edgegender.cli.data_index import index
from edgegender.cli.data_show import show
from edgegender.cli.data_split import split


@click.group(name="data")
def command() -> None:
    """Index, check, group, split, audit, crop and show photos."""


for _command in (index, check, split, crop, show):
    command.add_command(_command)

"""``edgegender data``: photos become a manifest that can be trusted."""

from __future__ import annotations

import click

from edgegender.cli.data_audit import audit
from edgegender.cli.data_check import check
from edgegender.cli.data_crop import crop
from edgegender.cli.data_group import group
from edgegender.cli.data_index import index
from edgegender.cli.data_show import show
from edgegender.cli.data_split import split


class _InOrder(click.Group):
    """Lists the commands in the order in which data goes through them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)


@click.group(name="data", cls=_InOrder)
def command() -> None:
    """Index, check, group, split, audit, crop and show photos."""


for _command in (index, check, group, split, audit, crop, show):
    command.add_command(_command)

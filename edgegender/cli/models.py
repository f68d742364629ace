"""``edgegender models``: the model that comes with the package, and the files that can be fetched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from edgegender.cli.console import FOLDER, json_option, models_folder, print_json, print_table, progress
from edgegender.downloads import DOWNLOADABLE, is_whole, pull
from edgegender.errors import UsageError

_EMBEDDED = "default"
_folder_option = click.option(
    "--folder", type=FOLDER, help="Folder of the files.  [default: ~/.cache/edgegender/models]"
)


class _ListByDefault(click.Group):
    """``edgegender models`` is ``edgegender models list``, with its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_list = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if is_list else args)


@click.group(name="models", cls=_ListByDefault)
def command() -> None:
    """Show the model that comes with the package and the files that can be pulled, and pull them."""


def _embedded_model() -> dict[str, object]:
    from edgegender.runtime.model_file import embedded_model_path, read_model

    file = read_model(embedded_model_path())
    return {
        "name": _EMBEDDED,
        "purpose": f"classifier: {file.metadata.name}, embedded, used where no model is named",
        "path": str(file.path),
        "size_bytes": len(file.content),
        "sha256": file.sha256,
        "license": file.metadata.license,
        "source": "edgegender",
        "url": None,
        "status": "ready",
    }


def _describe(name: str, folder: Path) -> dict[str, object]:
    model = DOWNLOADABLE[name]
    path = folder / model.file_name
    status = "ready" if is_whole(path, model) else "altered" if path.exists() else "not pulled"
    values = dataclasses.asdict(model)
    del values["file_name"]
    return {**values, "path": str(path), "status": status}


@command.command(name="list")
@_folder_option
@json_option
def list_models(folder: Path | None, as_json: bool) -> None:
    """List each file: what it is for, its licence, where it lies, and whether its sha256 is right."""
    place = folder or models_folder()
    models = [_embedded_model(), *(_describe(name, place) for name in DOWNLOADABLE)]
    if as_json:
        print_json({"folder": str(place), "models": models})
        return
    rows = []
    for model in models:
        size = f"{int(str(model['size_bytes'])) / 1e6:.2f}"
        rows.append([str(model["name"]), str(model["status"]), size, str(model["license"]), str(model["purpose"])])
    print_table(["name", "status", "MB", "licence", "what it is for"], rows)
    click.echo(f"\nPulled files lie in {place}")


@command.command(name="pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=click.Choice(list(DOWNLOADABLE)))
@_folder_option
@click.option("--url", help="Fetch from this address; the sha256 must be the same.")
@json_option
def pull_models(names: tuple[str, ...], folder: Path | None, url: str | None, as_json: bool) -> None:
    """Fetch NAMEs once, for use offline. What is there already is checked and left alone.

    An interrupted pull goes on from where it ended. A file that is not the known one is refused.
    """
    chosen = list(dict.fromkeys(names))
    if url is not None and len(chosen) > 1:
        raise UsageError(f"Expected one name with --url, got {len(chosen)}.", hint="Pull each by itself.")
    place = folder or models_folder()
    pulled = []
    for name in chosen:
        model = DOWNLOADABLE[name]
        was_there = is_whole(place / model.file_name, model)
        with progress(f"pulling {name}") as update:
            path = pull(model, folder=place, url=url, on_progress=update)
        pulled.append({"name": name, "path": str(path), "sha256": model.sha256, "was_there": was_there})
        if not as_json:
            how = "was there already" if was_there else f"{model.size_bytes:,} bytes"
            click.echo(f"{name}: {how}, sha256 {model.sha256[:12]}… → {path}")
    if as_json:
        print_json({"models": pulled})

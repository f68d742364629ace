"""``edgegender data group``: which photos belong together, written into a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from edgegender.cli.console import FOLDER, json_option, print_json, print_table
from edgegender.cli.data_options import require_manifest_target
from edgegender.cli.face_vectors import VectorOptions, embed_manifest, vector_options
from edgegender.errors import UsageError


def _summary(names: Sequence[str]) -> dict[str, int]:
    sizes = Counter(name for name in names if name)
    return {
        "num_groups": len(sizes),
        "num_with_several_photos": sum(size > 1 for size in sizes.values()),
        "largest": max(sizes.values(), default=0),
        "num_photos_without": sum(not name for name in names),
    }


@click.command(short_help="Which photos show one person, or belong together.")
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write: .csv or .parquet.")
@click.option(
    "--by",
    type=click.Choice(["person", "block", "duplicates"]),
    default="person",
    show_default=True,
    help="What they share.",
)
@click.option("--threshold", default=0.45, show_default=True, help="person: mean similarity within a group, 0 to 1.")
@click.option("--block-size", default=250, show_default=True, help="block: photos that stand side by side.")
@vector_options
@json_option
def group(
    manifest_path: Path,
    output: Path,
    by: str,
    threshold: float,
    block_size: int,
    vectors: VectorOptions,
    as_json: bool,
) -> None:
    """Find photos that belong together and write a column of that name, for 'data split --group-by'.

    person: faces become vectors, and similar ones get one name, such as person-000012, which says nothing about who
    it is. block: neighbours in the order of the paths, within source and label. duplicates: the same bytes or nearly
    the same picture.
    """
    from edgegender.data.grouping import name_blocks, name_duplicates
    from edgegender.data.manifest_file import read_manifest, write_manifest
    from edgegender.data.people import group_people, name_people

    require_manifest_target(output)
    if not 0 < threshold < 1:
        raise UsageError(f"Expected --threshold between 0 and 1, got {threshold}.")
    manifest = read_manifest(manifest_path)
    resume_path = output.with_name(f".{output.name}.journal")
    if by == "block":
        names: Sequence[str] = name_blocks(manifest, num_photos=block_size)
    elif by == "duplicates":
        names = name_duplicates(manifest)
    else:
        usable = manifest.select()
        found = embed_manifest(usable, vectors, resume_path=resume_path)
        people = name_people(found.paths, group_people(found.vectors, threshold=threshold))
        own = dict(zip(found.paths, people, strict=True))
        names = [own.get(path, "") for path in manifest.column("path")]
    write_manifest(output, manifest.with_columns({by: names}))
    resume_path.unlink(missing_ok=True)
    summary = _summary(names)
    if as_json:
        print_json({"manifest": str(output), "by": by, **summary})
        return
    print_table(
        ["groups", "with several photos", "largest", "photos without"], [[str(value) for value in summary.values()]]
    )
    click.echo(f"column {by} → {output}")

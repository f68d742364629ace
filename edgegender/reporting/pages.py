"""HTML pages that are one file each: no address is asked for anything, and no text of a stranger becomes markup."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender import files
from edgegender.errors import MissingDependencyError
from edgegender.reporting.thumbnails import encode_data_uri, read_whole

if TYPE_CHECKING:
    from jinja2 import Environment

_NO_SCRIPT = "'none'"


@dataclass(frozen=True)
class Picture:
    """A small picture in a page, or why there is none.

    Args:
        uri: ``data:`` address of a JPEG; empty where there is no picture.
        width_px: Of the picture.
        height_px: Of the picture.
        problem: Why there is none; else empty.
    """

    uri: str
    width_px: int
    height_px: int
    problem: str = ""


def read_picture(file: Path, longest_px: int) -> Picture:
    """Returns a photo for a page, whole, and small enough that many fit into one file.

    Args:
        file: The photo.
        longest_px: Longer side at most.
    """
    thumbnail = read_whole(file, longest_px=longest_px)
    if thumbnail.image_rgb is None:
        return Picture("", 0, 0, thumbnail.problem)
    height, width = thumbnail.image_rgb.shape[:2]
    return Picture(encode_data_uri(thumbnail.image_rgb), width, height)


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError("Jinja2", extra="report") from error
    return Environment(
        loader=PackageLoader("edgegender.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, template: str, values: Mapping[str, object], *, script: str = "") -> None:
    """Writes a page from a template of this package, whole or not at all.

    The page's own policy (CSP) lets it run the one script that the package holds, and load nothing. Pictures are read
    while the page is written, one at a time: the page is never in memory as a whole.

    Args:
        path: Where.
        template: Name of the template's file.
        values: What the template names. All text is escaped. ``picture(file, longest_px)`` is there for photos.
        script: Name of the script's file, for a page that needs one.

    Raises:
        MissingDependencyError: Jinja2 is not installed.
        OutputError: The file cannot be written.
    """
    environment = _environment()
    policy, code = _NO_SCRIPT, ""
    if script:
        from markupsafe import Markup

        source = (Path(__file__).parent / "templates" / script).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
        policy, code = f"'sha256-{digest}'", Markup(source)  # noqa: S704 - our own file, nothing is put into it
    chunks = environment.get_template(template).generate(
        picture=read_picture, script=code, script_policy=policy, **values
    )
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="") as out:
        out.writelines(chunks)

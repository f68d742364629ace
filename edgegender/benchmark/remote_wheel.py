"""The installed edgegender as a wheel, so that another machine runs the very same code."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from importlib import metadata
from pathlib import Path

import edgegender
from edgegender.errors import MeasurementError

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold: the same files give the same bytes
_WHEEL = "Wheel-Version: 1.0\nGenerator: edgegender\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _package_files(package: Path) -> dict[str, bytes]:
    """Returns the package's files by their names in the wheel."""
    found = {}
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found[str(path.relative_to(package.parent))] = path.read_bytes()
    return found


def _metadata_text(*, has_litert: bool) -> str:
    try:
        text = metadata.distribution("edgegender").read_text("METADATA")
    except metadata.PackageNotFoundError:
        text = None
    if not text:
        raise MeasurementError(
            "Expected an installed edgegender, got its files alone.",
            hint="pip install -e . in its folder, or name a wheel: --option wheel=PATH",
        )
    if not has_litert:
        text = re.sub(r"^Requires-Dist: ai-edge-litert\b.*\n", "", text, flags=re.MULTILINE)
    # an editable installation may be older than the code that it points to
    return re.sub(r"^Version: .*$", f"Version: {edgegender.__version__}", text, count=1, flags=re.MULTILINE)


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def pack_wheel(*, has_litert: bool = True) -> tuple[str, bytes]:
    """Returns (file name, content) of a wheel of the edgegender that runs now, the same bytes for the same files.

    Args:
        has_litert: Whether it asks for LiteRT. A 32-bit system under a 64-bit kernel calls itself 64-bit, so that no
            condition in the wheel could leave it out there.

    Raises:
        MeasurementError: It is not installed as a distribution, so that nobody knows what it needs.

    Source:
        Binary distribution format, https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    version = edgegender.__version__
    information = f"edgegender-{version}.dist-info"
    contents = _package_files(Path(edgegender.__file__).parent)
    contents[f"{information}/METADATA"] = _metadata_text(has_litert=has_litert).encode()
    contents[f"{information}/WHEEL"] = _WHEEL.encode()
    lines = [_record_line(name, content) for name, content in contents.items()]
    contents[f"{information}/RECORD"] = "".join([*lines, f"{information}/RECORD,,\n"]).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, _FIRST_DATE)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return f"edgegender-{version}-py3-none-any.whl", stream.getvalue()

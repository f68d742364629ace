"""LiteRT.js: where its files are, fetched once from a pinned address, or taken from a folder that the user has.

It is not part of this package (four WebAssembly builds of 9 MB each).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgegender import downloads
from edgegender.downloads import DownloadableModel
from edgegender.errors import DownloadError, UsageError
from edgegender.progress import Progress, no_progress

CORE = DownloadableModel(
    name="litertjs",
    purpose="LiteRT.js: runs networks in a phone's browser, for benchmark --target browser",
    file_name="litertjs-core-2.5.3.tgz",
    url="https://registry.npmjs.org/@litertjs/core/-/core-2.5.3.tgz",
    sha256="a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd",
    size_bytes=11_817_097,
    license="Apache-2.0",
    source="https://github.com/google-ai-edge/LiteRT",
)
WASM_UTILS = DownloadableModel(
    name="litertjs-wasm-utils",
    purpose="a part of LiteRT.js",
    file_name="litertjs-wasm-utils-2.5.3.tgz",
    url="https://registry.npmjs.org/@litertjs/wasm-utils/-/wasm-utils-2.5.3.tgz",
    sha256="ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7",
    size_bytes=4_698,
    license="Apache-2.0",
    source="https://github.com/google-ai-edge/LiteRT",
)
_WASM_BUILDS = ("internal", "compat_internal", "threaded_internal", "jspi_internal")
# what the page asks for → the file in the packages
SERVED: Mapping[str, tuple[str, str]] = {
    "core/dist/index.js": ("core", "dist/index.js"),
    "wasm-utils/dist/index.js": ("wasm-utils", "dist/index.js"),
    **{
        f"core/wasm/litert_wasm_{build}.{suffix}": ("core", f"wasm/litert_wasm_{build}.{suffix}")
        for build in _WASM_BUILDS
        for suffix in ("js", "wasm")
    },
}
_HINT = "Run npm install @litertjs/core in a folder and name it: --option litertjs=FOLDER"


class LiteRtJs(Protocol):
    """The files of LiteRT.js."""

    @property
    def version(self) -> str:
        """Its version."""

    def read(self, name: str) -> bytes:
        """Returns a file's bytes.

        Args:
            name: One of ``SERVED``.
        """


@dataclass(frozen=True)
class _Folders:
    """Unpacked npm packages."""

    version: str
    folders: Mapping[str, Path]

    def read(self, name: str) -> bytes:
        package, path = SERVED[name]
        return (self.folders[package] / path).read_bytes()


@dataclass(frozen=True)
class _Contents:
    """The files of npm packages as they come from the registry, held to their sha256."""

    version: str
    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        return self.contents[name]


def _read_archive(package: str, path: Path) -> dict[str, bytes]:
    """Returns what is served of a package, read in one pass: to find a member is to unpack all before it."""
    wanted = {f"package/{inside}": name for name, (owner, inside) in SERVED.items() if owner == package}
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name in wanted and member.isreg() else None
            if stream is not None:
                with stream:
                    found[wanted[member.name]] = stream.read()
    return found


def _version_of(package: Path) -> str:
    path = package / "package.json"
    try:
        version = json.loads(path.read_text("utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"Expected the npm package @litertjs/core, got no readable {path}.", hint=_HINT) from error
    return str(version)[:40]


def find_litertjs(folder: Path) -> LiteRtJs:
    """Returns LiteRT.js as npm unpacked it.

    Args:
        folder: Where ``npm install @litertjs/core`` was run, its ``node_modules``, or ``node_modules/@litertjs/core``.

    Raises:
        UsageError: The packages are not there, or a file of theirs is missing.
    """
    for scope in (folder / "node_modules/@litertjs", folder / "@litertjs", folder, folder.parent):
        packages = {"core": scope / "core", "wasm-utils": scope / "wasm-utils"}
        if all((package / "package.json").is_file() for package in packages.values()):
            missing = [name for name, (package, path) in SERVED.items() if not (packages[package] / path).is_file()]
            if missing:
                raise UsageError(f"Expected all files of LiteRT.js, got no {missing[0]} ({scope}).", hint=_HINT)
            return _Folders(_version_of(packages["core"]), packages)
    raise UsageError(f"Expected the npm packages @litertjs/core and wasm-utils, got neither ({folder}).", hint=_HINT)


def pull_litertjs(folder: Path, *, on_progress: Progress = no_progress) -> LiteRtJs:
    """Returns LiteRT.js of the pinned version, fetched into ``folder`` unless it is there.

    Args:
        folder: The user's folder for what was fetched.
        on_progress: Called with (bytes that have arrived, bytes in all).

    Raises:
        DownloadError: The registry cannot be reached, or has another file.
        OutputError: The folder cannot be written.
    """
    try:
        core = downloads.pull(CORE, folder=folder, on_progress=on_progress)
        wasm_utils = downloads.pull(WASM_UTILS, folder=folder)
    except DownloadError as error:
        raise DownloadError(str(error), hint=_HINT) from error
    version = CORE.file_name.removeprefix("litertjs-core-").removesuffix(".tgz")
    return _Contents(version, {**_read_archive("core", core), **_read_archive("wasm-utils", wasm_utils)})

"""LiteRT.js as npm brings it, once a run of the tests."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgegender import files
from edgegender.benchmark.browser_litertjs import CORE, WASM_UTILS

_SECONDS = 120


def pack_litertjs(folder: Path) -> Path:
    """Returns a folder with the two archives of the pinned version, or skips the test."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: install it with apt-get install npm")
    folder.mkdir(parents=True, exist_ok=True)
    version = CORE.file_name.removeprefix("litertjs-core-").removesuffix(".tgz")
    names = [f"@litertjs/{name}@{version}" for name in ("core", "wasm-utils")]
    command = [npm, "pack", "--silent", *names]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode:
        pytest.skip(f"npm pack failed: {done.stderr.strip()[-200:]}")
    for archive in (CORE, WASM_UTILS):
        assert files.hash_file(folder / archive.file_name) == archive.sha256
    return folder


def unpack_litertjs(archives: Path, folder: Path) -> Path:
    """Unpacks the archives as npm install does, and returns the folder that it would have been run in."""
    for archive, name in ((CORE, "core"), (WASM_UTILS, "wasm-utils")):
        package = folder / "node_modules" / "@litertjs" / name
        with tarfile.open(archives / archive.file_name) as tar:
            for member in tar.getmembers():
                target = package / member.name.removeprefix("package/")
                stream = tar.extractfile(member)
                if stream is not None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with stream:
                        target.write_bytes(stream.read())
    return folder

"""Weights files, read without trusting them: numbers go into a network that stands in code, and nothing else happens.

A whole Keras file also holds a graph, and a graph from a file can run code (CVE-2024-3660, CVE-2025-1550,
CVE-2025-9905, CVE-2026-1462). Here only :meth:`keras.Model.load_weights` reads files, which builds no graph and
unpickles nothing. HDF5, the container of all these files, can also name other files of the machine and declare arrays
that fill its memory: :func:`check_hdf5` looks for that before Keras sees the file.

What this cannot do is to mend the HDF5 library itself: a file from nowhere is still parsed by C code.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from edgegender.errors import UsageError

if TYPE_CHECKING:
    import h5py
    import keras

ENDINGS = (".weights.h5", ".h5", ".hdf5", ".keras")
# Source: keras/src/saving/saving_lib.py, _VARS_FNAME_H5
_KERAS_MEMBER = "model.weights.h5"
# InceptionV3 with head and optimizer has some 3000 groups and arrays
_MAX_OBJECTS = 100_000
_MAX_NUMBER_BYTES = 8
# A file may hold an optimizer's two or three moments of each weight, and a head that is larger than the new one's
_SIZE_FACTOR = 8
_SIZE_FLOOR_BYTES = 1 << 30
_COPY_BYTES = 1 << 20


class _RefusedError(Exception):
    """What a weights file holds that no weights file needs."""


def _check_attributes(found: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> None:
    import h5py

    allowed = (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT)
    for index in range(h5py.h5a.get_num_attrs(found)):
        if h5py.h5a.open(found, index=index).get_type().get_class() not in allowed:
            raise _RefusedError("an attribute that is neither text nor number")


def _check_names(group: h5py.h5g.GroupID) -> None:
    """Refuses lists of names that name an array twice: all of a list are read before one is compared."""
    import h5py
    import numpy as np

    seen: set[tuple[str, str]] = set()
    for attribute, value in h5py.Group(group).attrs.items():
        if np.ndim(value) == 0:
            continue
        stem = attribute.rstrip("0123456789")  # a long list is written as weight_names0, weight_names1, …
        names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in np.ravel(value)]
        for name in names:
            if (stem, name) in seen or {".", ".."} & set(name.split("/")):
                raise _RefusedError("an array that is named twice")
            seen.add((stem, name))


def _dataset_bytes(dataset: h5py.h5d.DatasetID) -> int:
    """Returns the bytes that reading an array takes; refuses what is no plain array of numbers in this file."""
    import h5py

    plan = dataset.get_create_plist()
    # Before the shape is asked for: that of a virtual array can depend on the files it is made of
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        raise _RefusedError("a virtual array, made of other files")
    if plan.get_external_count():
        raise _RefusedError("an array with external storage, in another file")
    if plan.get_nfilters():
        # Keras writes none; one can unpack to any size, or load a library
        raise _RefusedError("a compressed array")
    kind = dataset.get_type()
    if kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or kind.get_size() > _MAX_NUMBER_BYTES:
        raise _RefusedError("an array of something else than numbers")
    count = math.prod(dataset.shape)
    if plan.get_layout() == h5py.h5d.CHUNKED:
        count = max(count, math.prod(plan.get_chunk()))
    size_bytes = int(count * kind.get_size())
    if dataset.get_storage_size() < size_bytes:
        raise _RefusedError("an array that declares more than the file holds")
    return size_bytes


def _check_tree(root: h5py.h5g.GroupID, max_bytes: int) -> None:
    """Walks all groups by their low-level links, which follow nothing."""
    import h5py

    addresses = {h5py.h5o.get_info(root).addr}
    groups, left_bytes = [root], max_bytes
    while groups:
        group = groups.pop()
        _check_attributes(group)
        _check_names(group)
        for name in group:
            if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                raise _RefusedError("a soft or external link")
            address = h5py.h5o.get_info(group, name).addr
            if address in addresses:
                raise _RefusedError("a group or array that is linked twice")  # also how a loop begins
            addresses.add(address)
            if len(addresses) > _MAX_OBJECTS:
                raise _RefusedError(f"more than {_MAX_OBJECTS} groups and arrays")
            found = h5py.h5o.open(group, name)
            if isinstance(found, h5py.h5g.GroupID):
                groups.append(found)
                continue
            if not isinstance(found, h5py.h5d.DatasetID):
                raise _RefusedError("something else than groups and arrays")
            _check_attributes(found)
            left_bytes -= _dataset_bytes(found)
            if left_bytes < 0:
                raise _RefusedError(f"arrays of more than {max_bytes >> 20} MiB")


def check_hdf5(file: Path, *, max_bytes: int) -> None:
    """Makes sure that an HDF5 file is a tree of plain arrays of numbers, all in this one file.

    Refused are soft, external and user-defined links, loops, virtual arrays, external storage, compression, arrays of
    text, objects or anything that is no number, arrays that are larger than what stands in the file, and sizes that
    no such network has. What passes takes no more memory than it has bytes.

    Args:
        file: The file; its content is not read, only its structure.
        max_bytes: The most that all arrays together may declare, and the file have.

    Raises:
        UsageError: The file is damaged or holds one of these.
    """
    import h5py

    try:
        if file.stat().st_size > max_bytes:
            raise _RefusedError(f"more than {max_bytes >> 20} MiB")  # noqa: TRY301 - one message for all of these
        with h5py.File(file, "r") as opened:
            _check_tree(h5py.h5g.open(opened.id, b"/"), max_bytes)
    except _RefusedError as error:
        raise UsageError(
            f"Expected a weights file with arrays of numbers alone, got {error} ({file}).",
            hint="Do not use this file if it came from someone else: Keras writes no such thing.",
        ) from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"Expected a weights file, got a damaged one or none ({file}).", hint="Fetch or write the file again."
        ) from error


def _extract(archive: Path, target: Path, max_bytes: int) -> None:
    """Writes the weights out of a ``.keras`` file, and never more than allowed, whatever its directory says."""
    too_large = UsageError(
        f"Expected weights of at most {max_bytes >> 20} MiB, got more ({archive}).",
        hint="Use a file of the same network.",
    )
    try:
        with ZipFile(archive) as opened:
            if opened.getinfo(_KERAS_MEMBER).file_size > max_bytes:
                raise too_large
            with opened.open(_KERAS_MEMBER) as source, target.open("wb") as copy:
                left_bytes = max_bytes
                while block := source.read(_COPY_BYTES):
                    left_bytes -= len(block)
                    if left_bytes < 0:
                        raise too_large
                    copy.write(block)
    except (BadZipFile, KeyError, OSError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise UsageError(
            f"Expected a .keras file with {_KERAS_MEMBER} in it, got another or a damaged one ({archive}).",
            hint="Write it again, or use a .weights.h5.",
        ) from error


@contextlib.contextmanager
def checked_hdf5(file: Path, *, max_bytes: int) -> Iterator[Path]:
    """Gives the HDF5 file of a weights file, checked; it is gone after the block where it came out of a ``.keras``.

    Args:
        file: One of ``ENDINGS``.
        max_bytes: See :func:`check_hdf5`.

    Raises:
        UsageError: There is no such file, its ending is another, it is damaged, or it holds more than weights.
    """
    if not file.is_file():
        raise UsageError(f"Expected a weights file, got nothing at {file}.", hint="Name an existing .weights.h5.")
    if not file.name.endswith(ENDINGS):
        raise UsageError(
            f"Expected a weights file that ends in {', '.join(ENDINGS)}, got {file}.",
            hint="Save the network's weights with model.save_weights('name.weights.h5').",
        )
    if not file.name.endswith(".keras"):
        check_hdf5(file, max_bytes=max_bytes)
        yield file.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="edgegender-") as folder:
        extracted = Path(folder) / _KERAS_MEMBER
        _extract(file, extracted, max_bytes)
        check_hdf5(extracted, max_bytes=max_bytes)
        yield extracted


def max_file_bytes(model: keras.Model) -> int:
    """Returns how large the weights file of a network may be: 8 times its float32 weights and 1 GiB."""
    return _SIZE_FLOOR_BYTES + _SIZE_FACTOR * 4 * int(model.count_params())


@contextlib.contextmanager
def _whole_weights() -> Iterator[None]:
    """Makes Keras refuse weights that fit only in part, where it would warn and leave the rest at random.

    Raises:
        ValueError: The file loaded in the block is damaged, no weights file, or of another network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            yield
    # what Keras and h5py raise on files that are not as they expect: they check little before they read
    except (OSError, LookupError, TypeError, AttributeError, RuntimeError, BadZipFile, UserWarning) as error:
        raise ValueError(str(error)) from error


def load_weights_into(
    model: keras.Model,
    file: Path,
    *,
    expected: str,
    hint: str = "Use a file of the same network and width, saved without its top.",
) -> None:
    """Reads weights into a network that stands in code, all of them or with an error.

    Args:
        model: The network; after an error its weights are undefined.
        file: ``.weights.h5``, ``.keras`` (only its weights are read), or ``.h5`` as ``keras.applications`` downloads.
        expected: Whose weights, for the message where the file is of another network.
        hint: What to do then.

    Raises:
        UsageError: The file is missing, damaged, hostile, or of another network or shape.
    """
    with checked_hdf5(file, max_bytes=max_file_bytes(model)) as checked:
        try:
            with _whole_weights():
                model.load_weights(checked)
        except ValueError as error:
            raise UsageError(f"Expected {expected}, got others ({file}).", hint=hint) from error

"""What an HDF5 file may hold, and all that it may not, each crafted by the library that reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import UsageError
from edgegender.training.weights_file import check_hdf5, checked_hdf5

h5py = pytest.importorskip("h5py", reason="the [train] extra is not installed")

MIB = 1 << 20
Alter = Callable[["h5py.File", Path], object]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A small file of the form that Keras writes, and another beside it with something to steal."""
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["key"] = np.arange(4.0)
    (tmp_path / "secret.bin").write_bytes(np.arange(4.0).tobytes())
    with h5py.File(tmp_path / "plain.weights.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = np.zeros((3, 4), np.float32)
        group["1"] = np.zeros(4, np.float32)
        group["2"] = np.uint32([1, 2])
        group.attrs["name"] = "dense"
        file.attrs["layer_names"] = np.array([b"dense", b"scores"])
    return tmp_path / "plain.weights.h5"


def test_a_plain_file_passes(plain: Path) -> None:
    check_hdf5(plain, max_bytes=MIB)
    with checked_hdf5(plain, max_bytes=MIB) as checked:
        assert checked.samefile(plain)


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "key", shape=(4,))
    file.create_virtual_dataset("stolen", layout)


def _text(file: h5py.File, _: Path) -> None:
    file.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())


def _ragged(file: h5py.File, _: Path) -> None:
    file.create_dataset("ragged", shape=(2,), dtype=h5py.vlen_dtype(np.float32))


def _reference(file: h5py.File, _: Path) -> None:
    file.create_dataset("reference", data=file["layers"].ref, dtype=h5py.ref_dtype)


def _opaque(file: h5py.File, _: Path) -> None:
    file.create_dataset("opaque", data=np.zeros(2, "V8"))


def _reference_attribute(file: h5py.File, _: Path) -> None:
    file["layers"].attrs.create("pointer", file.ref, dtype=h5py.ref_dtype)


def _name_in_two_lists(file: h5py.File, _: Path) -> None:
    for number in (0, 1):
        file["layers"].attrs[f"weight_names{number}"] = np.array([b"dense/vars/0"])


def _loop(file: h5py.File, _: Path) -> None:
    file["layers/dense/again"] = file["layers"]


def _twice(file: h5py.File, _: Path) -> None:
    file["again"] = file["layers/dense/vars/0"]


HOSTILE: dict[str, tuple[Alter, str]] = {
    "external link": (
        lambda file, folder: _set(file, h5py.ExternalLink(folder / "secret.h5", "/key")),
        "a soft or ext",
    ),
    "soft link": (lambda file, _: _set(file, h5py.SoftLink("/layers/dense/vars/0")), "a soft or external link"),
    "soft link to itself": (lambda file, _: _set(file, h5py.SoftLink("/stolen")), "a soft or external link"),
    "external storage": (
        lambda file, folder: file.create_dataset(
            "stolen", (4,), "f8", external=[(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        ),
        "an array with external storage",
    ),
    "virtual": (_virtual, "a virtual array"),
    "compressed": (
        lambda file, _: file.create_dataset("bomb", data=np.zeros(1000), compression="gzip"),
        "a compressed array",
    ),
    "shuffled": (lambda file, _: file.create_dataset("bomb", data=np.zeros(9), shuffle=True), "a compressed array"),
    "huge": (
        lambda file, _: file.create_dataset("huge", (1 << 40,), "f8", chunks=(1 << 16,)),
        "an array that declares more than the file holds",
    ),
    "never written": (
        lambda file, _: file.create_dataset("huge", (1 << 20,), "f8"),
        "an array that declares more than the file holds",
    ),
    "huge chunk": (
        lambda file, _: file.create_dataset("huge", (4,), "f4", chunks=(1 << 20,), maxshape=(None,)),
        "an array that declares more than the file holds",
    ),
    "named twice": (
        lambda file, _: file["layers"].attrs.create("weight_names", np.array([b"dense/vars/0"] * 2)),
        "an array that is named twice",
    ),
    "named twice in two lists": (_name_in_two_lists, "an array that is named twice"),
    "named by a detour": (
        lambda file, _: file["layers"].attrs.create("weight_names", np.array([b"dense/vars/0", b"dense/./vars/0"])),
        "an array that is named twice",
    ),
    "text": (_text, "an array of something else than numbers"),
    "ragged": (_ragged, "an array of something else than numbers"),
    "reference": (_reference, "an array of something else than numbers"),
    "opaque": (_opaque, "an array of something else than numbers"),
    "complex": (lambda file, _: _set(file, np.zeros(2, np.complex64)), "an array of something else than numbers"),
    "compound": (lambda file, _: _set(file, np.zeros(2, "f4,i4")), "an array of something else than numbers"),
    "long double": (lambda file, _: _set(file, np.zeros(2, np.longdouble)), "an array of something else than numbers"),
    "named type": (lambda file, _: _set(file, np.dtype("f8")), "something else than groups and arrays"),
    "reference attribute": (_reference_attribute, "an attribute that is neither text nor number"),
    "loop of groups": (_loop, "a group or array that is linked twice"),
    "array twice": (_twice, "a group or array that is linked twice"),
}


def _set(file: h5py.File, value: object) -> None:
    file["stolen"] = value


@pytest.mark.parametrize(("alter", "found"), HOSTILE.values(), ids=HOSTILE)
def test_what_no_weights_file_needs_is_refused(plain: Path, alter: Alter, found: str) -> None:
    with h5py.File(plain, "r+") as file:
        alter(file, plain.parent)
    with pytest.raises(
        UsageError, match=f"Expected a weights file with arrays of numbers alone, got {found}"
    ) as caught:
        check_hdf5(plain, max_bytes=MIB)
    assert str(plain) in str(caught.value)
    assert "came from someone else" in caught.value.hint


@pytest.mark.parametrize("name", ["external link", "external storage", "virtual"])
def test_the_library_itself_would_read_the_other_file(plain: Path, name: str) -> None:
    """Without this the three cases above could be refused for another reason than the danger."""
    with h5py.File(plain, "r+") as file:
        HOSTILE[name][0](file, plain.parent)
    with h5py.File(plain, "r") as file:
        np.testing.assert_array_equal(file["stolen"][...], np.arange(4.0))


def test_a_link_of_a_class_of_its_own_is_refused(plain: Path) -> None:
    """HDF5 calls a library's own function for such a link."""
    with h5py.File(plain, "r+") as file:
        file.create_group("new")["stolen"] = h5py.ExternalLink("other.h5", "/key")
    content = plain.read_bytes()
    assert content.count(b"\x40\x06stolen") == 1  # class 64, external; the name's length and the name
    plain.write_bytes(content.replace(b"\x40\x06stolen", b"\x41\x06stolen"))
    with pytest.raises(UsageError, match="got a soft or external link"):
        check_hdf5(plain, max_bytes=MIB)


def test_arrays_that_share_their_bytes_count_each(plain: Path) -> None:
    """Otherwise a small file could fill the memory."""
    size_bytes = MIB * 6 // 10
    with h5py.File(plain, "r+") as file:
        file["first"] = np.zeros(size_bytes, np.uint8)
        file.create_dataset("second", (size_bytes,), np.uint8)  # never written: it has no address yet
        address = file["first"].id.get_offset()
    content, size = plain.read_bytes(), size_bytes.to_bytes(8, "little")
    nowhere = b"\x03\x01" + b"\xff" * 8 + size  # the message of an array's layout: version, contiguous, address, size
    assert content.count(nowhere) == 1
    plain.write_bytes(content.replace(nowhere, b"\x03\x01" + address.to_bytes(8, "little") + size))
    with pytest.raises(UsageError, match="got arrays of more than 1 MiB"):
        check_hdf5(plain, max_bytes=MIB)
    check_hdf5(plain, max_bytes=2 * MIB)


def test_many_groups_are_refused(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegender.training import weights_file

    monkeypatch.setattr(weights_file, "_MAX_OBJECTS", 5)
    with pytest.raises(UsageError, match="got more than 5 groups and arrays"):
        check_hdf5(plain, max_bytes=MIB)


def test_deep_groups_do_not_exhaust_the_stack(plain: Path) -> None:
    with h5py.File(plain, "r+") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("d")
    check_hdf5(plain, max_bytes=4 * MIB)


def test_a_larger_file_than_allowed_is_refused_unopened(plain: Path) -> None:
    with pytest.raises(UsageError, match="got more than 0 MiB"):
        check_hdf5(plain, max_bytes=100)


def test_each_damage_is_one_error(plain: Path) -> None:
    content = plain.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), 8):
            damaged[position] = generator.integers(0, 256)
        plain.write_bytes(damaged[: generator.integers(1, len(content))] if generator.random() < 0.3 else damaged)
        try:
            check_hdf5(plain, max_bytes=MIB)
        except UsageError as error:
            refused += 1
            assert str(error).startswith("Expected a weights file")  # noqa: PT017 - most damage is found, not all
    assert refused > 100


# Inside of a .keras file


def write_keras(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_only_the_weights_are_taken_out_of_a_keras_file_and_are_gone_afterwards(plain: Path, tmp_path: Path) -> None:
    content = plain.read_bytes()
    path = write_keras(tmp_path / "m.keras", {"config.json": b"{}", "../evil": b"x", "model.weights.h5": content})
    with checked_hdf5(path, max_bytes=MIB) as checked:
        assert checked.read_bytes() == content
        assert [entry.name for entry in checked.parent.iterdir()] == ["model.weights.h5"]
    assert not checked.parent.exists()
    assert not (tmp_path.parent / "evil").exists()


def test_the_weights_inside_of_a_keras_file_are_checked_too(plain: Path, tmp_path: Path) -> None:
    with h5py.File(plain, "r+") as file:
        HOSTILE["external link"][0](file, plain.parent)
    path = write_keras(tmp_path / "m.keras", {"model.weights.h5": plain.read_bytes()})
    with (
        pytest.raises(UsageError, match="arrays of numbers alone, got a soft or external link"),
        checked_hdf5(path, max_bytes=MIB),
    ):
        pytest.fail("it was given out")


def test_a_zip_bomb_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", {"model.weights.h5": bytes(50 * MIB)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < MIB
    with (
        pytest.raises(UsageError, match="Expected weights of at most 1 MiB, got more"),
        checked_hdf5(path, max_bytes=MIB),
    ):
        pytest.fail("it was given out")


def test_a_zip_bomb_that_lies_about_its_size_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_keras(tmp_path / "m.keras", {"model.weights.h5": bytes(50 * MIB)}, zipfile.ZIP_DEFLATED)
    size = (50 * MIB).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))  # in both of its headers
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with pytest.raises(UsageError, match="Expected"), checked_hdf5(path, max_bytes=MIB):
        pytest.fail("it was given out")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    "members", [{"config.json": b"{}"}, {"model.weights.npz": b""}, None], ids=["no weights", "npz", "no zip"]
)
def test_a_keras_file_without_weights_is_refused(tmp_path: Path, members: dict[str, bytes] | None) -> None:
    path = tmp_path / "m.keras"
    path.write_text("no zip") if members is None else write_keras(path, members)
    with (
        pytest.raises(UsageError, match=r"Expected a \.keras file with model\.weights\.h5 in it") as caught,
        checked_hdf5(path, max_bytes=MIB),
    ):
        pytest.fail("it was given out")
    assert caught.value.hint


def test_damaged_keras_files_are_one_error(plain: Path, tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", {"model.weights.h5": plain.read_bytes()}, zipfile.ZIP_DEFLATED)
    content, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), 4):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            with checked_hdf5(path, max_bytes=MIB):
                pass
        except UsageError as error:
            assert str(error).startswith("Expected ")  # noqa: PT017 - harmless damage passes

"""What a ``.keras`` file may say of a network, and all that it may not: nothing that stands in it is run."""

from __future__ import annotations

import copy
import importlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import UsageError
from edgegender.training import network_config, network_file
from edgegender.training.network_config import ACTIVATIONS, LAYERS, OPERATIONS, clean_network, is_augmentation
from edgegender.training.network_file import load_network

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

Config = dict[str, object]
WHERE = "mine.keras"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network: photo, conv, flat, answer."""
    inputs = keras.Input((16, 16, 3), name="photo")
    flat = keras.layers.Flatten(name="flat")(keras.layers.Conv2D(4, 16, activation="relu", name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="answer")(flat), name="mine")
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    model.save(path)
    return path


@pytest.fixture
def config(plain: Path) -> Config:
    with zipfile.ZipFile(plain) as archive:
        return json.loads(archive.read("config.json"))


def layer(config: Config, name: str) -> Config:
    return next(found for found in config["config"]["layers"] if found["name"] == name)


def with_members(source: Path, target: Path, **members: bytes | None) -> Path:
    """Writes a copy of a file with other members: ``config_json=…`` is ``config.json``; ``None`` leaves one out."""
    new = {name.replace("_json", ".json").replace("_h5", ".h5").replace("_weights", ".weights"): content
           for name, content in members.items()}  # fmt: skip
    with zipfile.ZipFile(source) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | new
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)
    return target


def with_config(plain: Path, folder: Path, config: object) -> Path:
    return with_members(plain, folder / WHERE, config_json=json.dumps(config).encode())


# Code in a file


@pytest.fixture
def armed(tmp_path: Path) -> tuple[Path, Path]:
    """A file as Keras writes it, and the file that its Lambda writes when it is run."""
    marker = tmp_path / "it-ran"

    path = str(marker)

    def run(inputs: object) -> object:
        open(path, "w").close()  # noqa: PTH123 - the function is stored as bytecode: it brings no imports
        return inputs

    inputs = keras.Input((16, 16, 3), name="photo")
    answer = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs))
    # Keras writes a named function as its name, a lambda as its bytecode
    run.__name__ = "<lambda>"
    model = keras.Model(inputs, keras.layers.Lambda(run, name="evil")(answer), name="mine")
    model.save(tmp_path / "armed.keras")
    marker.unlink()
    return tmp_path / "armed.keras", marker


def test_the_library_itself_runs_the_file(armed: tuple[Path, Path]) -> None:
    """Without this the tests below could pass because nothing in the file can run."""
    path, marker = armed
    keras.models.load_model(path, safe_mode=False)
    assert marker.exists()


@pytest.mark.parametrize("is_unsafe", [False, True])
def test_code_in_a_file_is_refused_and_does_not_run(armed: tuple[Path, Path], is_unsafe: bool) -> None:
    path, marker = armed
    with (
        keras.src.saving.serialization_lib.SafeModeScope(safe_mode=not is_unsafe),
        pytest.raises(
            UsageError, match=r"built into Keras .*got 'Lambda of keras.layers' \(layer 'evil', .*armed.keras"
        ) as caught,
    ):
        load_network(path)
    assert "It can run any code" in caught.value.hint
    assert not marker.exists()


def bytecode(path: Path) -> object:
    """Returns the description of the function in the armed file."""
    with zipfile.ZipFile(path) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    return layers[-1]["config"]["function"]


@pytest.mark.parametrize("key", ["kernel_initializer", "kernel_regularizer", "bias_constraint", "seed"])
def test_code_where_only_training_would_look_is_not_even_read(
    key: str, armed: tuple[Path, Path], plain: Path, config: Config, tmp_path: Path
) -> None:
    path, marker = armed
    layer(config, "answer")["config"][key] = bytecode(path)
    config["compile_config"] = {"optimizer": "adam", "loss": bytecode(path)}
    config["build_config"] = bytecode(path)
    with keras.src.saving.serialization_lib.SafeModeScope(safe_mode=False):
        model = load_network(with_config(plain, tmp_path, config))
    assert not marker.exists()
    assert "lambda" not in json.dumps(model.get_config())


@pytest.mark.parametrize("key", ["activation", "units", "use_bias", "dtype", "quantization_config", "anything"])
def test_code_in_place_of_a_setting_is_refused(
    key: str, armed: tuple[Path, Path], plain: Path, config: Config, tmp_path: Path
) -> None:
    path, marker = armed
    layer(config, "answer")["config"][key] = bytecode(path)
    with (
        keras.src.saving.serialization_lib.SafeModeScope(safe_mode=False),
        pytest.raises(UsageError, match=r"Expected .* \(layer 'answer', .*mine.keras\)"),
    ):
        load_network(with_config(plain, tmp_path, config))
    assert not marker.exists()


# Layers that are on no list

OBJECTS: dict[str, tuple[str, str, str | None]] = {
    "a layer of the user": ("my.package", "MyLayer", "my>MyLayer"),
    "a layer of no module": (None, "MyLayer", None),
    "a registered layer under a known name": ("keras.layers", "Dense", "my>Dense"),
    "a function of the system": ("os", "system", None),
    "a class of Python": ("builtins", "object", None),
    "a function of Keras": ("keras.config", "enable_unsafe_deserialization", None),
    "a download": ("keras.utils", "get_file", None),
    "a module to import": ("keras.src.applications.convnext.evil", "LayerScale", None),
    "a layer in a wrong module": ("keras.src.layers.core.dense", "Dense", None),
    "an operation without a list": ("keras.src.ops.numpy", "Einsum", None),
    "a function": ("builtins", "function", "function"),
    "bytecode": ("keras.layers", "__lambda__", None),
    "a type of TensorFlow": ("builtins", "__typespec__", None),
    "a SavedModel": ("keras.layers", "TFSMLayer", None),
    "a module of PyTorch": ("keras.layers", "TorchModuleWrapper", None),
    "a function of JAX": ("keras.layers", "JaxLayer", None),
    "a module of Flax": ("keras.layers", "FlaxLayer", None),
    "a vocabulary file": ("keras.layers", "StringLookup", None),
    "text": ("keras.layers", "TextVectorization", None),
    "an embedding": ("keras.layers", "Embedding", None),
    "a wrapper": ("keras.layers", "TimeDistributed", None),
    "a pipeline": ("keras.layers", "Pipeline", None),
    "a loop": ("keras.layers", "LSTM", None),
    "no text": ("keras.layers", ["Dense"], None),  # type: ignore[dict-item]
}


@pytest.mark.parametrize(("module", "class_name", "registered_name"), OBJECTS.values(), ids=OBJECTS)
def test_a_layer_on_no_list_is_refused(
    module: str | None, class_name: str, registered_name: str | None, config: Config
) -> None:
    found = layer(config, "answer")
    found |= {"module": module, "class_name": class_name, "registered_name": registered_name}
    with pytest.raises(UsageError, match=r"layers that are built into Keras.*layer 'answer', mine.keras\)") as caught:
        clean_network(config, where=WHERE)
    assert str(class_name) in str(caught.value)
    assert "It can run any code" in caught.value.hint or "layers of keras.layers" in caught.value.hint


@pytest.mark.parametrize("class_name", ["RandomFlip", "RandomRotation", "RandAugment", "MixUp"])
def test_augmentation_is_refused_with_a_hint(class_name: str, config: Config) -> None:
    assert is_augmentation(class_name)
    assert hasattr(keras.layers, class_name)
    layer(config, "flat")["class_name"] = class_name
    with pytest.raises(UsageError, match=f"got '{class_name} of keras.layers'") as caught:
        clean_network(config, where=WHERE)
    assert "Augmentation belongs outside" in caught.value.hint


@pytest.mark.parametrize(
    ("module", "class_name", "registered_name"),
    [
        ("os", "system", None),
        ("my", "MyModel", "my>MyModel"),
        ("keras.src.models.functional", "Functional", "my>MyModel"),
        ("keras.layers", "Dense", None),
        ("keras.models", "load_model", None),
        ("keras.src.engine.functional", "Functional", None),  # of Keras 2
        (None, None, None),
    ],
)
def test_what_is_no_plain_network_is_refused(
    module: str | None, class_name: str | None, registered_name: str | None, config: Config
) -> None:
    config |= {"module": module, "class_name": class_name, "registered_name": registered_name}
    with pytest.raises(UsageError, match="Expected a network of Keras 3, got") as caught:
        clean_network(config, where=WHERE)
    assert "layers of keras.layers" in caught.value.hint


def test_the_lists_name_what_keras_has() -> None:
    for name in LAYERS:
        assert isinstance(getattr(keras.layers, name), type), name
        assert not is_augmentation(name)
    for module, names in OPERATIONS.items():
        for name in names:
            found = getattr(importlib.import_module(module), name)
            assert issubclass(found, keras.Operation), name
    for name in ACTIVATIONS:
        assert callable(keras.activations.get(name))
    assert not LAYERS & {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "Layer", "Wrapper"}


def test_the_description_that_was_read_is_not_changed_and_only_known_parts_of_it_are_given(config: Config) -> None:
    config["unknown"] = layer(config, "conv")["unknown"] = "?"
    before = copy.deepcopy(config)
    cleaned = clean_network(config, where=WHERE)
    assert config == before
    assert set(cleaned) == {"module", "class_name", "config", "registered_name"}
    assert "?" not in json.dumps(cleaned)
    assert set(layer(cleaned, "conv")) == {"module", "class_name", "config", "registered_name", "name", "inbound_nodes"}


# Settings


def _set(name: str, key: str, value: object) -> Callable[[Config], None]:
    def alter(config: Config) -> None:
        layer(config, name)["config"][key] = value

    return alter


def _part(name: str, key: str, value: object) -> Callable[[Config], None]:
    def alter(config: Config) -> None:
        layer(config, name)[key] = value

    return alter


def _node(**parts: object) -> Callable[[Config], None]:
    def alter(config: Config) -> None:
        layer(config, "flat")["inbound_nodes"][0] |= parts

    return alter


def _top(key: str, value: object) -> Callable[[Config], None]:
    return lambda config: config["config"].update({key: value})


def _lists(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def _tensor(history: object) -> Config:
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": history}}


def _policy(class_name: str, **config: object) -> Config:
    return {"module": "keras", "class_name": class_name, "config": config, "registered_name": None}


SETTINGS: dict[str, tuple[Callable[[Config], None], str]] = {
    "an unknown activation": (_set("conv", "activation", "evil"), "an activation of keras.activations, got 'evil'"),
    "an activation of the user": (
        _set("conv", "activation", {"class_name": "function", "config": "relu", "module": "my.package"}),
        "an activation of keras.activations, got 'function of my.package'",
    ),
    "a function of Python": (
        _set("conv", "activation", {"class_name": "function", "config": "eval", "module": "builtins"}),
        "an activation of keras.activations, got 'eval'",
    ),
    "a layer as activation": (
        _set("conv", "activation", {"class_name": "Lambda", "config": {"name": "a"}, "module": "keras.layers"}),
        "an activation of keras.activations, got 'Lambda of keras.layers'",
    ),
    "a number as activation": (_set("conv", "activation", 3), "an activation of keras.activations, got '3'"),
    "an unknown word": (_set("conv", "padding", "/etc/passwd"), "numbers and known words, got '/etc/passwd'"),
    "an address": (_set("conv", "weights", "https://a.b/c.h5"), "numbers and known words, got 'https://a.b/c.h5'"),
    "an object": (
        _set("conv", "strides", {"class_name": "A", "module": "b", "config": {}}),
        "numbers and known words, got 'A of b'",
    ),
    "channels first": (_set("conv", "data_format", "channels_first"), "numbers and known words"),
    "a number without end": (_set("conv", "groups", float("inf")), "finite numbers, got 'inf'"),
    "a huge number": (_set("conv", "filters", 10**12), "whole numbers up to 1048576, got '1000000000000'"),
    "deep lists": (_set("conv", "strides", _lists(9)), "plain settings, got 'lists inside of lists"),
    "quantized weights": (_set("conv", "dtype", "int8_from_float32"), "floating-point numbers, got 'int8_from_"),
    "a quantized policy": (_set("conv", "dtype", _policy("QuantizedDTypePolicy")), "got 'QuantizedDTypePolicy'"),
    "a policy of bytes": (_set("conv", "dtype", _policy("DTypePolicy", name="uint8")), "got 'uint8'"),
    "an input of text": (_set("photo", "dtype", "string"), "floating-point numbers, got 'string'"),
    "a sparse input": (_set("photo", "sparse", True), "a layer without sparse, got 'True'"),
    "an adapter": (_set("answer", "lora_rank", 4), "a layer without lora_rank, got '4'"),
    "a name that is a path": (_set("conv", "name", "../conv"), "a short name of each layer, got '../conv'"),
    "a name that rings": (_set("conv", "name", "\x1b[31m\a"), r"a short name of each layer, got '\\x1b\[31m\\x07'"),
    "a long name": (_set("conv", "name", "a" * 201), "a short name of each layer, got 'aaa"),
    "two names": (_set("conv", "name", "other"), "the layer's own name in its network, got 'conv'"),
    "no settings": (_part("conv", "config", None), "a short name of each layer, got 'None'"),
    "no calls": (_part("conv", "inbound_nodes", None), "the calls of a layer, got 'None'"),
    "a call of Keras 2": (_part("conv", "inbound_nodes", [[["photo", 0, 0, {}]]]), "a layer's call as Keras 3 writes"),
    "a shared layer": (_part("conv", "shared_object_id", 7), "layers of one network each, got 'one that two"),
    "trained while called": (_node(kwargs={"training": True}), "called to predict, got 'training=True'"),
    "a call with text": (_node(kwargs={"path": "a"}), "numbers and known words, got 'a'"),
    "a call without arguments": (_node(args=None), "arguments, got 'None'"),
    "a call with an object": (_node(args=[{"class_name": "A", "config": {}}]), "known words, got 'A of None'"),
    "a call with deep lists": (_node(args=_lists(30)), "plain settings, got 'lists inside of lists"),
    "a tensor of nothing": (_node(args=[_tensor(None)]), "where a tensor comes from, got 'None'"),
    "a tensor of two parts": (_node(args=[_tensor(["conv", 0])]), "where a tensor comes from"),
    "a tensor before the first": (_node(args=[_tensor(["conv", -1, 0])]), "a position, got '-1'"),
    "an array of text": (
        _node(args=[{"class_name": "__tensor__", "config": {"value": ["a"], "dtype": "string"}}]),
        "numbers and known words, got 'a'",
    ),
    "inputs by name": (_top("input_layers", {"a": ["photo", 0, 0]}), "one input and one output"),
    "nested outputs": (_top("output_layers", [[[["answer", 0, 0]]]]), "one input and one output, got 'nested ones'"),
    "no layers": (_top("layers", None), "the list of a network's layers, got 'None'"),
    "layers of text": (_top("layers", ["Dense"]), "the description of a layer, got 'str'"),
    "no name": (_top("name", None), "a short name of each layer, got 'None'"),
    "no network": (lambda config: config.update(config=[]), "the layers of a network, got 'list'"),
}


@pytest.mark.parametrize(("alter", "found"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_is_not_known_to_be_harmless_is_refused(
    alter: Callable[[Config], None], found: str, config: Config
) -> None:
    alter(config)
    with pytest.raises(UsageError, match=f"Expected .*{found}") as caught:
        clean_network(config, where=WHERE)
    assert caught.value.hint
    assert str(caught.value).isprintable()


def test_an_equation_of_letters_is_taken_and_another_refused(config: Config) -> None:
    layer(config, "conv").update(class_name="EinsumDense")
    layer(config, "conv")["config"] = {"name": "conv", "equation": "abc,cd->abd", "bias_axes": "d"}
    clean_network(config, where=WHERE)
    layer(config, "conv")["config"]["equation"] = "import os"
    with pytest.raises(UsageError, match="an equation of letters, got 'import os'"):
        clean_network(config, where=WHERE)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"class_name": "function", "config": "gelu", "module": "builtins"}, "gelu"),
        ({"class_name": "function", "config": "softmax_v2", "module": "builtins"}, "softmax"),  # tf.nn.softmax
        ("swish", "swish"),
        (None, None),
    ],
)
def test_activations_of_keras_are_taken_however_they_are_written(
    written: object, read: str | None, config: Config
) -> None:
    layer(config, "conv")["config"]["activation"] = written
    assert layer(clean_network(config, where=WHERE), "conv")["config"]["activation"] == read


@pytest.mark.parametrize("description", [None, [], "Dense", 3, {}])
def test_a_description_that_is_none_is_refused(description: object) -> None:
    with pytest.raises(UsageError, match=r"Expected (the description of a network|a network of Keras 3), got"):
        clean_network(description, where=WHERE)


def test_a_sequence_without_an_input_is_refused() -> None:
    description = keras.saving.serialize_keras_object(keras.Sequential([keras.layers.Flatten()], name="mine"))
    with pytest.raises(UsageError, match=r"an input of a fixed size, got 'a Sequential network without' .layer 'mine'"):
        clean_network(description, where=WHERE)


# Sizes


def _inside(description: Config, times: int, calls: int) -> Config:
    """Returns networks inside of each other, each of which calls the next one several times."""
    for number in range(times):
        name = f"level{number}"
        inner = {**description, "name": description["config"]["name"]}
        inner["inbound_nodes"] = [{"args": [_tensor(["photo", 0, 0])], "kwargs": {}}] * calls
        first = {**description["config"]["layers"][0]}
        description = {**description, "config": {**description["config"], "name": name, "layers": [first, inner]}}
    return description


def test_networks_inside_of_each_other_have_a_limit(config: Config) -> None:
    clean_network(_inside(config, 8, 1), where=WHERE)
    with pytest.raises(UsageError, match="networks inside of each other, got 'more than 8 levels'"):
        clean_network(_inside(config, 9, 1), where=WHERE)


def test_networks_that_call_each_other_again_and_again_have_a_limit(config: Config) -> None:
    """Eight levels of twenty calls are a small file, and would build 10¹⁰ layers."""
    description = _inside(config, 8, 20)
    assert len(json.dumps(description)) < 100_000
    with pytest.raises(UsageError, match="can be built, got 'more than 20000 calls of layers'"):
        clean_network(description, where=WHERE)


def test_layers_have_a_limit(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_config, "_MAX_LAYERS", 3)
    with pytest.raises(UsageError, match="can be built, got 'more than 3 layers'"):
        clean_network(config, where=WHERE)


def test_weights_have_the_limit_of_what_the_file_holds(plain: Path, config: Config, tmp_path: Path) -> None:
    layer(config, "conv")["config"]["filters"] = 1 << 20  # 3.2 GB with its kernel of 16 · 16 · 3
    with pytest.raises(UsageError, match="Expected weights for all layers, got fewer") as caught:
        load_network(with_config(plain, tmp_path, config))
    assert "model.save" in caught.value.hint


def test_answers_of_a_layer_have_a_limit(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_file, "_MAX_ANSWERS", 767)  # the photo has 768 numbers
    with pytest.raises(UsageError, match=r"at most 767 answers to a photo, got more .layer 'photo'") as caught:
        load_network(plain)
    assert caught.value.hint == "Use a smaller input."
    monkeypatch.setattr(network_file, "_MAX_ANSWERS", 768)
    load_network(plain)


@pytest.mark.parametrize(
    ("member", "limit"), [("config_json", "_MAX_CONFIG_BYTES"), ("metadata_json", "_MAX_METADATA_BYTES")]
)
def test_a_bomb_in_the_archive_is_refused(member: str, limit: str, plain: Path, tmp_path: Path) -> None:
    bomb = b" " * (getattr(network_file, limit) + 1)
    path = with_members(plain, tmp_path / WHERE, **{member: bomb})
    assert path.stat().st_size < 1 << 17
    with pytest.raises(UsageError, match=rf"Expected {member.replace('_', '.')} of at most \d+ KiB, got more"):
        load_network(path)


def test_a_bomb_of_weights_is_refused(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_file, "_EXPANSION_FLOOR_BYTES", 0)
    path = with_members(plain, tmp_path / WHERE, model_weights_h5=bytes(10 << 20))
    with pytest.raises(UsageError, match="Expected weights of at most 0 MiB, got more"):
        load_network(path)


# Files


def test_damage_to_the_description_is_one_error(plain: Path, config: Config, tmp_path: Path) -> None:
    """Whatever stands in a place of the description, Keras's own errors do not come through."""
    generator = np.random.default_rng(0)
    junk = [
        None,
        True,
        -1,
        3,
        10**9,
        0.5,
        "",
        "relu",
        "answer",
        [],
        [1, 2],
        {},
        {"class_name": "Dense"},
        [None, 4, 4, 1],
    ]
    refused = 0
    for _ in range(50):
        damaged = copy.deepcopy(config)
        place: object = damaged["config"]
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[generator.integers(len(keys))]
            if not isinstance(place[key], (dict, list)) or not place[key] or generator.random() < 0.1:
                break
            place = place[key]
        place[key] = junk[generator.integers(len(junk))]
        try:
            load_network(with_config(plain, tmp_path, damaged))
        except UsageError as error:
            refused += 1
            assert str(error).startswith("Expected ")  # noqa: PT017 - some damage is harmless
    assert 20 < refused < 50


def test_layers_that_do_not_fit_together_are_refused(plain: Path, config: Config, tmp_path: Path) -> None:
    layer(config, "flat")["inbound_nodes"][0]["args"] = [_tensor(["nobody", 0, 0])]
    with pytest.raises(UsageError, match="Expected a network whose layers fit together, got another"):
        load_network(with_config(plain, tmp_path, config))


def test_weights_of_another_network_are_refused(plain: Path, config: Config, tmp_path: Path) -> None:
    layer(config, "answer")["config"]["units"] = 3
    with pytest.raises(UsageError, match="Expected weights of the network in the same file, got others"):
        load_network(with_config(plain, tmp_path, config))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (None, "no member"),
        (b"", "empty"),
        (b"{", "cut off"),
        (b"\xff\xfe{", "no text"),
        (b"[" * 100_000, "deep"),
        (b"9" * 10_000, "a number of 10,000 digits"),
    ],
)
def test_a_description_that_cannot_be_read_is_one_error(
    content: bytes | None, name: str, plain: Path, tmp_path: Path
) -> None:
    path = with_members(plain, tmp_path / WHERE, config_json=content)
    with pytest.raises(UsageError, match=r"Expected a \.keras file with config\.json in it") as caught:
        load_network(path)
    assert "model.save" in caught.value.hint, name


def test_a_file_without_weights_is_refused(plain: Path, tmp_path: Path) -> None:
    path = with_members(plain, tmp_path / WHERE, model_weights_h5=None)
    with pytest.raises(UsageError, match=r"Expected a \.keras file with model\.weights\.h5 in it"):
        load_network(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_keras_does_not_use_is_refused(compression: int, plain: Path, tmp_path: Path) -> None:
    """LZMA takes as much memory as its header says."""
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(tmp_path / WHERE, "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(UsageError, match=r"Expected a \.keras file with config\.json in it"):
        load_network(tmp_path / WHERE)


def test_a_network_of_keras_2_is_named_as_such(plain: Path, tmp_path: Path) -> None:
    path = with_members(plain, tmp_path / WHERE, metadata_json=b'{"keras_version": "2.15.0"}')
    with pytest.raises(UsageError, match=r"Expected a network of Keras 3, got one of Keras '2\.15\.0'") as caught:
        load_network(path)
    assert "set_weights" in caught.value.hint


def test_a_file_that_does_not_say_its_version_is_read(plain: Path, tmp_path: Path) -> None:
    load_network(with_members(plain, tmp_path / WHERE, metadata_json=None))


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("missing.keras", r"Expected a \.keras file, got nothing at", "existing"),
        ("folder", r"Expected a \.keras file, got a folder", "SavedModel"),
        ("whole.h5", r"Expected a \.keras file, got HDF5", "CVE-2025-9905"),
        ("whole.hdf5", r"Expected a \.keras file, got HDF5", "CVE-2025-9905"),
        ("model.pkl", r"Expected a file that ends in \.keras, got", "model.save"),
        ("text.keras", r"Expected a \.keras file with config\.json in it, got another", "model.save"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_a_hint(name: str, message: str, hint: str, tmp_path: Path) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    elif name != "missing.keras":
        (tmp_path / name).write_text("no zip")
    with pytest.raises(UsageError, match=message) as caught:
        load_network(tmp_path / name)
    assert hint in caught.value.hint
    assert name in str(caught.value)

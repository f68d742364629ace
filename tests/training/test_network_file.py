"""Networks that a user brings: what is read is what was saved, and it is served with one softmax score a label."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import MissingDependencyError, UsageError
from edgegender.training.network_file import as_classifier, has_scaling_inside, input_size_px, load_network

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

SIZE_PX = 16
Build = Callable[[], "keras.Model"]


def image() -> keras.KerasTensor:
    return keras.Input((SIZE_PX, SIZE_PX, 3), name="photo")


def features(inputs: keras.KerasTensor) -> keras.KerasTensor:
    middle = keras.layers.Conv2D(4, 3, strides=2, use_bias=False, kernel_regularizer="l2", name="conv")(inputs)
    middle = keras.layers.BatchNormalization(name="norm")(middle)
    return keras.layers.ReLU(6.0, name="relu")(middle)


def pooled(inputs: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.GlobalAveragePooling2D(name="pool")(features(inputs))


def with_head(head: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    inputs = image()
    return keras.Model(inputs, head(pooled(inputs)), name="mine")


def dense(units: int, activation: str | None = None, name: str = "answer", **settings: object) -> keras.layers.Layer:
    return keras.layers.Dense(units, activation=activation, name=name, **settings)


def base() -> keras.Model:
    inputs = image()
    return keras.Model(inputs, features(inputs), name="base")


def sequential(*head: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([image(), keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Flatten(name="flat"), *head])


def nested(*head: keras.layers.Layer) -> keras.Model:
    """As Keras's guide to transfer learning has it."""
    return keras.Sequential(
        [base(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(0.2, seed=3), *head], name="nested"
    )


def nested_head(*head: keras.layers.Layer) -> keras.Model:
    inputs = image()
    last = keras.Sequential([keras.Input((4,)), dense(5, "relu", "hidden"), *head], name="head")
    return keras.Model(inputs, last(pooled(inputs), training=False), name="mine")


def scaled(scale: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    inputs = image()
    return keras.Model(inputs, dense(2, "softmax")(pooled(scale(inputs))), name="mine")


def on_map(filters: int, *after: keras.layers.Layer, activation: str | None = None) -> keras.Model:
    inputs = image()
    answers = keras.layers.Conv2D(filters, 1, activation=activation, name="map")(features(inputs))
    for layer in after:
        answers = layer(answers)
    return keras.Model(inputs, answers, name="mine")


def pixel_sigmoid() -> keras.Model:
    inputs = image()
    one = keras.layers.MaxPooling2D(7)(features(inputs))
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.Conv2D(1, 1, activation="sigmoid")(one)))


def pixel_logit() -> keras.Model:
    inputs = image()
    one = keras.layers.MaxPooling2D(7)(features(inputs))
    return keras.Model(inputs, keras.layers.Flatten()(keras.layers.Dense(1, activation="sigmoid")(one)))


def mean_of_map() -> keras.layers.Layer:
    return keras.layers.GlobalAveragePooling2D(name="mean")


def activation(name: str, layer_name: str = "active", **settings: object) -> keras.layers.Layer:
    return keras.layers.Activation(name, name=layer_name, **settings)


def softmax(answers: np.ndarray) -> np.ndarray:
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(answers: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-answers))


def pair(second: np.ndarray) -> np.ndarray:
    return np.concatenate([1 - second, second], axis=1)


AS_IS: dict[str, tuple[Build, int]] = {
    "softmax": (lambda: with_head(dense(2, "softmax")), 2),
    "softmax of seven": (lambda: with_head(dense(7, "softmax")), 7),
    "softmax in a sequence": (lambda: sequential(dense(3, "softmax")), 3),
    "softmax by a layer": (lambda: with_head(lambda x: keras.layers.Softmax()(dense(2)(x))), 2),
    "softmax by an activation": (lambda: with_head(lambda x: activation("softmax")(dense(2)(x))), 2),
    "softmax by an operation": (lambda: with_head(lambda x: keras.ops.softmax(dense(2)(x))), 2),
    "softmax behind a nested base": (lambda: nested(dense(2, "softmax")), 2),
    "softmax in a nested head": (lambda: nested_head(dense(2, "softmax")), 2),
    "softmax before what changes nothing": (
        lambda: with_head(lambda x: activation("linear")(keras.layers.Dropout(0.5)(dense(2, "softmax")(x)))),
        2,
    ),
    "softmax of a map of one pixel": (
        lambda: on_map(2, keras.layers.MaxPooling2D(7), activation("softmax"), keras.layers.Flatten()),
        2,
    ),
    "rescaled": (lambda: scaled(keras.layers.Rescaling(1 / 127.5, offset=-1)), 2),
    "rescaled by channel": (lambda: scaled(keras.layers.Rescaling([0.1, 0.2, 0.3], offset=[1, 2, 3])), 2),
    "normalized": (lambda: scaled(keras.layers.Normalization(mean=[1, 2, 3], variance=[4, 5, 6])), 2),
    "rescaled by arithmetic": (lambda: scaled(lambda x: x / 127.5 - 1), 2),
    "caffe's scaling": (lambda: scaled(lambda x: keras.applications.resnet50.preprocess_input(x) / 100), 2),
    "channels reversed": (lambda: scaled(lambda x: keras.layers.Rescaling(2.0)(x[..., ::-1])), 2),
    "an activation that is a layer": (
        lambda: with_head(lambda x: dense(2, "softmax")(dense(4, keras.layers.LeakyReLU(0.3), "hidden")(x))),
        2,
    ),
    "separable, padded, resized": (
        lambda: scaled(
            lambda x: keras.layers.SeparableConv2D(3, 3, padding="same")(
                keras.layers.UpSampling2D(interpolation="bilinear")(keras.layers.ZeroPadding2D(1)(x))
            )
        ),
        2,
    ),
}
# What it is in place of, and the scores that its own answers mean
REPLACED: dict[str, tuple[Build, int, Callable[[np.ndarray], np.ndarray]]] = {
    "sigmoid": (lambda: with_head(dense(1, "sigmoid")), 2, pair),
    "sigmoid without bias": (lambda: with_head(dense(1, "sigmoid", use_bias=False)), 2, pair),
    "sigmoid in a sequence": (lambda: sequential(dense(1, "sigmoid")), 2, pair),
    "sigmoid by an activation": (lambda: with_head(lambda x: activation("sigmoid")(dense(1)(x))), 2, pair),
    "sigmoid by an operation": (lambda: with_head(lambda x: keras.ops.sigmoid(dense(1)(x))), 2, pair),
    "sigmoid of what is no dense layer": (lambda: on_map(1, mean_of_map(), activation("sigmoid")), 2, pair),
    "sigmoid of a rectified number": (lambda: with_head(lambda x: activation("sigmoid")(dense(1, "relu")(x))), 2, pair),
    "sigmoid behind a nested base": (lambda: nested(dense(1, "sigmoid")), 2, pair),
    "sigmoid in a nested head": (lambda: nested_head(dense(1, "sigmoid")), 2, pair),
    "sigmoid by an activation in a nested head": (lambda: nested_head(dense(1), activation("sigmoid")), 2, pair),
    "one logit": (lambda: with_head(dense(1)), 2, lambda answers: pair(sigmoid(answers))),
    "one logit of a map": (lambda: on_map(1, mean_of_map()), 2, lambda answers: pair(sigmoid(answers))),
    "logits": (lambda: with_head(dense(3)), 3, softmax),
    "logits called scores": (lambda: with_head(dense(2, name="scores")), 2, softmax),
    "logits of a map": (lambda: on_map(2, mean_of_map()), 2, softmax),
    "logits in a nested head": (lambda: nested_head(dense(2)), 2, softmax),
}


def filled(build: Build, seed: int = 0) -> keras.Model:
    """Returns a network with weights that are far from those it starts with, and positive where they must be."""
    model, generator = build(), np.random.default_rng(seed)
    for layer_weights in model.weights:
        is_variance = "variance" in layer_weights.path
        values = generator.uniform(0.5, 1.5, layer_weights.shape) if is_variance else None
        if values is None and "seed" not in layer_weights.path and "count" not in layer_weights.path:
            values = generator.normal(0, 0.5, layer_weights.shape)
        if values is not None:
            layer_weights.assign(values)
    return model


def saved(model: keras.Model, folder: Path) -> Path:
    model.save(folder / "mine.keras")
    return folder / "mine.keras"


def photos(size_px: int = SIZE_PX) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (5, size_px, size_px, 3)).astype(np.float32)


def answers(model: keras.Model, inputs: np.ndarray | None = None) -> np.ndarray:
    return np.asarray(model(photos() if inputs is None else inputs, training=False))


def layer_names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


# Reading and serving


@pytest.mark.parametrize(("build", "num_labels"), AS_IS.values(), ids=AS_IS)
def test_a_softmax_is_read_and_served_as_it_was_saved(build: Build, num_labels: int, tmp_path: Path) -> None:
    original = filled(build)
    loaded = load_network(saved(original, tmp_path))
    assert as_classifier(loaded, num_labels) is loaded
    # the same layers with the same float32 weights in the same order: nothing is rounded differently
    np.testing.assert_array_equal(answers(loaded), answers(original))
    assert np.ptp(answers(loaded), axis=0).min() > 0  # the photos do not all get the same answer


@pytest.mark.parametrize(("build", "num_labels", "meaning"), REPLACED.values(), ids=REPLACED)
def test_any_other_head_is_served_with_the_scores_that_it_means(
    build: Build, num_labels: int, meaning: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    original = filled(build)
    loaded = load_network(saved(original, tmp_path))
    own = answers(loaded)
    served = as_classifier(loaded, num_labels)
    assert served.output_shape == (None, num_labels)
    assert served.outputs[0].dtype == "float32"
    assert served.name == loaded.name
    np.testing.assert_array_equal(own, answers(original))
    # float32 has 24 bits, 6e-8 of a score near one; a softmax of few numbers loses a few of them
    np.testing.assert_allclose(answers(served), meaning(own), atol=1e-6)
    np.testing.assert_array_equal(answers(loaded), own)  # what was given is not changed


def test_a_replaced_dense_layer_leaves_nothing_behind(tmp_path: Path) -> None:
    loaded = load_network(saved(filled(REPLACED["sigmoid by an activation"][0]), tmp_path))
    served = as_classifier(loaded, 2)
    assert layer_names(served) == ["photo", "conv", "norm", "relu", "pool", "scores"]


def test_names_are_those_of_the_file_each_time(tmp_path: Path) -> None:
    """One that Keras counts up would change the bytes of the converted file."""
    for name in ("sigmoid", "logits called scores", "sigmoid by an activation in a nested head"):
        build, num_labels, _ = REPLACED[name]
        path = saved(build(), tmp_path)
        first, second = (as_classifier(load_network(path), num_labels) for _ in range(2))
        assert layer_names(first) == layer_names(second)
        assert [weight.path for weight in first.weights] == [weight.path for weight in second.weights]
        assert layer_names(first)[-1] in ("scores", "scores_2")


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        original = filled(lambda: with_head(lambda x: activation("linear", dtype="float32")(dense(2, "softmax")(x))))
    finally:
        keras.config.set_dtype_policy(before)
    assert original.get_layer("conv").compute_dtype == "float16"
    loaded = load_network(saved(original, tmp_path))
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert as_classifier(loaded, 2) is loaded
    # float16 has 11 bits, 5e-4 of a number near one; a few sums in a row
    np.testing.assert_allclose(answers(loaded), answers(original), atol=5e-3)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_another_width_are_read_as_float32(dtype: str, tmp_path: Path) -> None:
    inputs = keras.Input((SIZE_PX, SIZE_PX, 3), dtype=dtype)
    flat = keras.layers.Flatten(dtype=dtype)(inputs)
    original = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", dtype=dtype)(flat))
    loaded = load_network(saved(original, tmp_path))
    assert {weight.dtype for weight in loaded.weights} == {"float32"}
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(original.weights[0], "float32"))
    np.testing.assert_array_equal(loaded.get_weights()[0], kernel)


def test_a_compiled_and_trained_network_is_read_without_what_trained_it(tmp_path: Path) -> None:
    original = with_head(dense(2, "softmax", kernel_constraint="max_norm"))
    original.compile("adam", "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    original.train_on_batch(photos(), np.eye(2)[[0, 1, 0, 1, 1]])
    loaded = load_network(saved(original, tmp_path))
    assert not loaded.compiled
    assert loaded.losses == []
    np.testing.assert_array_equal(answers(loaded), answers(original))


def test_what_is_read_can_be_copied_and_saved_again(tmp_path: Path) -> None:
    loaded = load_network(saved(filled(lambda: nested(dense(2, "softmax"))), tmp_path))
    copy = keras.Sequential.from_config(loaded.get_config())
    copy.set_weights(loaded.get_weights())
    again = load_network(saved(copy, tmp_path))
    np.testing.assert_array_equal(answers(again), answers(loaded))


# MobileNetV2, ResNet50 and InceptionV3 have no layer, activation or operation that these or the cases above have not
@pytest.mark.parametrize(
    "build",
    [
        keras.applications.MobileNetV3Small,  # Rescaling, additions and products of tensors
        keras.applications.EfficientNetB0,  # Rescaling, Normalization, squeeze and excite
    ],
    ids=["MobileNetV3Small", "EfficientNetB0"],
)
def test_networks_of_keras_applications_are_read(build: Build, tmp_path: Path) -> None:
    original = build(weights=None, classes=2, input_shape=(32, 32, 3))
    loaded = load_network(saved(original, tmp_path))
    assert as_classifier(loaded, 2) is loaded
    assert input_size_px(loaded) == 32
    assert has_scaling_inside(loaded)
    assert layer_names(loaded) == layer_names(original)
    for own, other in zip(loaded.weights, original.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(own), np.asarray(other))


# What the converter asks


@pytest.mark.parametrize(
    ("name", "is_scaled"),
    [
        ("softmax", False),
        ("softmax behind a nested base", False),
        ("rescaled", True),
        ("normalized", True),
        ("rescaled by arithmetic", True),
        ("caffe's scaling", True),
        ("channels reversed", True),
    ],
)
def test_scaling_inside_of_the_network_is_seen(name: str, is_scaled: bool) -> None:
    model = AS_IS[name][0]()
    assert has_scaling_inside(model) is is_scaled
    assert input_size_px(model) == SIZE_PX


def test_scaling_inside_of_a_nested_base_is_seen() -> None:
    model = keras.Sequential([scaled(keras.layers.Rescaling(2.0)), dense(2, "softmax", "more")])
    assert has_scaling_inside(model)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((32, 24, 3), r"\(None, 32, 24, 3\)"),
        ((32, 32, 1), r"\(None, 32, 32, 1\)"),
        ((None, None, 3), r"\(None, None, None, 3\)"),
        ((8, 8, 3), r"\(None, 8, 8, 3\)"),
        ((1040, 1040, 3), r"\(None, 1040, 1040, 3\)"),
        ((12,), r"\(None, 12\)"),
    ],
)
def test_an_input_that_is_no_square_photo_is_refused(shape: tuple[int | None, ...], found: str) -> None:
    inputs = keras.Input(shape)
    model = keras.Model(inputs, keras.layers.Identity()(inputs), name="mine")
    with pytest.raises(UsageError, match=rf"Expected one input \(None, S, S, 3\).* got {found} of float32") as caught:
        input_size_px(model)
    assert "keras.Input" in caught.value.hint
    with pytest.raises(UsageError, match="Expected one input"):
        as_classifier(model, 2)


def test_two_inputs_a_fixed_batch_and_bytes_are_refused() -> None:
    first, second = image(), keras.Input((SIZE_PX, SIZE_PX, 3), name="other")
    two = keras.Model([first, second], dense(2, "softmax")(pooled(keras.layers.Add()([first, second]))))
    batch = keras.Input(batch_shape=(1, SIZE_PX, SIZE_PX, 3))
    fixed = keras.Model(batch, dense(2, "softmax")(pooled(batch)))
    numbers = keras.Input((SIZE_PX, SIZE_PX, 3), dtype="uint8")
    integers = keras.Model(numbers, dense(2, "softmax")(pooled(keras.layers.Rescaling(1 / 255)(numbers))))
    for model, found in ((two, r"\), \(None"), (fixed, r"\(1, 16"), (integers, "of uint8")):
        with pytest.raises(UsageError, match=f"Expected one input .* got .*{found}"):
            as_classifier(model, 2)


@pytest.mark.parametrize(
    ("build", "num_labels", "found"),
    [
        (lambda: with_head(dense(3, "softmax")), 2, "got 3 outputs for 2 labels"),
        (lambda: with_head(dense(2, "softmax")), 3, "got 2 outputs for 3 labels"),
        (lambda: with_head(dense(1, "sigmoid")), 3, "got 1 outputs for 3 labels"),
        (lambda: with_head(dense(2, "sigmoid")), 2, "got sigmoid of 2 numbers"),
        (lambda: with_head(dense(2, "tanh")), 2, "got tanh of 2 numbers"),
        (lambda: with_head(dense(2, "log_softmax")), 2, "got log_softmax of 2 numbers"),
        (lambda: with_head(dense(2, keras.layers.ReLU())), 2, "got relu of 2 numbers"),
        (lambda: with_head(lambda x: keras.layers.PReLU()(dense(2)(x))), 2, "got a PReLU of 2 numbers"),
        (lambda: with_head(dense(1, "tanh")), 2, "got tanh"),
        (lambda: with_head(dense(1, "softmax")), 2, "got softmax"),  # of one number: always one
        (lambda: on_map(2, mean_of_map(), activation="softmax"), 2, "got a GlobalAveragePooling2D of 2 numbers"),
        (lambda: on_map(1, mean_of_map(), activation="sigmoid"), 2, "got a GlobalAveragePooling2D"),
        (
            pixel_sigmoid,
            2,
            "got a Conv2D with sigmoid",
        ),
        (pixel_logit, 2, "got sigmoid of an answer a pixel"),
        (lambda: with_head(lambda x: keras.layers.Dense(2)(x)[:, ::-1]), 2, "got a GetItem of 2 numbers"),
    ],
)
def test_a_network_that_means_other_scores_is_refused(build: Build, num_labels: int, found: str) -> None:
    with pytest.raises(UsageError, match=f"Expected .*{found}") as caught:
        as_classifier(build(), num_labels)
    assert caught.value.hint


def test_outputs_that_are_no_scores_are_refused() -> None:
    inputs = image()
    answer = dense(2, "softmax")(pooled(inputs))
    half = dense(2, "softmax", "half", dtype="float16")(answer)
    for outputs, found in (([answer, answer], r"2\), \(None, 2"), (features(inputs), "7, 7, 4"), (half, "of float16")):
        with pytest.raises(UsageError, match=rf"Expected one output \(None, labels\) of float32, got .*{found}"):
            as_classifier(keras.Model(inputs, outputs), 2)


def test_one_label_is_no_classifier() -> None:
    with pytest.raises(UsageError, match="Expected two labels or more, got 1"):
        as_classifier(with_head(dense(1, "sigmoid")), 1)


def test_augmentation_inside_is_refused() -> None:
    model = scaled(keras.layers.RandomFlip(name="flip"))
    with pytest.raises(UsageError, match=r"do the same each time, got RandomFlip .layer 'flip'") as caught:
        as_classifier(model, 2)
    assert "Augmentation belongs outside" in caught.value.hint


def test_without_keras_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = saved(with_head(dense(2, "softmax")), tmp_path)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingDependencyError, match="Expected the package keras"):
        load_network(path)

"""Networks from code: layers, parameters and names are the papers' and the same in each build."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import MissingDependencyError, UsageError
from edgegender.training.architectures import (
    build_model,
    choose_scaling,
    set_frozen,
    to_serving_model,
    to_two_scores,
)
from edgegender.training.recipes import ARCHITECTURES, Recipe, load_recipe
from edgegender.training.weights_file import load_weights_into

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

SMALL = ("architecture=mobilenetv2", "alpha=0.35", "input_size_px=48")


def edge(*overrides: str) -> Recipe:
    return load_recipe("edge", ["start_weights=none", *overrides])


def tareq(architecture: str, *overrides: str) -> Recipe:
    return load_recipe(f"tareq2025-{architecture}", ["start_weights=none", *overrides])


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return build_model(edge(*SMALL), 2)


@pytest.fixture(scope="module")
def resnet50() -> keras.Model:
    return build_model(tareq("resnet50", "input_size_px=64"), 2)


@pytest.fixture(scope="module")
def inceptionv3() -> keras.Model:
    return build_model(tareq("inceptionv3", "input_size_px=75"), 2)


def weight_names(model: keras.Model) -> list[str]:
    return [weight.path for weight in model.weights]


def layer_names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def noise(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (3, *model.input_shape[1:])).astype(np.float32)


# Layers and parameters


def test_the_cnn_is_the_one_of_the_paper() -> None:
    model = build_model(tareq("cnn"), 2)
    assert [type(layer).__name__ for layer in model.layers] == [
        "InputLayer",
        *["Conv2D", "MaxPooling2D"] * 3,
        *["Flatten", "Dense", "Dropout", "Dense"],
    ]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128]
    assert {(layer.kernel_size, layer.padding, layer.activation.__name__) for layer in convolutions} == {
        ((3, 3), "valid", "relu")
    }
    assert model.get_layer("dropout").rate == 0.5
    assert model.get_layer("hidden").activation.__name__ == "relu"
    assert model.get_layer("scores").activation.__name__ == "sigmoid"
    # Sides: 128 → 126, 63 → 61, 30 → 28, 14. Weights: 3·3·3·32+32 = 896, 3·3·32·64+64 = 18,496,
    # 3·3·64·128+128 = 73,856; 14·14·128 = 25,088 numbers into 128: 25,088·128+128 = 3,211,392; 128+1 = 129
    assert model.count_params() == 896 + 18_496 + 73_856 + 3_211_392 + 129


def test_the_cnn_follows_alpha_but_has_eight_filters_at_least() -> None:
    model = build_model(tareq("cnn", "alpha=0.1", "input_size_px=32", "hidden_units=0"), 2)
    assert [model.get_layer(f"conv_{number}").filters for number in (1, 2, 3)] == [8, 8, 13]
    assert "hidden" not in layer_names(model)


HEAD = ["pool", "hidden", "dropout", "scores"]


def test_mobilenetv2_has_the_layers_and_parameters_of_the_paper() -> None:
    model = build_model(tareq("mobilenetv2", "input_size_px=96"), 2)
    # Keras: MobileNetV2 1.0 without top has 154 layers and 2,257,984 parameters, 34,112 of them moving statistics
    assert len(model.layers) == 154 + 4
    assert layer_names(model)[-4:] == HEAD
    assert model.count_params() == 2_257_984 + (1280 * 128 + 128) + (128 + 1)
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 34_112


def test_resnet50_has_the_layers_and_parameters_of_the_paper(resnet50: keras.Model) -> None:
    # Keras: ResNet50 without top has 175 layers and 23,587,712 parameters, 53,120 of them moving statistics
    assert len(resnet50.layers) == 175 + 4
    assert layer_names(resnet50)[-4:] == HEAD
    assert resnet50.count_params() == 23_587_712 + (2048 * 128 + 128) + (128 + 1)
    assert sum(int(np.prod(weight.shape)) for weight in resnet50.non_trainable_weights) == 53_120


def test_inceptionv3_has_the_layers_and_parameters_of_the_paper(inceptionv3: keras.Model) -> None:
    # Keras: InceptionV3 without top has 311 layers and 21,802,784 parameters, 34,432 of them moving statistics
    assert len(inceptionv3.layers) == 311 + 4
    assert layer_names(inceptionv3)[-4:] == HEAD
    assert inceptionv3.count_params() == 21_802_784 + (2048 * 128 + 128) + (128 + 1)
    assert sum(int(np.prod(weight.shape)) for weight in inceptionv3.non_trainable_weights) == 34_432


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_a_softmax_head_has_a_score_a_label(num_labels: int) -> None:
    model = build_model(edge(*SMALL), num_labels)
    assert layer_names(model)[-3:] == ["pool", "dropout", "scores"]
    assert model.input_shape == (None, 48, 48, 3)
    scores = np.asarray(model(noise(model), training=False))
    assert scores.shape == (3, num_labels)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)  # float32 softmax


@pytest.mark.parametrize(("alpha", "size_px"), [(0.6, 100), (1.75, 33)])
def test_mobilenetv2_takes_any_width_and_size(alpha: float, size_px: int) -> None:
    model = build_model(edge(f"alpha={alpha}", f"input_size_px={size_px}"), 2)
    assert model.input_shape == (None, size_px, size_px, 3)
    assert np.isfinite(np.asarray(model(noise(model), training=False))).all()


# Names


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "inceptionv3"])
def test_a_second_build_in_the_same_process_has_the_same_names(architecture: str) -> None:
    recipe = edge(f"architecture={architecture}", "alpha=0.35", "input_size_px=48")
    first, second = build_model(recipe, 2), build_model(recipe, 2)
    assert layer_names(first) == layer_names(second)
    assert weight_names(first) == weight_names(second)
    assert first.inputs[0].name == "image"


def test_inceptionv3s_counted_names_start_again_in_each_build(inceptionv3: keras.Model) -> None:
    again = build_model(tareq("inceptionv3", "input_size_px=75"), 2)
    assert layer_names(again) == layer_names(inceptionv3)
    assert weight_names(again) == weight_names(inceptionv3)
    assert layer_names(again)[:5] == ["image", "conv2d_1", "batch_normalization_1", "activation_1", "conv2d_2"]
    assert {"conv2d_94", "mixed0", "mixed9_1", "mixed10", "concatenate_2"} <= set(layer_names(again))
    assert len(set(layer_names(again))) == len(again.layers)


def test_kerass_own_weights_fit_inceptionv3_with_other_names(inceptionv3: keras.Model, tmp_path: Path) -> None:
    original = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(75, 75, 3))
    assert [type(layer) for layer in inceptionv3.layers[:-4]] == [type(layer) for layer in original.layers]
    original.save_weights(tmp_path / "inception.weights.h5")
    base = keras.Model(inceptionv3.input, inceptionv3.get_layer("mixed10").output)
    load_weights_into(base, tmp_path / "inception.weights.h5", expected="InceptionV3")
    inputs = noise(inceptionv3)
    np.testing.assert_array_equal(np.asarray(base(inputs)), np.asarray(original(inputs)))


# What the recipe says


def momenta(model: keras.Model) -> set[float]:
    return {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}


def test_batch_normalization_follows_the_recipe_and_not_keras_slow_default() -> None:
    assert momenta(build_model(edge(*SMALL, "batch_norm_momentum=0.7"), 2)) == {0.7}


def test_a_momentum_of_zero_keeps_kerass_own() -> None:
    assert momenta(build_model(edge(*SMALL, "batch_norm_momentum=0"), 2)) == {0.999}


def test_the_same_seed_gives_the_same_start_weights() -> None:
    def weights(seed: int) -> bytes:
        keras.utils.set_random_seed(seed)
        return b"".join(array.tobytes() for array in build_model(edge(*SMALL), 2).get_weights())

    assert weights(1) == weights(1) != weights(2)


@pytest.mark.parametrize(
    ("architecture", "scaling"),
    [("mobilenetv2", "tf"), ("inceptionv3", "tf"), ("resnet50", "caffe"), ("cnn", "unit")],
)
def test_automatic_scaling_is_what_the_start_weights_expect(architecture: str, scaling: str) -> None:
    assert choose_scaling(edge(f"architecture={architecture}")) == scaling


def test_a_named_scaling_is_taken_as_it_is() -> None:
    assert choose_scaling(edge("scaling=unit")) == "unit"
    assert choose_scaling(tareq("resnet50")) == "unit"


def test_scores_are_of_32_bits_under_mixed_precision() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        for output in ("softmax", "sigmoid"):
            model = build_model(edge(*SMALL, f"output={output}"), 2)
            assert model.get_layer("Conv1").compute_dtype == "bfloat16"
            assert model.outputs[0].dtype == "float32"
            assert {weight.dtype for weight in model.weights} == {"float32"}
            assert to_serving_model(model, 2).outputs[0].dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("recipe", "num_labels", "message"),
    [
        (edge("output=sigmoid"), 3, "Expected two labels for one sigmoid score, got 3"),
        (edge("architecture=cnn", "frozen_epochs=1"), 2, "Expected frozen_epochs=0 for the cnn, got 1"),
        (load_recipe("edge", ["architecture=cnn"]), 2, "Expected start_weights=none for the cnn, got imagenet"),
    ],
)
def test_parts_of_a_recipe_that_do_not_go_together_are_a_wrong_usage(
    recipe: Recipe, num_labels: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_model(recipe, num_labels)
    assert "--set" in caught.value.hint


def test_without_keras_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingDependencyError, match="Expected the package keras") as caught:
        build_model(edge(*SMALL), 2)
    assert caught.value.hint == "pip install 'edgegender[train]'"


# Frozen and unfrozen


def trainable_names(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers if layer.trainable_weights}


def test_a_frozen_base_leaves_the_head_to_learn() -> None:
    recipe = edge(*SMALL, "hidden_units=16")
    model = build_model(recipe, 2)
    everything = trainable_names(model)
    set_frozen(model, recipe, is_frozen=True)
    assert trainable_names(model) == {"hidden", "scores"}
    set_frozen(model, recipe, is_frozen=False)
    assert trainable_names(model) == everything > {"Conv1", "bn_Conv1", "hidden", "scores"}


def test_batch_normalization_that_is_not_trained_stays_frozen() -> None:
    recipe = edge(*SMALL, "is_batch_norm_trained=false")
    model = build_model(recipe, 2)
    set_frozen(model, recipe, is_frozen=False)
    learning = [layer for layer in model.layers if layer.trainable_weights]
    assert {"Conv1", "scores"} <= {layer.name for layer in learning}
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in learning)


def test_a_frozen_base_keeps_its_statistics_while_the_head_learns() -> None:
    recipe = edge(*SMALL)
    model = build_model(recipe, 2)
    set_frozen(model, recipe, is_frozen=True)
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    before = model.get_weights()
    model.train_on_batch(noise(model), np.eye(2)[[0, 1, 0]])
    changed = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if not np.array_equal(np.asarray(weight), old)
    ]
    # random layers fade a picture to almost nothing: the kernel's step may be lost in its last bit
    assert {"scores/bias"} <= set(changed) <= {"scores/kernel", "scores/bias"}


# The network that is served


def test_a_sigmoid_is_served_as_a_softmax_with_the_same_scores() -> None:
    model = build_model(edge(*SMALL, "output=sigmoid"), 2)
    model.get_layer("scores").set_weights([model.get_layer("scores").get_weights()[0] * 9, np.array([0.3])])
    inputs = noise(model)
    single = np.asarray(model(inputs, training=False))
    served = to_serving_model(model, 2)
    scores = np.asarray(served(inputs, training=False))
    assert single.shape == (3, 1)
    np.testing.assert_allclose(scores, np.concatenate([1 - single, single], axis=1), atol=1e-6)  # float32
    assert (served.name, layer_names(served)) == (model.name, layer_names(model))


def test_the_last_layer_is_served_whatever_it_is_called() -> None:
    inputs = keras.Input((4,), name="numbers")
    hidden = keras.layers.Dense(3, activation="tanh", name="scores")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", use_bias=False, name="answer")(hidden))
    numbers = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    single = np.asarray(model(numbers))
    features = keras.Model(inputs, hidden)
    served = keras.Model(inputs, to_two_scores(model.layers[-1], features.output, name="two"))
    np.testing.assert_allclose(np.asarray(served(numbers))[:, 1:], single, atol=1e-6)  # float32
    assert layer_names(served) == ["numbers", "scores", "two"]
    model.layers[1].name = "hidden"
    assert layer_names(to_serving_model(model, 2)) == ["numbers", "hidden", "scores"]


def test_a_softmax_is_served_as_it_is(small: keras.Model) -> None:
    assert to_serving_model(small, 2) is small


def test_serving_does_not_change_the_trained_network() -> None:
    model = build_model(edge(*SMALL, "output=sigmoid"), 2)
    before = model.get_weights()
    to_serving_model(model, 2)
    assert model.output_shape == (None, 1)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_number_of_labels_cannot_be_served(small: keras.Model) -> None:
    with pytest.raises(UsageError, match="Expected a network with 3 scores, got 2"):
        to_serving_model(small, 3)

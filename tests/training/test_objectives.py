"""Loss, targets and counts: held against the formulas of the papers, computed by hand in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.training.objectives import compile_model, join_targets, read_counts
from edgegender.training.recipes import Recipe, load_recipe

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

INPUTS = np.random.default_rng(0).normal(0, 2, (6, 5)).astype(np.float32)
TARGETS = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 1]]
WEIGHTS = np.asarray([1, 1, 2, 0.5, 1, 0], np.float32)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("edge", ["label_smoothing=0", "learning_rate=0.001", *overrides])


def make_model(made_for: Recipe, num_labels: int = 2) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((5,), name="image")
    units = 1 if made_for.output == "sigmoid" else num_labels
    scores = keras.layers.Dense(units, activation=made_for.output, name="scores")(image)
    model = keras.Model(image, scores)
    compile_model(model, made_for, num_labels)
    return model


def step(made_for: Recipe, targets: np.ndarray = TARGETS) -> tuple[np.ndarray, dict[str, float]]:
    """Returns the scores before a step and what the step says."""
    model = make_model(made_for)
    before = np.asarray(model(INPUTS), np.float64)
    joined = join_targets(targets, None, made_for)
    return before, model.train_on_batch(INPUTS, joined, sample_weight=WEIGHTS, return_dict=True)


def weighted(losses: np.ndarray) -> float:
    return float((losses * WEIGHTS).sum() / len(WEIGHTS))


def test_cross_entropy_is_the_mean_of_the_weighted_negative_log_scores() -> None:
    scores, logs = step(recipe())
    expected = weighted(-np.log((scores * TARGETS).sum(axis=1)))
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)  # float32


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_label_smoothing_spreads_a_share_over_both_labels(output: str) -> None:
    scores, logs = step(recipe(f"output={output}", "label_smoothing=0.1"))
    both = np.concatenate([1 - scores, scores], axis=1) if output == "sigmoid" else scores
    smoothed = 0.9 * TARGETS + 0.05
    assert logs["loss"] == pytest.approx(weighted(-(smoothed * np.log(both)).sum(axis=1)), rel=1e-5)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_focal_loss_turns_to_hard_photos(output: str) -> None:
    scores, logs = step(recipe(f"output={output}", "loss=focal", "focal_gamma=2"))
    both = np.concatenate([1 - scores, scores], axis=1) if output == "sigmoid" else scores
    right = (both * TARGETS).sum(axis=1)
    # Lin et al. 2017, arXiv 1708.02002, equation 4, without alpha
    assert logs["loss"] == pytest.approx(weighted(-((1 - right) ** 2) * np.log(right)), rel=1e-5)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_counts_are_those_of_photos_with_a_weight(output: str) -> None:
    scores, logs = step(recipe(f"output={output}"))
    predicted = (scores[:, 0] > 0.5).astype(int) if output == "sigmoid" else scores.argmax(axis=1)
    expected = np.zeros((2, 2), int)
    for annotated, answer, weight in zip(TARGETS.argmax(axis=1), predicted, WEIGHTS, strict=True):
        expected[annotated, answer] += weight > 0
    np.testing.assert_array_equal(read_counts(logs, 2), expected)


def test_a_step_lowers_the_loss_of_its_own_batch() -> None:
    model = make_model(recipe("learning_rate=0.01"))
    joined = join_targets(TARGETS, None, recipe())
    losses = []
    for _ in range(20):
        model.reset_metrics()
        losses.append(model.train_on_batch(INPUTS, joined, sample_weight=WEIGHTS, return_dict=True)["loss"])
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW")])
def test_the_optimizer_is_the_recipes(name: str, kind: str) -> None:
    optimizer = make_model(recipe(f"optimizer={name}", "clip_norm=3", "weight_decay=0.02")).optimizer
    assert type(optimizer).__name__ == kind
    assert optimizer.clipnorm == 3
    assert (optimizer.weight_decay == 0.02) is (name == "adamw")
    assert make_model(recipe("clip_norm=0")).optimizer.clipnorm is None


def test_weight_decay_leaves_biases_alone() -> None:
    model = make_model(recipe("weight_decay=0.5", "learning_rate=0.1"))
    kernel, bias = (np.asarray(weight) for weight in model.get_weights())
    model.set_weights([kernel, bias + 1])
    nothing = np.zeros(6, np.float32)  # no photo counts: what is left is decay
    model.train_on_batch(INPUTS, join_targets(TARGETS, None, recipe()), sample_weight=nothing, return_dict=True)
    decayed, kept = model.get_weights()
    np.testing.assert_allclose(decayed, kernel * (1 - 0.1 * 0.5), rtol=1e-5)  # float32
    np.testing.assert_array_equal(kept, bias + 1)


# Teachers


def test_without_a_teacher_the_target_is_the_annotation() -> None:
    joined = join_targets(TARGETS, None, recipe("teacher_weight=0.7"))
    np.testing.assert_array_equal(joined[:, :2], TARGETS)
    np.testing.assert_array_equal(joined[:, 2], TARGETS.argmax(axis=1))


def test_a_teacher_shares_the_target_and_not_the_annotated_label() -> None:
    teacher = np.asarray([[0.2, 0.8]] * 6)
    joined = join_targets(TARGETS, teacher, recipe("teacher_weight=0.75"))
    np.testing.assert_allclose(joined[0, :2], [0.25 + 0.75 * 0.2, 0.75 * 0.8], rtol=1e-6)  # float32
    np.testing.assert_allclose(joined[:, :2].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(joined[:, 2], TARGETS.argmax(axis=1))


def test_a_temperature_softens_the_teacher() -> None:
    teacher = np.asarray([[0.1, 0.9]] * 6)
    joined = join_targets(TARGETS, teacher, recipe("teacher_weight=1", "teacher_temperature=2"))
    roots = np.sqrt([0.1, 0.9])
    np.testing.assert_allclose(joined[0, :2], roots / roots.sum(), rtol=1e-6)


def test_a_teacher_that_is_quite_sure_gives_finite_targets() -> None:
    joined = join_targets(TARGETS, np.asarray([[0.0, 1.0]] * 6), recipe("teacher_temperature=5"))
    assert np.isfinite(joined).all()

"""Two halves of the representative dataset, two files: what differs between them is the choice of photos."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.conversion import stability
from edgegender.conversion.float_network import FloatNetwork
from edgegender.conversion.measured import MeasuredPhotos, score_inputs
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.conversion.stability import check_stability
from edgegender.entities import UInt8Array
from edgegender.errors import DataError
from edgegender.metrics import predict_labels
from edgegender.paired import compare_predictions
from tests.conv_model import SIZE_PX, build_conv_network

pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

NETWORK = FloatNetwork(build_conv_network(is_float=True), "tf", SIZE_PX, 2, lambda _: b"")


def pictures(count: int, seed: int, *, highest: int = 255) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, highest + 1, (count, SIZE_PX, SIZE_PX, 3), np.uint8)


# the first half is dark and the second is not: their ranges differ, and with them the answers
REPRESENTATIVE = np.concatenate([pictures(12, 1, highest=60), pictures(13, 2)])
TO_COMPARE = np.concatenate([pictures(20, 3), pictures(20, 4, highest=90)])
PHOTOS = MeasuredPhotos(lambda: iter(TO_COMPARE), np.arange(40) % 2, np.full((40, 2), 0.5))


@pytest.mark.parametrize("plan", [IntegerPlan(), IntegerPlan("mse", io_type="int8")], ids=["plain", "mse, int8"])
@pytest.mark.parametrize(("positive_index", "threshold"), [(1, 0.7), (0, 0.4)])  # at one half no answer changes
def test_the_result_is_that_of_two_files_compared_by_hand(
    plan: IntegerPlan, positive_index: int, threshold: float
) -> None:
    first, second = (
        score_inputs(Quantizer(NETWORK, part).integer(plan), TO_COMPARE, scaling="tf")
        for part in (REPRESENTATIVE[:12], REPRESENTATIVE[12:24])
    )
    got = check_stability(
        Quantizer(NETWORK, REPRESENTATIVE), plan, PHOTOS, positive_index=positive_index, threshold=threshold
    )
    answers = [predict_labels(own, positive_index=positive_index, threshold=threshold) for own in (first, second)]
    assert got.num_photos == 12
    assert got.difference == compare_predictions(*answers, PHOTOS.annotated)
    assert got.difference.flips > 0
    assert got.max_score_change == np.abs(second - first).max() > 0
    assert got.mean_score_change == pytest.approx(np.abs(second - first)[:, positive_index].mean())


def test_the_halves_are_disjoint_and_equally_large(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[UInt8Array] = []

    class Watched(Quantizer):
        def __init__(self, network: FloatNetwork, representative: UInt8Array) -> None:
            seen.append(representative)
            super().__init__(network, representative)

    monkeypatch.setattr(stability, "Quantizer", Watched)
    check_stability(Quantizer(NETWORK, REPRESENTATIVE), IntegerPlan(), PHOTOS, positive_index=1)
    assert [len(part) for part in seen] == [12, 12]
    shown = [{image.tobytes() for image in part} for part in seen]
    assert not shown[0] & shown[1]
    assert shown[0] | shown[1] == {image.tobytes() for image in REPRESENTATIVE[:24]}


def test_the_same_photos_twice_differ_by_nothing() -> None:
    twice = np.concatenate([REPRESENTATIVE[:12]] * 2)
    got = check_stability(Quantizer(NETWORK, twice), IntegerPlan(), PHOTOS, positive_index=1)
    assert (got.max_score_change, got.mean_score_change) == (0.0, 0.0)
    assert (got.difference.flips, got.difference.difference.value, got.difference.p_value) == (0, 0.0, 1.0)


@pytest.mark.parametrize("count", [0, 1, 19])
def test_too_few_photos_for_two_halves_are_refused(count: int) -> None:
    message = rf"Expected at least 20 representative photos for two halves, got {count}\."
    with pytest.raises(DataError, match=message) as caught:
        check_stability(Quantizer(NETWORK, REPRESENTATIVE[:count]), IntegerPlan(), PHOTOS, positive_index=1)
    assert caught.value.hint == "Raise --representative."


def test_twenty_photos_are_enough() -> None:
    got = check_stability(Quantizer(NETWORK, REPRESENTATIVE[:20]), IntegerPlan(), PHOTOS, positive_index=1)
    assert got.num_photos == 10

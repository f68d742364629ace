"""Records that cross package borders."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgegender.entities import FaceBox, FacePrediction, ModelMetadata, Preprocessing, QuantizationScheme


def test_the_side_of_a_box_is_the_larger_of_width_and_height() -> None:
    assert FaceBox(10, 20, 40, 30).side_px == 30
    assert FaceBox(10, 20, 20, 60).side_px == 40


def test_a_box_knows_its_center_and_corners_outside_of_the_photo_too() -> None:
    box = FaceBox(-10, -20, 30, 40, 0.5)
    assert box.center_xy == (10, 10)
    assert box.box_xyxy == (-10, -20, 30, 40)


@pytest.mark.parametrize(
    "record",
    [
        FaceBox(0, 0, 1, 1),
        Preprocessing(),
        FacePrediction(None, "a", 1.0, {"a": 1.0}, is_unsure=False),
        ModelMetadata(("a", "b"), "b", Preprocessing(), "mobilenetv2", QuantizationScheme.FLOAT32),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_cannot_be_changed(record: object) -> None:
    field = dataclasses.fields(record)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{field}'"):
        setattr(record, field, 1)


def test_a_scheme_is_written_to_json_as_its_name() -> None:
    assert json.dumps({"scheme": QuantizationScheme.FULL_INTEGER}) == '{"scheme": "full_integer"}'
    assert QuantizationScheme("float32") is QuantizationScheme.FLOAT32


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="'int4' is not a valid QuantizationScheme"):
        QuantizationScheme("int4")


def test_a_model_without_calibration_answers_from_one_half_and_is_never_unsure() -> None:
    metadata = ModelMetadata(("a", "b"), "b", Preprocessing(), "mobilenetv2", QuantizationScheme.FLOAT32)
    assert (metadata.threshold, metadata.temperature, metadata.unsure_below) == (0.5, 1.0, 0.0)

"""Boxes and labels are drawn onto a copy, inside of the picture, whatever the box."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.entities import FaceBox, FacePrediction
from edgegender.runtime.annotate import annotate_faces, annotate_tracked
from edgegender.runtime.tracked import TrackedFace
from tests.tiny_model import grey_picture

BOX = FaceBox(60, 80, 140, 160)


def answer(box: FaceBox | None = BOX, *, is_unsure: bool = False, label: str = "male") -> FacePrediction:
    return FacePrediction(box, label, 0.93, {"female": 0.07, "male": 0.93}, is_unsure)


def tracked(prediction: FacePrediction, *, track_id: int = 3, is_detected: bool = True) -> TrackedFace:
    return TrackedFace(track_id, prediction, is_fresh=True, is_detected=is_detected, num_classified=1, is_settled=False)


def test_the_photo_itself_is_not_touched() -> None:
    photo = grey_picture(100, 200)
    drawn = annotate_faces(photo, [answer()])
    assert (photo == 100).all()
    assert drawn.shape == photo.shape
    assert not np.shares_memory(photo, drawn)


def test_the_edges_of_the_box_are_drawn_and_its_inside_is_not() -> None:
    drawn = annotate_faces(grey_picture(100, 200), [answer()])
    for x, y in ((60, 120), (140, 120), (100, 160)):
        assert (drawn[y, x] != 100).any(), (x, y)
    assert (drawn[100:150, 75:125] == 100).all()


def test_without_a_face_the_copy_is_the_photo() -> None:
    np.testing.assert_array_equal(annotate_faces(grey_picture(100, 50), []), grey_picture(100, 50))


def test_a_whole_photo_is_labelled_in_its_corner() -> None:
    drawn = annotate_faces(grey_picture(100, 200), [answer(None)])
    assert (drawn[:30] != 100).any()
    assert (drawn[60:] == 100).all()


def test_an_unsure_answer_has_another_colour() -> None:
    sure, unsure = (annotate_faces(grey_picture(100, 200), [answer(is_unsure=value)]) for value in (False, True))
    assert (sure[120, 60] != unsure[120, 60]).any()


def test_each_face_is_drawn() -> None:
    other = FaceBox(150, 100, 190, 140)
    one, two = (annotate_faces(grey_picture(100, 200), faces) for faces in ([answer()], [answer(), answer(other)]))
    assert (one[120, 190] == 100).all()
    assert (two[120, 190] != 100).any()


@pytest.mark.parametrize(
    "box",
    [
        FaceBox(-500, -500, 5000, 5000),
        FaceBox(190, 190, 260, 260),
        FaceBox(300, 300, 400, 400),
        FaceBox(-1e6, -1e6, 1e6, 1e6),
        FaceBox(10.5, 10.5, 10.6, 10.6),
    ],
)
@pytest.mark.parametrize("shape", [(1, 1), (200, 200), (30, 400)])
def test_boxes_beyond_the_picture_are_no_fault(box: FaceBox, shape: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), 100, np.uint8)
    assert annotate_faces(photo, [answer(box)]).shape == photo.shape


def test_a_label_that_is_long_or_not_latin_is_no_fault() -> None:
    for label in ("x" * 300, "женщина", "女性"):
        assert (annotate_faces(grey_picture(100, 200), [answer(label=label)]) != 100).any()


# Tracked faces


def test_a_frame_is_not_touched_when_its_tracks_are_drawn() -> None:
    frame = grey_picture(100, 300)
    drawn = annotate_tracked(frame, [tracked(answer())])
    assert (frame == 100).all()
    assert (drawn[120, 60] != 100).any()


def test_a_track_is_labelled_with_its_number_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("cv2.putText", lambda _image, text, *_others: written.append(text))
    annotate_tracked(grey_picture(100, 300), [tracked(answer()), tracked(answer(is_unsure=True), track_id=12)])
    assert written == ["#3 male 93%", "#12 unsure"]


def test_a_face_that_is_only_followed_has_a_dashed_box() -> None:
    seen, followed = (
        annotate_tracked(grey_picture(100, 400), [tracked(answer(), is_detected=value)]) for value in (True, False)
    )
    edge_of_seen, edge_of_followed = ((drawn[90:155, 60] != 100).any(axis=1) for drawn in (seen, followed))
    assert edge_of_seen.all()
    assert 0.3 < edge_of_followed.mean() < 0.8


def test_a_tracked_face_without_a_box_is_labelled_in_the_corner() -> None:
    drawn = annotate_tracked(grey_picture(100, 200), [tracked(answer(None), is_detected=False)])
    assert (drawn[:30] != 100).any()
    assert (drawn[60:] == 100).all()


@pytest.mark.parametrize("box", [FaceBox(-1e9, -1e9, 1e9, 1e9), FaceBox(190, 190, 260, 260), FaceBox(5, 5, 5.2, 5.2)])
def test_a_followed_box_beyond_the_picture_is_no_fault(box: FaceBox) -> None:
    drawn = annotate_tracked(grey_picture(200, 200), [tracked(answer(box), is_detected=False)])
    assert drawn.shape == (200, 200, 3)

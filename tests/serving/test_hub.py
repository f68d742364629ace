"""The camera's side of the preview: nobody who watches holds it up, and without anybody there is no work."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edgegender import images
from edgegender.runtime.camera_events import counts_event
from edgegender.runtime.outputs import CameraOutput
from edgegender.serving.hub import PreviewHub
from tests.pictures import gradient
from tests.serving.running import DEADLINE_S, ToldSource, result, wait_until, write


def first_picture(hub: PreviewHub, picture_rgb: np.ndarray) -> bytes:
    """Watches until the hub has encoded a picture, and returns its file."""
    fresh = threading.Event()
    with hub.watching(fresh.set):
        write(hub, 1, picture_rgb)
        assert fresh.wait(DEADLINE_S)
        assert hub.picture is not None
        return hub.picture.jpeg


def test_a_hub_is_an_output_of_the_camera() -> None:
    hub = PreviewHub()
    output: CameraOutput = hub
    assert output.name == "preview"
    hub.close()


def test_a_picture_is_wanted_only_while_somebody_watches() -> None:
    hub = PreviewHub()
    assert not hub.wants_picture
    with hub.watching(lambda: None):
        assert hub.wants_picture
        assert hub.num_viewers == 1
    assert not hub.wants_picture
    hub.close()


def test_without_a_viewer_no_picture_is_kept_and_no_thread_runs() -> None:
    before = threading.active_count()
    hub = PreviewHub()
    write(hub, 1, gradient(48, 64))
    assert hub.picture is None
    assert threading.active_count() == before
    hub.close()


def test_a_viewer_gets_the_picture_as_a_jpeg() -> None:
    hub = PreviewHub(jpeg_quality=90)
    decoded = images.decode_image(first_picture(hub, gradient(48, 64)))
    # quality 90 moves a smooth picture by a few levels
    assert np.abs(decoded.astype(int) - gradient(48, 64)).max() < 16
    hub.close()


def test_the_last_picture_is_forgotten_with_the_last_viewer() -> None:
    hub = PreviewHub()
    first_picture(hub, gradient(48, 64))
    assert hub.picture is None
    hub.close()


def test_a_wide_picture_is_made_smaller_and_a_small_one_is_not() -> None:
    hub = PreviewHub(max_width_px=100)
    assert images.read_size(first_picture(hub, gradient(150, 200))) == (100, 75)
    assert images.read_size(first_picture(hub, gradient(40, 60))) == (60, 40)
    hub.close()


def test_one_picture_is_encoded_once_for_all_viewers() -> None:
    hub = PreviewHub()
    woken = [threading.Event(), threading.Event()]
    with hub.watching(woken[0].set), hub.watching(woken[1].set):
        write(hub, 1, gradient(48, 64))
        assert all(event.wait(DEADLINE_S) for event in woken)
        assert hub.picture is not None
        assert hub.picture.number == 1
    hub.close()


def test_under_aggregate_only_there_is_never_a_picture() -> None:
    hub = PreviewHub(is_aggregate_only=True)
    with hub.watching(lambda: None):
        assert not hub.wants_picture
        write(hub, 1, gradient(48, 64))
        assert hub.picture is None
    hub.close()


def test_under_aggregate_only_no_face_is_passed_on_even_where_one_was_given() -> None:
    hub = PreviewHub(is_aggregate_only=True)
    write(hub)
    _, event = hub.latest_event()
    assert event is not None
    assert event["faces"] == []
    assert event["people"] == {"female": 3, "male": 4, "unsure": 1}
    hub.close()


def test_a_viewer_that_takes_too_long_does_not_keep_pictures_coming() -> None:
    hub = PreviewHub()
    with hub.watching(lambda: None) as viewer:
        with viewer.sending():
            assert hub.wants_picture
            wait_until(lambda: not hub.wants_picture)
        assert hub.wants_picture
    hub.close()


def test_a_picture_that_cannot_be_encoded_is_a_problem_and_no_end() -> None:
    hub = PreviewHub()
    with hub.watching(lambda: None):
        write(hub, 1, np.zeros((0, 0, 3), np.uint8))
        problems: list[str] = []
        wait_until(lambda: bool(problems.extend(hub.take_problems()) or problems))
    assert "Expected a picture to encode" in problems[0]
    assert hub.take_problems() == []
    assert first_picture(hub, gradient(48, 64))
    hub.close()


def test_a_frame_is_taken_in_less_than_a_millisecond() -> None:
    hub = PreviewHub()
    picture_rgb = gradient(720, 1280)
    found, times_s = result(), []
    event = {"type": "faces", "faces": []}
    with hub.watching(lambda: None):
        for _ in range(200):
            start_s = time.perf_counter()
            hub.write(found, event, picture_rgb)
            times_s.append(time.perf_counter() - start_s)
            time.sleep(0.001)  # a camera's pace, so that the encoder is at work in between
    hub.close()
    assert np.percentile(times_s, 90) < 0.001  # the rest is the scheduler of a busy machine


def test_a_closed_hub_wakes_its_viewers_and_takes_frames_as_before() -> None:
    hub = PreviewHub()
    woken = threading.Event()
    with hub.watching(woken.set):
        hub.close()
        hub.close()
        assert woken.is_set()
        assert hub.is_closed
        write(hub, 1, gradient(48, 64))
        assert hub.picture is None


def test_events_of_other_types_are_kept_in_order_up_to_a_number() -> None:
    hub = PreviewHub()
    for count in range(100):
        hub.tell(counts_event(window_s=1, people={"female": count}, people_in_all={}))
    assert hub.num_notices == 100
    assert [number for number, _ in hub.notices_after(97)] == [98, 99, 100]
    assert len(hub.notices_after(0)) == 64
    hub.close()


# The state


def test_the_state_tells_source_speed_and_people() -> None:
    source = ToldSource()
    source.counters.frames = 7
    hub = PreviewHub(source=source)
    for index in range(5):
        write(hub, index)
        time.sleep(0.02)
    state = hub.state()
    assert state["source"] == {
        "name": "drawn film", "is_live": True, "state": "running", "problem": None,
        "counters": {"frames": 7, "drops": 0, "stalls": 0, "losses": 0, "reconnects": 0, "damaged": 0},
    }  # fmt: skip
    assert (state["is_healthy"], state["trouble"]) == (True, None)
    assert state["stage_ms"] == {"detect": 12.5, "track": 0.4, "classify": 3.25}
    assert (state["frame"], state["size_wh"]) == (4, [640, 480])
    assert state["people"] == {"female": 3, "male": 4, "unsure": 1}
    assert 0 < hub.fps <= 50  # five frames, at least 20 ms apart
    hub.close()


def test_before_the_first_frame_the_state_is_empty() -> None:
    hub = PreviewHub()
    state = hub.state()
    assert (state["source"], state["frame"], state["people"], state["fps"]) == (None, None, {}, 0)
    hub.close()


@pytest.mark.parametrize(
    ("source_state", "trouble"),
    [("running", ""), ("opening", ""), ("lost", "the source is lost"), ("finished", "the source has finished")],
)
def test_a_camera_is_in_trouble_when_its_source_is(source_state: str, trouble: str) -> None:
    hub = PreviewHub(source=ToldSource(state=source_state))
    assert hub.find_trouble() == trouble
    hub.close()


def test_a_camera_without_frames_is_in_trouble_until_one_comes() -> None:
    hub = PreviewHub(silence_s=0.02)
    wait_until(lambda: hub.find_trouble() == "no frame for 0 s")
    write(hub)
    assert hub.find_trouble() == ""
    hub.close()


def test_stage_times_are_summed_by_stage() -> None:
    hub = PreviewHub()
    write(hub, 0)
    write(hub, 1)
    totals = hub.stage_totals()
    assert totals["detect"].frames == 2
    assert totals["detect"].seconds == pytest.approx(0.025)
    hub.close()

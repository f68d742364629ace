"""Options of a source."""

from __future__ import annotations

import pytest

from edgegender.errors import UsageError
from edgegender.runtime.capture import CaptureOptions


@pytest.mark.parametrize("size_wh", [(0, 480), (640, -1), (20_000, 10), (16_000, 16_000), (640,)])
def test_a_size_that_cannot_be_is_refused(size_wh: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"Expected a size of 1 to 16384 pixels a side, got .*\(size_wh\)"):
        CaptureOptions(size_wh=size_wh)


@pytest.mark.parametrize("fps", [0, -1, 1001, float("nan")])
def test_a_rate_that_cannot_be_is_refused(fps: float) -> None:
    with pytest.raises(UsageError, match=r"Expected 0 < fps <= 1000, got"):
        CaptureOptions(fps=fps)


def test_an_unknown_pixel_format_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected one of rgb24, bgr24, gray, got 'yuv' \(pixel_format\)"):
        CaptureOptions(pixel_format="yuv")


def test_an_unknown_transport_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected one of tcp, udp, got 'sctp' \(rtsp_transport\)"):
        CaptureOptions(rtsp_transport="sctp")


@pytest.mark.parametrize("name", ["watchdog_s", "open_timeout_s", "retry_first_s", "retry_max_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_time_that_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"Expected a time above 0 s, got {value} \({name}\)"):
        CaptureOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("lores_px", [31, 16385])
def test_a_side_that_cannot_be_is_refused(lores_px: int) -> None:
    with pytest.raises(UsageError, match=r"Expected 32 <= lores_px <= 16384, got"):
        CaptureOptions(lores_px=lores_px)

"""Facts about the canvas that drawn faces are painted on."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.data.drawn_canvas import Canvas, ellipse, ribbon, smooth, symmetric


def make_canvas(size_px=40, *, unit_px=20.0, tilt_deg=0.0):
    image = np.zeros((3, size_px, size_px), np.float32)
    return Canvas(image, center_xy=(size_px / 2, size_px / 2), unit_px=unit_px, tilt_deg=tilt_deg)


def test_a_filled_square_covers_its_area():
    canvas = make_canvas()
    canvas.fill([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], color=(255, 255, 255))
    # 400 pixels; OpenCV's filler paints the edge's own pixels too: a quarter pixel around 80
    assert canvas.image[0].sum() / 255 == pytest.approx(400, abs=25)
    assert canvas.image[:, 20, 20].tolist() == [255, 255, 255]
    assert canvas.image[:, 5, 5].tolist() == [0, 0, 0]


def test_tilt_turns_the_frame_clockwise():
    canvas = make_canvas(tilt_deg=90)
    canvas.fill(ellipse((0.8, 0.0), (0.1, 0.1)), color=(255, 0, 0))
    row, column = np.unravel_index(canvas.image[0].argmax(), (40, 40))
    assert (column, row) == pytest.approx((19.5, 35.5), abs=2.5)  # the disc's radius
    assert canvas.u[35, 19] == pytest.approx(0.775, abs=0.03)  # half a pixel


def test_a_canvas_turned_about_a_point_keeps_that_point():
    canvas = make_canvas(tilt_deg=20)
    turned = canvas.turned_about((0.3, 0.4), turn_deg=-35)
    nearest = [np.hypot(each.u - 0.3, each.v - 0.4).argmin() for each in (canvas, turned)]
    assert nearest[0] == nearest[1]


def test_a_glow_scales_the_middle_and_leaves_the_rest():
    canvas = make_canvas()
    canvas.image += 100
    canvas.glow((0.0, 0.0), (0.1, 0.1), (1.5, 1.0, 0.5))
    # 4 grey levels: the middle stands between four pixels, a third of a sigma away, where the spot has 94 %
    assert canvas.image[:, 20, 20] == pytest.approx([150, 100, 50], abs=4)
    assert canvas.image[:, 0, 0].tolist() == [100, 100, 100]


def test_shapes_outside_of_the_picture_paint_nothing():
    canvas = make_canvas()
    canvas.fill(ellipse((9.0, 9.0), (0.1, 0.1)), color=(255, 0, 0))
    canvas.glow((-9.0, 0.0), (0.1, 0.1), 2.0)
    assert not canvas.image.any()
    assert not canvas.mask(ellipse((9.0, 9.0), (0.1, 0.1))).any()


def test_a_smooth_curve_goes_through_its_points():
    points = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)]
    assert smooth(points)[::8].tolist() == [[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]]
    assert smooth(points, is_closed=True).shape == (24, 2)


def test_a_ribbon_is_as_wide_as_asked():
    edge = ribbon([(0.0, 0.0), (1.0, 0.0)], [0.2, 0.4])
    assert edge[:, 1].max() == pytest.approx(0.2)
    assert abs(edge[0, 1]) == pytest.approx(0.1)


def test_a_point_on_the_axis_is_not_doubled():
    assert symmetric([(0.0, 1.0), (2.0, 3.0)]).tolist() == [[-2.0, 3.0], [0.0, 1.0], [2.0, 3.0]]
    assert symmetric([(1.0, 1.0)]).tolist() == [[-1.0, 1.0], [1.0, 1.0]]

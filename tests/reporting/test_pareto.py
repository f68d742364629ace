"""The plot: what is beaten, where the axes' marks stand, and names that lie on nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from edgegender.metrics import Interval
from edgegender.reporting import pareto
from edgegender.reporting.pareto import log_ticks, make_plot, name_configurations, nice_ticks, pareto_front
from edgegender.reporting.plot_labels import place_labels
from edgegender.reporting.tables import LatencyFigure
from tests.reporting.test_tables import ROW, UNMEASURED


def row(model, accuracy, ms, size_bytes=1_000_000, **changes):
    latency = {percent: LatencyFigure(int(ms * 1e6), int(ms * 0.99e6), int(ms * 1.01e6)) for percent in (50, 90)}
    interval = Interval(accuracy, accuracy - 0.01, accuracy + 0.005)
    return replace(ROW, model=model, accuracy=interval, latency=latency, size_bytes=size_bytes, **changes)


def plot(*rows, percent=90):
    return make_plot(rows, range(1, len(rows) + 1), title="pi", percent=percent, data_sha256=ROW.data_sha256)


def kinds(drawn):
    return {point.number: point.kind for point in drawn.points}


def test_a_point_is_on_the_front_when_nothing_beats_it():
    assert pareto_front([(2, 0.9), (1, 0.9), (1, 0.8), (3, 0.95), (4, 0.95)]) == [False, True, False, True, False]
    assert pareto_front([]) == []


def test_invalid_rows_and_rows_on_other_photos_take_no_part_in_the_front():
    drawn = plot(
        row("a", 0.9, 1.0),
        row("b", 0.8, 2.0),
        row("c", 0.99, 0.5, is_valid=False),
        row("d", 0.99, 0.6, data_sha256="ef" * 32),
    )
    assert kinds(drawn) == {1: "front", 2: "beaten", 3: "invalid", 4: "other"}
    assert drawn.front.count(",") == 1


def test_rows_without_an_accuracy_are_not_drawn():
    assert plot(UNMEASURED) is None
    assert kinds(plot(UNMEASURED, row("a", 0.9, 1.0))) == {2: "front"}


def test_the_area_of_a_disc_is_the_size_of_the_file():
    radii = {point.number: point.radius for point in plot(row("a", 0.9, 1.0, 4_000_000), row("b", 0.95, 2.0)).points}
    assert radii[1] == pytest.approx(2 * radii[2], abs=0.1)  # radii are rounded to a tenth


def test_better_is_up_and_left_and_bars_enclose_their_point():
    drawn = plot(row("a", 0.9, 1.0), row("b", 0.95, 2.0))
    first, second = sorted(drawn.points, key=lambda point: point.number)
    assert first.x < second.x
    assert second.y < first.y
    for point in drawn.points:
        assert point.x_low <= point.x <= point.x_high
        assert point.y_high < point.y < point.y_low
        assert point.x_low >= pareto.LEFT
        assert point.x_high <= pareto.RIGHT


def test_far_latencies_stand_on_a_logarithmic_axis_and_near_ones_do_not():
    assert plot(row("a", 0.9, 1.0), row("b", 0.95, 40.0)).is_log
    assert not plot(row("a", 0.9, 1.0), row("b", 0.95, 1.5)).is_log
    assert len(plot(row("a", 0.9, 1.0), row("b", 0.95, 1.5)).x_ticks) >= 3


def test_a_single_configuration_has_a_plot_with_marks():
    drawn = plot(row("a", 1.0, 1.0))
    assert len(drawn.x_ticks) >= 2
    assert len(drawn.y_ticks) >= 2


def test_marks_are_round_numbers_within_the_range():
    assert nice_ticks(94.2, 98.9) == [95.0, 96.0, 97.0, 98.0]
    assert nice_ticks(0.0, 0.0) == [0.0]
    assert log_ticks(0.3, 3) == [0.5, 1.0, 2.0]
    assert log_ticks(0.05, 200) == [0.1, 1.0, 10.0, 100.0]


def test_a_name_says_what_differs_and_no_more():
    rows = [row("a", 0.9, 1.0), row("a", 0.9, 1.0, num_threads=2)]
    assert name_configurations(rows) == ["a, 1 thread", "a, 2 threads"]
    rows = [
        row("a", 0.9, 1.0, engine="x", batch_size=1),
        row("a", 0.9, 1.0, engine="y", batch_size=8, scheme="float32"),
    ]
    assert name_configurations(rows) == ["a, full_integer, x, batch 1", "a, float32, y, batch 8"]
    assert name_configurations([row("a-float32", 0.9, 1.0, scheme="float32"), row("b", 0.9, 1.0)])[0] == "a-float32"


def box_of(label):
    width = 5.9 * len(label.text)
    left = label.x - {"start": 0, "middle": width / 2, "end": width}[label.anchor]
    return left, label.y - 9.6, left + width, label.y + 2.4


def test_no_name_lies_on_another_one_nor_outside():
    points = [(60.0 + 9 * number, 200.0, 5.0, f"network-{number}") for number in range(30)]
    room = (50.0, 10.0, 600.0, 350.0)
    labels = place_labels(points, box=room)
    assert 5 <= len(labels) < 30  # there is not room for all
    boxes = [box_of(label) for label in labels]
    for one, other in itertools.combinations(boxes, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
    assert all(left >= room[0] and right <= room[2] for left, _, right, _ in boxes)


def test_a_name_keeps_clear_of_a_line_where_it_can():
    (label,) = place_labels([(100.0, 100.0, 5.0, "a")], box=(0.0, 0.0, 400.0, 200.0), lines=[[(0, 100), (400, 100)]])
    assert abs(label.y - 100) > 6
    crowded = place_labels(
        [(10.0, 8.0, 5.0, "a")], box=(0.0, 0.0, 400.0, 15.0), lines=[[(0, y), (400, y + 1)] for y in range(15)]
    )
    assert len(crowded) == 1


def test_a_long_name_is_cut_and_the_title_has_all_of_it():
    drawn = plot(row("n" * 60, 0.9, 1.0), row("b", 0.95, 40.0))
    assert any(label.text.endswith("…") for label in drawn.labels)
    assert any(point.title.startswith("n" * 60) for point in drawn.points)

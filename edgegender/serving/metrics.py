"""What Prometheus reads: the camera's and the server's counts, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from edgegender.serving.counters import ServingCounters
from edgegender.serving.hub import PreviewHub

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SOURCE_HELP = {
    "frames": "Frames that the source handed out.",
    "drops": "Frames that were left for a newer one.",
    "stalls": "Times that no frame came for longer than the watchdog allows.",
    "losses": "Times that the source went away.",
    "reconnects": "Times that the source came back.",
    "damaged": "Frames that could not be decoded or were cut off.",
}


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"edgegender_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class _ServingCollector(Collector):
    """Reads the counts when they are asked for.

    Args:
        hub: The camera; ``None`` where only photos are answered.
        counters: Of the server.
    """

    def __init__(self, hub: PreviewHub | None, counters: ServingCounters) -> None:
        self._hub = hub
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Gives each metric."""
        counters = self._counters
        yield _counter("predictions", "Photos that were answered.", "status", dict(counters.predictions))
        refused = {str(status): count for status, count in counters.refused.items()}
        yield _counter("refused_requests", "Requests that were answered with an error.", "code", refused)
        if self._hub is not None:
            yield from _collect_hub(self._hub)


def _collect_hub(hub: PreviewHub) -> Iterator[Metric]:
    if hub.source is not None:
        for name, value in hub.source.counters.to_json().items():
            yield CounterMetricFamily(f"edgegender_{name}", _SOURCE_HELP.get(name, name), value=value)
    yield GaugeMetricFamily("edgegender_up", "1 where the camera is healthy, else 0.", value=not hub.find_trouble())
    yield GaugeMetricFamily("edgegender_fps", "Frames a second over the last three seconds.", value=hub.fps)
    yield GaugeMetricFamily("edgegender_viewers", "Viewers of the live picture.", value=hub.num_viewers)
    people = GaugeMetricFamily("edgegender_people", "People seen since the start.", labels=["label"])
    for label, count in hub.people.items():
        people.add_metric([label], count)
    yield people
    stages = SummaryMetricFamily("edgegender_stage_seconds", "Seconds by stage of a frame.", labels=["stage"])
    for stage, total in hub.stage_totals().items():
        stages.add_metric([stage], count_value=total.frames, sum_value=total.seconds)
    yield stages


def create_registry(hub: PreviewHub | None, counters: ServingCounters) -> CollectorRegistry:
    """Returns a registry that holds nothing else of this process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServingCollector(hub, counters))
    return registry


def format_metrics(registry: CollectorRegistry) -> bytes:
    """Returns all metrics as text.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
    """
    return generate_latest(registry)

"""The Prometheus page."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from connected_registry.metrics import Metrics, edge_labels


def _samples(metrics: Metrics) -> list[tuple[str, dict[str, str], float]]:
    families = text_string_to_metric_families(metrics.render().decode())
    return [(each.name, each.labels, each.value) for family in families for each in family.samples]


def test_every_sample_carries_the_edge_labels() -> None:
    """Hub, device, module and the number of this start are on each sample of the page."""
    labels = edge_labels("hub", "device", "module")
    metrics = Metrics(labels=labels)
    metrics.requests.labels("GET", "manifests", "200").inc()
    samples = _samples(metrics)
    assert samples
    for _, found, _ in samples:
        assert labels.items() <= found.items()


def test_names_start_with_the_module_s() -> None:
    """All metrics of the page share one prefix, so that collectors can pick them."""
    for name, text in Metrics().names().items():
        assert re.fullmatch(r"connected_registry_[a-z_]+", name)
        assert text


def test_counters_end_in_total_and_creation_times_are_left_out() -> None:
    """A counter is one line a label set, as IoT Edge's collector wants it."""
    metrics = Metrics()
    metrics.pulls.inc(3)
    samples = _samples(metrics)
    assert ("connected_registry_pulls_total", {}, 3.0) in samples
    assert not [name for name, _, _ in samples if name.endswith("_created")]


def test_each_start_has_its_own_instance_number() -> None:
    """Two starts can be told apart, and counters that fall back to zero be understood."""
    assert edge_labels()["instance_number"] != edge_labels()["instance_number"]


def test_two_sets_of_metrics_do_not_meet() -> None:
    """Nothing is registered globally."""
    first, second = Metrics(), Metrics()
    first.pulls.inc()
    assert ("connected_registry_pulls_total", {}, 0.0) in _samples(second)

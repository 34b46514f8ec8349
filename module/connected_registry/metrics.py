"""Every Prometheus metric of the replica, and the page that shows them.

Names start with the module's, counters end in ``_total``, and each sample carries the labels that
IoT Edge's metrics collector expects.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    Summary,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from connected_registry import __version__

PREFIX: Final = "connected_registry"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def edge_labels(
    hub: str | None = None, device: str | None = None, module: str | None = None
) -> dict[str, str]:
    """The labels of every sample on this site; ``instance_number`` is new with every start."""
    return {
        "iothub": hub or "",
        "edge_device": device or "",
        "module_id": module or "",
        "instance_number": str(uuid.uuid4()),
    }


class Metrics:
    """All metrics, registered in one place; pass the object, not a global.

    ``render`` gives the page in Prometheus' text form.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._page = CollectorRegistry(auto_describe=False)
        self._page.register(_Labelled(self.registry, labels or {}))
        ProcessCollector(namespace=PREFIX, registry=self.registry)

        self.info = self._gauge("info", "Version of this software, always 1", "version")
        self.info.labels(__version__).set(1)

        self.requests = self._counter(
            "requests", "Requests answered by the endpoint", "method", "route", "status"
        )
        self.request_seconds = Summary(
            f"{PREFIX}_request_seconds",
            "Time from a request to the start of its answer, in seconds",
            ["route"],
            registry=self.registry,
        )
        self.served_bytes = self._counter("served_bytes", "Bytes of content sent to clients")
        self.pulls = self._counter("pulls", "Manifests pulled by clients")
        self.pushes = self._counter("pushes", "Manifests pushed by clients")
        self.received_bytes = self._counter("received_bytes", "Bytes of content pushed by clients")
        self.denials = self._counter("denials", "Requests refused for who asked", "reason")

        self.parent_requests = self._counter(
            "parent_requests", "Requests to the parent by how they ended", "outcome"
        )
        self.parent_bytes = self._counter("parent_bytes", "Bytes received from the parent")
        self.parent_online = self._gauge("parent_online", "1 while the parent answers, else 0")

        self.syncs = self._counter("syncs", "Syncs by how they ended", "result")
        self.sync_running = self._gauge("sync_running", "1 while a sync runs, else 0")
        self.sync_seconds = Summary(
            f"{PREFIX}_sync_seconds", "Time that syncs took, in seconds", registry=self.registry
        )
        self.last_success = self._gauge(
            "last_successful_sync_timestamp_seconds", "When the last sync succeeded, in Unix time"
        )
        self.in_sync = self._gauge(
            "in_sync", "1 for the state that holds: true, false or unknown", "state"
        )
        self.missing_images = self._gauge("missing_images", "Images in scope that are not here")
        self.missing_bytes = self._gauge("missing_bytes", "Bytes still to fetch for them")

        self.repositories = self._gauge("repositories", "Repositories held")
        self.tags = self._gauge("tags", "Tags held")
        self.manifests = self._gauge("manifests", "Manifests held")
        self.blobs = self._gauge("blobs", "Blobs held")
        self.stored_bytes = self._gauge("stored_bytes", "Bytes of content on disk")
        self.free_bytes = self._gauge("free_bytes", "Bytes free on the data folder's disk")

        self.job_up = self._gauge("job_up", "1 while a job runs or is done, 0 when failed", "job")
        self.job_restarts = self._gauge("job_restarts", "Times a job was started again", "job")
        self.twin_version = self._gauge("twin_version", "Newest desired version seen")
        self.twin_refused = self._counter("twin_refused", "Desired documents refused")
        self.methods = self._counter("methods", "Direct methods answered", "method", "status")

    def render(self) -> bytes:
        """The page; `CONTENT_TYPE` says what it is."""
        return generate_latest(self._page)

    def names(self) -> dict[str, str]:
        """Every metric with its help text, as the page shows them."""
        return {metric.name: metric.documentation for metric in self.registry.collect()}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}_total", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)


class _Labelled(Collector):
    """Another registry's samples, each with the same further labels.

    ``_created`` series are left out: the collector of IoT Edge takes them for metrics of their own.
    """

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = dict(labels)

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            labelled.samples = [
                Sample(
                    sample.name,
                    {**sample.labels, **self._labels},
                    sample.value,
                    sample.timestamp,
                    sample.exemplar,
                )
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield labelled

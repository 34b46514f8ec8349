"""What is measured, put into the metrics: events as they happen, states when they are asked for."""

from __future__ import annotations

from connected_registry.app.link import Link
from connected_registry.edge.reported import Facts, InSync
from connected_registry.endpoint.services import Pull
from connected_registry.metrics import Metrics
from connected_registry.supervisor import JobStatus


class Measures:
    """Counts into one `Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._parent_bytes = 0

    def pulled(self, pull: Pull) -> None:
        """Count something served."""
        self.metrics.served_bytes.inc(pull.bytes)
        if pull.kind == "manifest":
            self.metrics.pulls.inc()

    def synced(self, link: Link) -> None:
        """Count a sync that has ended."""
        last = link.synchronizer.last
        if last is None:
            return
        self.metrics.syncs.labels(last.state.value).inc()
        self.metrics.sync_seconds.observe(
            max(0.0, (last.ended_at - last.started_at).total_seconds())
        )

    def method(self, name: str, status: int) -> None:
        """Count a direct method that was answered."""
        self.metrics.methods.labels(name, str(status)).inc()

    def refresh(self, facts: Facts, link: Link | None, jobs: tuple[JobStatus, ...]) -> None:
        """Set every state to what it is now."""
        metrics = self.metrics
        cache = facts.cache
        metrics.repositories.set(cache.repositories)
        metrics.tags.set(cache.tags)
        metrics.manifests.set(cache.manifests)
        metrics.blobs.set(cache.blobs)
        metrics.stored_bytes.set(cache.bytes)
        metrics.free_bytes.set(cache.free_bytes or 0)
        for state in InSync:
            metrics.in_sync.labels(state.value).set(facts.in_sync is state)
        if facts.missing is not None:
            metrics.missing_images.set(facts.missing.images)
            metrics.missing_bytes.set(facts.missing.bytes)
        success = facts.sync.last_successful_sync_end_time
        if success is not None:
            metrics.last_success.set(success.timestamp())
        for job in jobs:
            metrics.job_up.labels(job.name).set(job.healthy)
            metrics.job_restarts.labels(job.name).set(job.restarts)
        if link is not None:
            metrics.parent_online.set(bool(link.synchronizer.connection.online))
            metrics.sync_running.set(link.synchronizer.running is not None)
            received = link.bytes_received
            # A new parent begins to count at nought.
            metrics.parent_bytes.inc(
                received - self._parent_bytes if received >= self._parent_bytes else received
            )
            self._parent_bytes = received

"""Counts and times for Prometheus. Nothing in them tells of an image or of who sent it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "mbdcnn_requests", "Answers by route and HTTP status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "mbdcnn_request_seconds", "Time to answer.", ["route"], registry=registry, buckets=_SECONDS
        )
        self._batch_images = Histogram(
            "mbdcnn_batch_images", "Images predicted together.", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self._batch_seconds = Histogram(
            "mbdcnn_batch_seconds", "Time to predict a batch.", registry=registry, buckets=_SECONDS
        )
        self.waiting = Gauge("mbdcnn_waiting", "Images waiting to be predicted.", registry=registry)
        self._admitted = Gauge("mbdcnn_admitted", "Requests for a prediction being worked on.", registry=registry)

    def watch_admitted(self, count: Callable[[], int]) -> None:
        """Ask this for the number of requests being worked on."""
        self._admitted.set_function(count)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_images.observe(images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Give all of them in Prometheus' text format."""
        return generate_latest(self._registry)

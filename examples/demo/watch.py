"""What a sidecar counts, read from its ``/metrics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

BREAKER_STATES = ("closed", "half-open", "open")


class Watch:
    """One sidecar, seen from its probes' port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._retries: Counter[str] = Counter()
        self._breakers: dict[str, str] = {}

    def new_retries(self) -> Counter[str]:
        """Reads the metrics; retries by reason since the last call. One that got no answer leaves them to the next."""
        try:
            samples = list(self._samples())
        except (OSError, HTTPException):
            return Counter()
        before = self._retries
        self._retries = Counter()
        for sample in samples:
            if sample.name == "sidecar_retries_total":
                self._retries[sample.labels["reason"]] += int(sample.value)
            elif sample.name == "sidecar_breaker_state":
                self._breakers[sample.labels["endpoint"]] = BREAKER_STATES[int(sample.value)]
        return self._retries - before

    def breaker(self, endpoint: str) -> str:
        """The state that the breaker was in at that reading."""
        return self._breakers.get(endpoint, "unknown")

    def _samples(self) -> Iterator[Sample]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=0.5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        for family in text_string_to_metric_families(text):
            yield from family.samples

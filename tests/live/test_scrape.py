"""A scrape of a large configuration, and the requests that are served meanwhile."""

from __future__ import annotations

import threading
import time

from prometheus_client.parser import text_string_to_metric_families

from tests.support.live import Client, Sidecar, Upstream, answering, services

SERVICES = 1000
ENDPOINTS = 10


def large(address: str) -> str:
    """A thousand services of ten endpoints each, and orders."""
    tables = [services(orders=address)]
    for number in range(SERVICES - 1):
        hosts = [f"10.{number // 250}.{number % 250}.{one + 1}:9001" for one in range(ENDPOINTS)]
        tables.append(f"[services.s{number}]\nendpoints = {hosts}\n")
    return "".join(tables)


def test_a_scrape_of_a_thousand_services_is_complete_and_holds_nobody_up() -> None:
    """Ten thousand endpoints are told of, and no request waits for that longer than a tenth of a second."""
    with Upstream(answering()) as server, Sidecar(large(server.address)) as sidecar:
        latencies: list[float] = []
        scraping = threading.Event()
        scraped = threading.Event()

        def ask() -> None:
            with Client(sidecar.ports["outbound"]) as client:
                while not scraped.is_set():
                    began = time.monotonic()
                    assert client.get("orders").status == 200
                    latencies.append(time.monotonic() - began)
                    scraping.set()

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        assert scraping.wait(10)
        before = len(latencies)
        try:
            page = sidecar.probe("/metrics").body
            asked_meanwhile = len(latencies) - before
        finally:
            scraped.set()
            asking.join(10)

        families = {family.name: family.samples for family in text_string_to_metric_families(page.decode())}
        named = {sample.labels["service"] for sample in families["sidecar_endpoints"]}
        assert len(named) == SERVICES
        states = families["sidecar_breaker_state"]
        assert len(states) == (SERVICES - 1) * ENDPOINTS + 1
        assert len({(one.labels["service"], one.labels["endpoint"]) for one in states}) == len(states)
        assert asked_meanwhile >= 5
        assert max(latencies) < 0.1
        assert sidecar.probe("/health/detailed").status == 200

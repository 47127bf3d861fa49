"""Figures out of counters, and whether two configurations are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.admin.figures import failures, quantile
from sidecar.admin.words import in_words
from sidecar.config.fingerprint import fingerprint
from sidecar.config.load import load
from sidecar.config.schema import Match
from sidecar.resilience.grpc import NUMBERS
from sidecar.telemetry.stats import BOUNDS, Stats


@pytest.mark.parametrize(
    ("status", "reason", "failed"),
    [
        (200, "", False),
        (404, "", False),
        (500, "", True),
        (503, "breaker_open", True),
        (200, "upstream_reset", True),
        (404, "no_route", True),
        (508, "loop_detected", True),
        (501, "", False),
        (505, "", False),
        (508, "", False),
        (499, "client_gone", False),
        (200, "client_gone", False),
    ],
)
def test_what_counts_as_failed(status: int, reason: str, failed: bool) -> None:
    """A reason, unless it is that the caller left; without one, what is a failure of the application."""
    stats = Stats("outbound", "orders", "")
    stats.requests = {(b"GET", status, reason): 3, (b"GET", 200, ""): 4}
    assert failures(stats) == (3 if failed else 0)


@pytest.mark.parametrize(
    ("http", "status", "reason", "failed"),
    [
        (200, "OK", "", False),
        (200, "NOT_FOUND", "", False),
        (200, "CANCELLED", "", False),
        (200, "UNAVAILABLE", "", True),
        (200, "UNKNOWN", "", True),
        (200, "INTERNAL", "", True),
        (200, "DEADLINE_EXCEEDED", "deadline_exceeded", True),
        (200, "UNAVAILABLE", "client_gone", False),
        (503, "UNAVAILABLE", "", True),
        (429, "UNAVAILABLE", "", False),
    ],
)
def test_a_grpc_call_fails_once(http: int, status: str, reason: str, failed: bool) -> None:
    """To HTTP it is a 200 that the application gave; what HTTP or a reason has told already is not counted again."""
    stats = Stats("outbound", "orders", "")
    stats.record(b"POST", http, reason, 0.1)
    stats.record_grpc(NUMBERS[status], reason, http)
    assert failures(stats) == failed


def test_without_requests_there_is_no_percentile() -> None:
    """None is not zero."""
    assert quantile([0] * (len(BOUNDS) + 1), 0.5) is None


def test_a_percentile_lies_within_its_bucket_by_its_rank() -> None:
    """Ten durations between 10 and 25 ms: half of them below the middle, as Prometheus estimates it."""
    stats = Stats("outbound", "orders", "")
    for _ in range(10):
        stats.record(b"GET", 200, "", 0.02)
    assert quantile(stats.buckets, 0.5) == 0.0175
    assert quantile(stats.buckets, 0.99) == 0.02485
    assert quantile(stats.buckets, 1.0) == 0.025


def test_percentiles_are_found_across_buckets() -> None:
    """Ninety fast and ten slow ones: the median is fast, the 95th is in the middle of the slow bucket."""
    stats = Stats("outbound", "orders", "")
    for number in range(100):
        stats.record(b"GET", 200, "", 0.0005 if number < 90 else 0.7)
    assert quantile(stats.buckets, 0.5) == pytest.approx(0.0005, abs=0.0001)
    assert quantile(stats.buckets, 0.9) == 0.001
    assert quantile(stats.buckets, 0.95) == 0.75


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    """Longer than 30 s is all that is known."""
    stats = Stats("outbound", "orders", "")
    stats.record(b"GET", 200, "", 45.0)
    assert quantile(stats.buckets, 0.5) == BOUNDS[-1]


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (Match(), "everything"),
        (Match(host="orders"), "host is orders"),
        (Match(path="/x", methods=("GET", "HEAD")), "path is /x, method GET or HEAD"),
        (Match(path_prefix="/api", headers={"x-a": "1"}), "path under /api, x-a is '1'"),
    ],
)
def test_a_match_in_words(match: Match, words: str) -> None:
    """All that it asks, and nothing that it does not."""
    assert in_words(match) == words


def of(tmp_path: Path, toml: str) -> str:
    file = tmp_path / "sidecar.toml"
    file.write_text('[service]\napp = "127.0.0.1:8080"\n' + toml)
    return fingerprint(load(str(file)))


def test_the_same_configuration_has_the_same_fingerprint(tmp_path: Path) -> None:
    """However its tables are arranged and its values are written."""
    one = '[services.a]\ntimeout = "1s"\n[services.b]\n[inbound]\ntrusted = ["10.0.0.0/8"]\n'
    same = '[inbound]\ntrusted = ["10.0.0.0/8"]\n[services.b]\n[services.a]\ntimeout = "1000ms"\n'
    assert of(tmp_path, one) == of(tmp_path, same)


@pytest.mark.parametrize(
    "other", ['[services.a]\ntimeout = "2s"\n', "[services.b]\n", '[inbound]\ntrusted = ["10.0.0.0/8"]\n']
)
def test_another_configuration_has_another_fingerprint(tmp_path: Path, other: str) -> None:
    """Whichever value it is."""
    assert of(tmp_path, other) != of(tmp_path, '[services.a]\ntimeout = "1s"\n')

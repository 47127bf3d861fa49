"""The retry rules; numbers are those of the user's integration patterns, through the defaults."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import Random
from sidecar.errors import Failure
from sidecar.resilience.retry import IDEMPOTENT, UNPROCESSED, Retry, Settings, parse_retry_after


class Top(Random):
    """Chance that always says almost one: shows the upper end of the jitter."""

    def random(self) -> float:
        return 1.0


def retry(random: Random | None = None, **settings: object) -> Retry:
    return Retry(msgspec.convert(settings, Settings), random or Random(1))


def test_back_off_doubles_from_100_ms_up_to_30_s() -> None:
    """The user's exponential back-off: initial 100 ms, multiplier 2.0, maximum 30 s."""
    delays = [retry(Top()).delay(retries) for retries in range(11)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])


def test_there_are_five_retries_on_top_of_the_first_attempt() -> None:
    """The user's maximum."""
    assert retry().max_retries == 5


def test_jitter_is_full_by_default() -> None:
    """Delays are spread evenly over everything from nothing to the whole back-off."""
    rules = retry(Random(7))
    delays = [rules.delay(3) for _ in range(10_000)]
    assert all(0 <= delay < 0.8 for delay in delays)
    for eighth in range(8):
        share = sum(eighth * 0.1 <= delay < (eighth + 1) * 0.1 for delay in delays)
        assert 1100 < share < 1400


def test_without_jitter_delays_are_the_back_off_itself() -> None:
    """jitter = "none"."""
    assert retry(jitter="none").delay(2) == pytest.approx(0.4)


@pytest.mark.parametrize("retries", [1023, 1024, 5000, 10**6, 10**400])
def test_a_huge_number_of_retries_does_not_overflow(retries: int) -> None:
    """The ceiling holds where the power no longer fits into a float."""
    assert retry(jitter="none").delay(retries) == 30.0


def test_5xx_may_be_retried_and_4xx_may_not() -> None:
    """The user's condition; 501, 505 and 508 would be the same again."""
    allowed = {status for status in range(100, 600) if retry().allows_status(status)}
    assert allowed == set(range(500, 600)) - {501, 505, 508}


def test_transient_network_failures_may_be_retried() -> None:
    """Timeouts and connection errors; nothing that the sidecar refused by itself."""
    assert {failure.reason for failure in Failure if retry().allows_failure(failure)} == {
        "connect_failed",
        "connect_timeout",
        "app_unreachable",
        "upstream_reset",
        "upstream_protocol",
        "deadline_exceeded",
        "stalled",
    }


@pytest.mark.parametrize(
    ("on", "reasons", "status"),
    [
        ("connect", {"connect_failed", "connect_timeout", "app_unreachable"}, False),
        ("reset", {"upstream_reset", "upstream_protocol"}, False),
        ("timeout", {"deadline_exceeded", "stalled"}, False),
        ("5xx", set(), True),
    ],
)
def test_each_condition_allows_its_own_and_no_other(on: str, reasons: set[str], status: bool) -> None:
    """A 504 that the upstream answered is a 5xx, not a timeout."""
    rules = retry(on=[on])
    assert {failure.reason for failure in Failure if rules.allows_failure(failure)} == reasons
    assert rules.allows_status(504) is status


def test_idempotent_methods_are_those_of_rfc_9110() -> None:
    """POST and PATCH are not, nor is a method that only looks like one, nor one that we do not know."""
    assert {b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"} == IDEMPOTENT
    assert b"PUT" in IDEMPOTENT
    assert IDEMPOTENT.isdisjoint([b"POST", b"PATCH", b"CONNECT", b"get", b"PURGE", b""])


def test_reasons_that_prove_that_nothing_was_processed() -> None:
    """These allow any method; a reset or a timeout does not, the application may be at work on it."""
    assert {failure.reason for failure in UNPROCESSED} == {
        "connect_failed",
        "connect_timeout",
        "app_unreachable",
        "draining",
        "overloaded",
    }


def test_grpc_calls_are_not_repeated_unless_statuses_and_methods_are_named() -> None:
    """They are POST, and nobody knows which of them change something."""
    every = [(status, b"/shop.Catalog/Get") for status in range(17)]
    for rules in (
        retry(),
        retry(grpc_statuses=["UNAVAILABLE", "UNKNOWN"]),
        retry(grpc_methods=["/shop.Catalog/Get", "/shop.Catalog/*"]),
    ):
        assert not any(rules.allows_grpc(status, path) for status, path in every)


def test_a_grpc_call_may_be_repeated_after_the_named_statuses_of_the_named_methods() -> None:
    """A method alone, or all of a service."""
    rules = retry(
        grpc_statuses=["UNAVAILABLE", "RESOURCE_EXHAUSTED"], grpc_methods=["/shop.Catalog/*", "/shop.Orders/Find"]
    )
    assert {status for status in range(-1, 20) if rules.allows_grpc(status, b"/shop.Catalog/Get")} == {8, 14}
    paths = [b"/shop.Catalog/Get", b"/shop.Catalog/List", b"/shop.Orders/Find", b"/shop.Orders/Place"]
    paths += [
        b"/shop.Orders/FindAll",
        b"/shop.CatalogAdmin/Drop",
        b"/shop.Catalog",
        b"/shop.Catalog/x/Get",
        b"/x/shop.Catalog/Get",
        b"/",
        b"",
    ]
    assert [path for path in paths if rules.allows_grpc(14, path)] == paths[:3]


@given(st.sampled_from((0, 13, 14, 17)), st.lists(st.sampled_from((b"/", b"a.B", b"*", b"Get"))).map(b"".join))
def test_whatever_is_called_a_rule_answers(status: int, path: bytes) -> None:
    """No path raises, and a service is a first segment before a last one."""
    rules = retry(grpc_statuses=["UNAVAILABLE"], grpc_methods=["/a.B/*"])
    assert rules.allows_grpc(status, path) == (status == 14 and path.startswith(b"/a.B/") and path.count(b"/") == 2)


def test_the_budget_is_part_of_the_settings() -> None:
    """A fifth, three a second, over ten seconds."""
    budget = Settings().budget
    assert (budget.ratio, budget.min_per_second, budget.ttl) == (0.2, 3, 10.0)


NOW = 784111777.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b"0", 0.0),
        (b"Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        (b"Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        (b"Sun Nov  6 08:50:37 1994", 60.0),
        (b"Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_any_of_the_three_forms_of_a_date(value: bytes, seconds: float) -> None:
    """RFC 9110 10.2.3 and 5.6.7; a date in the past is now."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is nine hours ahead."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_date_without_a_zone_is_in_gmt_wherever_we_run() -> None:
    """The asctime form names no zone; local time does not come into it."""
    assert parse_retry_after(b"Sun Nov  6 08:50:37 1994", NOW) == 60.0


@pytest.mark.parametrize(
    "value",
    [b"", b"soon", b"-5", b"1.5", b"99999999999", b"9" * 5000, b"Sun, 99 Nov 1994 08:49:37 GMT", b"\xff\xfe", b"\x00"],
)
def test_a_retry_after_that_makes_no_sense_says_nothing(value: bytes) -> None:
    """Garbage does not bar an endpoint, and does not raise."""
    assert parse_retry_after(value, NOW) is None


@given(st.binary(max_size=80) | st.text("0123456789 :,-+GMTSunJa", max_size=70).map(str.encode))
def test_whatever_a_peer_sends_as_retry_after_is_a_number_or_nothing(value: bytes) -> None:
    """No input raises or gives a negative wait."""
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(0, 10**9))
def test_a_date_means_the_time_until_it(ahead: int) -> None:
    """Whatever date a server writes comes back as the distance to it."""
    assert parse_retry_after(formatdate(NOW + ahead, usegmt=True).encode(), NOW) == ahead

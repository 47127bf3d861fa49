"""gRPC's words about a call, as any peer may write them."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import GRPC_STATUSES, Failure
from sidecar.resilience.grpc import (
    FAILURE_STATUSES,
    NUMBERS,
    encode_message,
    name_of,
    parse_pushback,
    parse_status,
    parse_timeout,
    render_timeout,
)


def test_statuses_have_the_names_and_numbers_of_grpc_itself() -> None:
    """Held against the library that applications use."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == NUMBERS


def test_a_number_without_a_name_is_other() -> None:
    """A label of metrics comes from a closed list, whatever an application sends."""
    assert (name_of(0), name_of(14), name_of(16)) == ("OK", "UNAVAILABLE", "UNAUTHENTICATED")
    assert {name_of(17), name_of(-1), name_of(10**9)} == {"OTHER"}


def test_the_failures_are_those_that_speak_against_the_endpoint() -> None:
    """The others are the caller's mistakes, or what an application has decided."""
    assert {name_of(status) for status in FAILURE_STATUSES} == {
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }


def test_every_reason_has_the_status_that_a_grpc_client_reacts_to() -> None:
    """UNAVAILABLE is what clients may try again, INTERNAL what somebody has to mend."""
    by_status: dict[str, set[str]] = {}
    for failure in Failure:
        by_status.setdefault(name_of(failure.grpc), set()).add(failure.reason)
    assert by_status == {
        "UNIMPLEMENTED": {"no_route", "not_implemented", "method_not_allowed"},
        "UNAVAILABLE": {
            "no_endpoints",
            "no_healthy_endpoint",
            "breaker_open",
            "overloaded",
            "connect_failed",
            "connect_timeout",
            "upstream_reset",
            "draining",
            "app_unreachable",
            "stalled",
        },
        "DEADLINE_EXCEEDED": {"deadline_exceeded", "client_timeout"},
        "INTERNAL": {
            "upstream_protocol",
            "internal",
            "filter_failed",
            "loop_detected",
            "bad_request",
            "expectation_failed",
            "http_version",
        },
        "PERMISSION_DENIED": {"forbidden"},
        "RESOURCE_EXHAUSTED": {"headers_too_large", "body_too_large", "uri_too_long"},
        "CANCELLED": {"client_gone"},
    }


# grpc-status


@pytest.mark.parametrize("status", range(len(GRPC_STATUSES)))
def test_a_status_is_one_or_two_digits(status: int) -> None:
    """With or without a leading zero."""
    assert parse_status(b"%d" % status) == parse_status(b"%02d" % status) == status


@pytest.mark.parametrize("value", [b"", b"17", b"99", b"000", b"-1", b"+1", b" 0", b"0 ", b"OK", "٣".encode(), b"0,0"])
def test_any_other_status_is_unknown(value: bytes) -> None:
    """As the libraries take it: a failure, never by mistake a success."""
    assert parse_status(value) == NUMBERS["UNKNOWN"]


# grpc-timeout


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (b"1H", 3_600_000.0),
        (b"2M", 120_000.0),
        (b"3S", 3000.0),
        (b"4m", 4.0),
        (b"5000u", 5.0),
        (b"6000000n", 6.0),
        (b"99999999m", 99_999_999.0),
        (b"007S", 7000.0),
        (b"0m", 0.0),
        (b"1n", 1e-6),
    ],
)
def test_a_timeout_is_digits_and_a_unit(value: bytes, milliseconds: float) -> None:
    """Hours, minutes, seconds, milli-, micro- and nanoseconds; zero is a deadline that has passed, not none."""
    assert parse_timeout(value) == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"m",
        b"5",
        b"123456789m",
        b"-1S",
        b"+1S",
        b"1.5S",
        b"1 S",
        b"1s",
        b"1h",
        b"1ms",
        b" 1S",
        b"1S ",
        b"S1",
        "٣S".encode(),
        b"1_0S",
        b"1\xff",
        b"none",
    ],
)
def test_any_other_timeout_is_none(value: bytes) -> None:
    """Nine digits, signs, fractions, blanks, unknown units and other digits are not guessed at."""
    assert parse_timeout(value) is None


@given(st.binary(max_size=12) | st.text("0123456789HMSmun -.", max_size=10).map(str.encode))
def test_whatever_a_peer_sends_as_timeout_is_a_number_or_nothing(value: bytes) -> None:
    """No input raises, or is a negative time."""
    milliseconds = parse_timeout(value)
    assert milliseconds is None or milliseconds >= 0


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (2.0, b"1999m"),
        (0.0109, b"9m"),
        (0.0019, b"1m"),
        (0.0004, b"1m"),
        (0.0, b"1n"),
        (-1.0, b"1n"),
        (99_999.999, b"99999998m"),
        (100_000.0, b"99999S"),
        (1e8, b"99999999S"),
        (1e8 + 60.0, b"1666667M"),
        (6e9 + 60.0, b"1666666H"),
        (3.6e11 + 7200.0, b"99999999H"),
        (float("inf"), b"99999999H"),
    ],
)
def test_what_is_left_is_sent_in_milliseconds_and_the_unit_grows_with_it(seconds: float, value: bytes) -> None:
    """Less a margin, rounded down, never more than eight digits."""
    assert render_timeout(seconds) == value


@given(st.floats(0.0011, 1e12))
def test_what_is_sent_can_be_read_and_is_less_than_what_is_left(seconds: float) -> None:
    """Each layer gives up before its caller does; a unit takes off at most one of itself and the margin."""
    value = render_timeout(seconds)
    milliseconds = parse_timeout(value)
    assert milliseconds is not None
    assert 1 <= milliseconds < seconds * 1000
    unit = {b"m": 1.0, b"S": 1000.0, b"M": 60_000.0, b"H": 3_600_000.0}[value[-1:]]
    if value != b"99999999H":
        assert milliseconds > min(seconds * 1000 - 1.001 - unit, seconds * 999)


# grpc-message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no endpoint of 'orders'", b"no endpoint of 'orders'"),
        ("100% sure", b"100%25 sure"),
        ("zwei\nZeilen\t", b"zwei%0AZeilen%09"),
        ("größe €", b"gr%C3%B6%C3%9Fe %E2%82%AC"),
        ("\x7f", b"%7F"),
        (" a ", b"%20a%20"),
        ("  ", b"%20%20"),
        ("", b""),
        ("\ud800", b"?"),
    ],
)
def test_a_message_is_printable_ascii(text: str, value: bytes) -> None:
    """All else is percent-encoded UTF-8, and so are blanks at its ends; what is no text at all is a question mark."""
    assert encode_message(text) == value


@given(st.text())
def test_a_message_can_be_read_again_and_is_a_valid_field(text: str) -> None:
    """Whatever a detail quotes: no control byte goes out, and the client sees the same words."""
    value = encode_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in value)
    assert value == value.strip()
    assert unquote_to_bytes(value) == text.encode("utf-8", "replace")


# grpc-retry-pushback-ms


@pytest.mark.parametrize(("value", "seconds"), [(b"0", 0.0), (b"250", 0.25), (b"2147483647", 2147483.647)])
def test_pushback_is_milliseconds(value: bytes, seconds: float) -> None:
    """Zero allows another try at once."""
    assert parse_pushback(value) == seconds


@pytest.mark.parametrize("value", [b"-1", b"", b"soon", b"1.5", b" 5", b"+5", b"99999999999", "٣".encode(), b"5,5"])
def test_a_pushback_that_is_negative_or_makes_no_sense_forbids_another_try(value: bytes) -> None:
    """gRFC A6: who writes the field at all means something by it, and the careful reading is no."""
    assert parse_pushback(value) is None

"""Durations, sizes and addresses: what is written is what is meant, and what is printed can be read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.units import (
    Address,
    format_duration,
    format_size,
    parse_duration,
    parse_host,
    parse_listener,
    parse_network,
    parse_peer,
    parse_positive_duration,
    parse_size,
    shown,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("5s", 5.0), ("1.5s", 1.5), ("5m", 300.0), ("1h", 3600.0), ("0.5h", 1800.0), ("0s", 0.0)],
)
def test_a_duration_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    """Every unit gives exactly the float that a programmer would have written."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "-1s", "1 s", "1S", "5sec", "1m30s", ".5s", "5.s", "1e3s", "٣s", "5s\n", "9" * 13 + "s", "inf"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed: neither a missing unit nor a foreign digit."""
    with pytest.raises(ValueError, match="expected a duration with its unit"):
        parse_duration(text)


@pytest.mark.parametrize(("value", "advice"), [(5, '"5s"'), (0.1, '"100ms"'), (300, '"5m"'), (True, '"100ms", "5s"')])
def test_a_bare_number_is_answered_with_how_to_write_it(value: object, advice: str) -> None:
    """Who leaves the unit out is shown the number with one."""
    with pytest.raises(ValueError, match=f"such as {advice}"):
        parse_duration(value)


def test_a_timeout_of_nothing_is_refused() -> None:
    """A duration of zero is only a duration where waiting may be left out."""
    with pytest.raises(ValueError, match="above zero"):
        parse_positive_duration("0ms")
    assert parse_positive_duration("1ms") == 0.001


@given(st.floats(min_value=0, max_value=1e9, allow_subnormal=False).map(lambda seconds: round(seconds, 9)))
def test_a_printed_duration_reads_back_the_same(seconds: float) -> None:
    """Printing and parsing a duration are inverse, to the last bit."""
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "100ms"), (60.0, "1m"), (90.0, "90s"), (7200, "2h"), (0.0005, "0.0005s"), (0.0, "0s")]
)
def test_a_duration_is_printed_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    """People read 2h, not 7200s."""
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("value", "size"), [(65536, 65536), ("64KiB", 65536), ("10MiB", 10 << 20), ("512", 512)])
def test_a_size_is_bytes_or_has_a_binary_unit(value: object, size: int) -> None:
    """Sizes are whole bytes."""
    assert parse_size(value) == size


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "64KB", "64kib", "", "1.5MiB", "0KiB", 1 << 63, None])
def test_what_is_no_size_is_refused(value: object) -> None:
    """A decimal unit is refused and not silently read as a binary one."""
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(value)


@given(st.integers(min_value=1, max_value=10**15 - 1))
def test_a_printed_size_reads_back_the_same(size: int) -> None:
    """Printing and parsing a size are inverse."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("Payments.Internal.:80", Address("payments.internal", 80)),
        ("[::1]:0", Address("::1", 0)),
        ("[FD00::5]:65535", Address("fd00::5", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: Address) -> None:
    """IPv6 hosts stand in brackets, names lose their case and their final dot."""
    assert parse_listener(text) == address
    assert parse_listener(str(address)) == address


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("8080", "expected host:port"),
        (":8080", "expected a host name"),
        ("a:", "expected host:port"),
        ("a:65536", "at most 65535"),
        ("a:-1", "expected host:port"),
        ("a:٣", "expected host:port"),
        ("::1:80", "in brackets"),
        ("[::g]:80", "expected a host name"),
        ("256.0.0.1:80", "expected a host name"),
        ("1.2.3:80", "expected a host name"),
        ("a b:80", "expected a host name"),
        ("a..b:80", "expected a host name"),
        ("http://a:80", "in brackets|expected a host name"),
        ("a\r\n:80", "expected a host name"),
        ("x" * 254 + ":80", "expected a host name"),
    ],
)
def test_what_is_no_address_is_refused(text: str, what: str) -> None:
    """A mistyped address is told at load and not when the first request needs it."""
    with pytest.raises(ValueError, match=what):
        parse_listener(text)


def test_a_peer_has_a_port_that_can_be_called() -> None:
    """Port 0 asks for a free port, which only makes sense for an address of our own."""
    assert parse_listener("a:0").port == 0
    with pytest.raises(ValueError, match="from 1 to 65535"):
        parse_peer("a:0")


def test_a_network_is_a_cidr_without_stray_bits() -> None:
    """A network with bits beyond its prefix is probably another one, which the message names."""
    assert str(parse_network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(parse_network("10.1.2.3")) == "10.1.2.3/32"
    with pytest.raises(ValueError, match=r"did you mean 10\.0\.0\.0/8\?"):
        parse_network("10.1.0.0/8")
    with pytest.raises(ValueError, match="expected a CIDR"):
        parse_network("10.0.0.0/33")


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.integers()))
def test_no_value_breaks_a_parser(value: object) -> None:
    """A parser answers with a value or with a ValueError that can be shown on one line, whatever it is given."""
    for parse in (parse_duration, parse_size, parse_host, parse_listener, parse_network):
        try:
            parse(value)
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r'"a\nb"'),
        ("x" * 100, '"' + "x" * 60 + '…"'),
        (1 << 100, "a huge number"),
        ({}, "a table"),
        ([], "an array"),
        (False, "false"),
    ],
)
def test_a_quoted_value_fits_on_a_line(value: object, text: str) -> None:
    """What a message quotes is short and cannot break the terminal."""
    assert shown(value) == text

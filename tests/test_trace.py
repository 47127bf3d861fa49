"""Reading and making trace context (W3C Trace Context section 3.2, B3 single header)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.clock import Random
from sidecar.telemetry.trace import REQUEST_ID, TRACEPARENT, Settings, Tracer, read_b3, read_traceparent

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (b"00-%b-%b-01" % (TRACE, SPAN), b"01"),
        (b"00-%b-%b-00 " % (TRACE, SPAN), b"00"),
        (b"cc-%b-%b-01" % (TRACE, SPAN), b"01"),
        (b"cc-%b-%b-02-what-the-future-brings" % (TRACE, SPAN), b"00"),
    ],
)
def test_a_good_traceparent_names_trace_and_flags(value: bytes, flags: bytes) -> None:
    """Of a later version's flags only the sampled bit is known."""
    assert read_traceparent(value) == (TRACE, flags)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-01-x" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"cc-%b-%b-01x" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (TRACE[1:], SPAN),
        b"00_%b_%b_01" % (TRACE, SPAN),
    ],
)
def test_a_bad_traceparent_says_nothing(value: bytes) -> None:
    """Nothing is repaired."""
    assert read_traceparent(value) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"%b-%b" % (TRACE, SPAN), (TRACE, b"00")),
        (b"%b-%b-1" % (TRACE, SPAN), (TRACE, b"01")),
        (b"%b-%b-0-%b" % (TRACE, SPAN, SPAN), (TRACE, b"00")),
        (b" %b-%b-d\t" % (TRACE[:16], SPAN), (b"0" * 16 + TRACE[:16], b"01")),
        (b"0", None),
        (b"%b-%b-2" % (TRACE, SPAN), None),
        (b"%b-%b" % (b"0" * 32, SPAN), None),
        (b"%b-%b" % (TRACE, b"0" * 16), None),
        (b"%b-%b" % (TRACE[:20], SPAN), None),
    ],
)
def test_b3_names_a_trace_or_nothing(value: bytes, found: tuple[bytes, bytes] | None) -> None:
    """Ids of 64 bits are filled up; a decision alone names no trace."""
    assert read_b3(value) == found


@given(st.integers(0, 2**32))
def test_what_we_make_is_what_we_accept(seed: int) -> None:
    """Ids are never all zero, and have their length whatever their value."""
    tracer = Tracer(Settings(sample=0.5), Random(seed))
    trace, flags = tracer.new_trace()
    made = b"00-%b-%b-%b" % (trace, tracer.span(), flags)
    assert TRACEPARENT.fullmatch(made) is not None
    assert read_traceparent(made) == (trace, flags)
    assert REQUEST_ID.fullmatch(trace) is not None


class Nought(Random):
    """Chance at its worst."""

    def getrandbits(self, k: int, /) -> int:
        return 0


def test_an_id_of_zeros_is_never_made() -> None:
    """Both standards call it invalid."""
    tracer = Tracer(Settings(), Nought())
    assert re.fullmatch(b"0{31}1", tracer.new_trace()[0])
    assert re.fullmatch(b"0{15}1", tracer.span())


@pytest.mark.parametrize(("sample", "least", "most"), [(0.0, 0, 0), (0.01, 50, 150), (1.0, 10_000, 10_000)])
def test_the_configured_share_of_new_traces_is_sampled(sample: float, least: int, most: int) -> None:
    """None, one in a hundred, all."""
    tracer = Tracer(Settings(sample=sample), Random(1))
    assert least <= [tracer.new_trace()[1] for _ in range(10_000)].count(b"01") <= most

"""What HTTP/1 heads may look like: the one place where strictness lives (RFC 9112, RFC 9110 section 5).

A head is matched as a whole by one expression, so there is no state in which half of it was believed. Every repetition
is possessive (``++``, ``*+``): an expression can never look at a byte twice, whatever an attacker sends. What does not
match is refused; why it does not match is worked out afterwards, off the common path (``h1/refuse.py``).

Measured on CPython 3.11: 0.24 µs for a small head and 1.5 µs for eleven headers, as fast as the callbacks of a C parser
into Python, and it needs no second pass for what such parsers let through (docs/performance.md).
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE = rb"[\t\x20-\x7e\x80-\xff]"
# Neither space, control or high bytes, nor the bytes that parsers are known to disagree about: " # < > \
TARGET = rb"[!$-;=?-\[\]^-~]"

FIELD_LINES = rb"(?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+"
REQUEST_LINE = rb"(" + TOKEN + rb"++) (" + TARGET + rb"++) HTTP/1\.([01])\r\n"

REQUEST = re.compile(REQUEST_LINE + FIELD_LINES + rb"\r\n")
RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: " + VALUE + rb"*+)?\r\n" + FIELD_LINES + rb"\r\n")
REQUEST_LINE_ONLY = re.compile(REQUEST_LINE)
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"++):[ \t]*+(" + VALUE + rb"*+)\r\n")
TRAILER_SECTION = re.compile(FIELD_LINES)
TOKEN_ONLY = re.compile(TOKEN + rb"++")
BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")

# The fields that a sidecar acts upon; searched in the lower-cased head, each behind its line feed. All others pass as they are.
REQUEST_SPECIALS = re.compile(
    rb"\n(host|con(?:nection|tent-length)|t(?:e|raceparent|racestate|ransfer-encoding)|keep-alive|proxy(?:-connection|-authorization|-authenticate)?"
    rb"|upgrade|http2-settings|expect|idempotency-key|b3|forwarded"
    rb"|x-(?:request-id|request-timeout-ms|real-ip|forwarded-[a-z-]++|sidecar-[a-z-]++)):[ \t]*+([^\r]*+)"
)
RESPONSE_SPECIALS = re.compile(
    rb"\n(con(?:nection|tent-length)|t(?:e|ransfer-encoding)|keep-alive|proxy-(?:connection|authenticate)|upgrade|retry-after"
    rb"|x-(?:request-id|sidecar-[a-z-]++)):[ \t]*+([^\r]*+)"
)

# Groups that hold a choice repeat without possession, because Python before 3.11.5 matches ``(?:ab?c)*+`` wrongly. Their
# choices differ in the first byte, so that nothing is looked at twice either way; a chunk line is no longer than 4 KiB.

# RFC 9112 section 7.1. Sixteen digits bound the line, fifteen significant ones the size.
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff]){0,4096}"'
CHUNK_EXTENSION = rb"[ \t]*+;[ \t]*+" + TOKEN + rb"++(?:[ \t]*+=[ \t]*+(?:" + TOKEN + rb"++|" + QUOTED + rb"))?"
CHUNK_LINE = re.compile(
    rb"(?=[0-9A-Fa-f]{1,16}(?:[ \t;\r]))0*+([0-9A-Fa-f]{0,15}+)((?:" + CHUNK_EXTENSION + rb"){0,4096})\r\n"
)

# RFC 3986 section 3.2 without userinfo: a reg-name or IPv4 address, or an IPv6 literal, and perhaps a port.
AUTHORITY = re.compile(rb"([a-z0-9._~!$&'()*+;=%-]++|\[[0-9a-f:.]++\])(?::([0-9]{0,5}+))?")
ABSOLUTE_FORM = re.compile(rb"http://([^/?]*+)([/?].*+)?", re.IGNORECASE | re.DOTALL)

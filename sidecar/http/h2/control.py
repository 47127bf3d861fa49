"""The frames by which two ends of a connection agree: all but data and field sections (RFC 9113 sections 6.3 to 6.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.http.h2.frames import (
    ACK,
    CANCEL,
    ENABLE_PUSH,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MOST,
    ONE,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAMS,
    TWO,
    WINDOW_UPDATE,
    Broken,
    code_name,
    frame,
)

if TYPE_CHECKING:
    from sidecar.http.h2.connection import Connection

__all__ = ["CANCEL", "REFUSED_STREAM", "receive"]


def receive(connection: Connection, kind: int, flags: int, id: int, payload: bytes) -> None:
    """Raises ``Broken``."""
    if kind == WINDOW_UPDATE:
        _window_update(connection, id, payload)
    elif kind == RST_STREAM:
        _reset(connection, id, payload)
    elif kind == PUSH_PROMISE:
        raise Broken(PROTOCOL_ERROR, "PUSH_PROMISE: pushing is switched off, and a client may not push at all")
    else:
        if not connection.control_budget.take(connection.now(), connection.data_frames):
            raise Broken(ENHANCE_YOUR_CALM, "too many frames that only keep us busy", "control_frames")
        if kind == SETTINGS:
            _settings(connection, flags, id, payload)
        elif kind == PING:
            _ping(connection, flags, id, payload)
        elif kind == GOAWAY:
            _goaway(connection, id, payload)
        elif kind == PRIORITY:
            _priority(connection, id, payload)
        # Frames of unknown types are thrown away (section 5.5).


def _window_update(connection: Connection, id: int, payload: bytes) -> None:
    _exactly(payload, 4, "WINDOW_UPDATE")
    if not connection.update_budget.take(connection.now(), 2 * connection.data_frames):
        raise Broken(ENHANCE_YOUR_CALM, "too many window updates", "window_updates")
    more = ONE.unpack(payload)[0] & MOST
    if id == 0:
        if not more:
            raise Broken(PROTOCOL_ERROR, "a window update of nothing")
        connection.window += more
        if connection.window > MOST:
            raise Broken(FLOW_CONTROL_ERROR, "the connection's window exceeds 2^31-1")
        if connection.line:
            connection.wake()
        return
    stream = connection.streams.get(id)
    if stream is not None:
        if more:
            stream.may_send(more)
        else:
            connection.stream_error(stream, PROTOCOL_ERROR, "a window update of nothing")
    elif connection.is_idle(id):
        raise Broken(PROTOCOL_ERROR, f"a window update for stream {id}, which has not begun")


def _reset(connection: Connection, id: int, payload: bytes) -> None:
    _exactly(payload, 4, "RST_STREAM")
    if id == 0 or connection.is_idle(id):
        raise Broken(PROTOCOL_ERROR, f"RST_STREAM for stream {id}, which has not begun")
    stream = connection.streams.pop(id, None)
    if stream is not None:
        connection.line.pop(stream, None)
        stream.sending = False
        code: int = ONE.unpack(payload)[0]
        stream.heard_reset(code, code == REFUSED_STREAM)
        connection.stream_gone(stream)
    connection.count_reset()


def _goaway(connection: Connection, id: int, payload: bytes) -> None:
    if id:
        raise Broken(PROTOCOL_ERROR, "GOAWAY belongs to the connection, not to a stream")
    if len(payload) < 8:
        raise Broken(FRAME_SIZE_ERROR, "GOAWAY is too short")
    last, code = TWO.unpack_from(payload)
    said = payload[8:264].decode("utf-8", "replace")
    connection.peer_leaves(last & MOST, code, code_name(code) + (f" ({said!r})" if said else ""))


def _ping(connection: Connection, flags: int, id: int, payload: bytes) -> None:
    _exactly(payload, 8, "PING")
    if id:
        raise Broken(PROTOCOL_ERROR, "PING belongs to the connection, not to a stream")
    if flags & ACK:
        connection.answered()
    else:
        connection.put(frame(PING, ACK, 0, payload))


def _priority(connection: Connection, id: int, payload: bytes) -> None:
    """Obsolete (section 5.3): nothing of it is followed, but what is wrong with it is an error all the same."""
    if id == 0:
        raise Broken(PROTOCOL_ERROR, "PRIORITY without a stream")
    stream = connection.streams.get(id)
    code = 0
    if len(payload) != 5:
        code, detail = FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long"
    elif ONE.unpack_from(payload)[0] & MOST == id:
        code, detail = PROTOCOL_ERROR, f"stream {id} depends on itself"
    if not code:
        return
    if stream is None:
        raise Broken(code, detail)
    connection.stream_error(stream, code, detail)


def _settings(connection: Connection, flags: int, id: int, payload: bytes) -> None:
    if id:
        raise Broken(PROTOCOL_ERROR, "SETTINGS belong to the connection, not to a stream")
    if flags & ACK:
        if payload:
            raise Broken(FRAME_SIZE_ERROR, "the acknowledgement of SETTINGS has a payload")
        return
    if len(payload) % 6:
        raise Broken(FRAME_SIZE_ERROR, "SETTINGS are not a multiple of 6 bytes long")
    if not connection.greeted:
        connection.peer_streams = STREAMS
    window = connection.peer_window
    for name, value in SETTING.iter_unpack(payload):
        if name == INITIAL_WINDOW_SIZE:
            if value > MOST:
                raise Broken(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE exceeds 2^31-1")
            window = value
        else:
            _setting(connection, name, value)
    if window != connection.peer_window:
        # Once, for it is work for every stream, and a frame has place for thousands of it (CVE-2020-11080).
        _new_window(connection, window)
    connection.greeted = connection.steady = True
    connection.put(frame(SETTINGS, ACK, 0))
    connection.settings_changed()


def _new_window(connection: Connection, window: int) -> None:
    """What each stream may send is changed by the difference (section 6.9.2)."""
    more = window - connection.peer_window
    connection.peer_window = window
    for stream in tuple(connection.streams.values()):
        stream.window += more
        if stream.window > MOST:
            raise Broken(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE makes a window exceed 2^31-1")
        if stream.waiting is not None:
            connection.line_up(stream)
        if stream.window <= 0:
            connection.line.pop(stream, None)


def _setting(connection: Connection, name: int, value: int) -> None:
    if name == HEADER_TABLE_SIZE:
        connection.table_size(value)
    elif name == MAX_CONCURRENT_STREAMS:
        connection.peer_streams = value
    elif name == ENABLE_PUSH and (value > 1 or (value and connection.client)):
        raise Broken(PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH must be 0 or, of a client, 1")
    elif name == MAX_FRAME_SIZE and not FRAME_BYTES <= value < 2**24:
        raise Broken(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE must lie between 2^14 and 2^24-1")


def _exactly(payload: bytes, size: int, what: str) -> None:
    if len(payload) != size:
        raise Broken(FRAME_SIZE_ERROR, f"{what} is not {size} bytes long")

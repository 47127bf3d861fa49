"""What a route asks of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sidecar.http.head import Request


class Match:
    """All of it must hold; what is empty asks nothing. The host is the table's affair."""

    __slots__ = ("_headers", "_methods", "_path", "_prefix", "_whole_segments")

    def __init__(
        self,
        path: str | None = None,
        path_prefix: str | None = None,
        methods: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path.encode() if path is not None else None
        # A prefix is one of whole segments: /api/v2 covers /api/v2 and /api/v2/x, not /api/v20.
        prefix = (path_prefix or "").rstrip("/").encode()
        self._prefix = prefix
        self._whole_segments = prefix + b"/"
        self._methods = frozenset(method.encode() for method in methods)
        self._headers = tuple((name.lower().encode(), value.encode()) for name, value in (headers or {}).items())

    def accepts(self, head: Request) -> bool:
        if self._methods and head.method not in self._methods:
            return False
        if self._path is not None or self._prefix:
            path = head.path()
            if self._path is not None and path != self._path:
                return False
            if self._prefix and path != self._prefix and not path.startswith(self._whole_segments):
                return False
        return all(head.get(name) == value for name, value in self._headers)

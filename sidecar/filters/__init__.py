"""Level 2: the user's door. A filter is called with a request before an endpoint is chosen and answers with a verdict:
``None`` (go on), a ``Reply`` (answer with this) or ``PAUSE`` (wait until ``resume`` is called)."""

from __future__ import annotations

import enum
from collections.abc import Callable

from sidecar.http.head import Request
from sidecar.http.reply import Reply

__all__ = ["PAUSE", "Filter", "Paused", "Reply", "RequestView", "Verdict"]


class Paused(enum.Enum):
    """The verdict of a filter that will call ``resume`` later."""

    PAUSE = "pause"


PAUSE = Paused.PAUSE
Verdict = Reply | Paused | None


class RequestView:
    """What a filter sees of a request, and how it goes on after a pause."""

    __slots__ = ("head", "resume")

    def __init__(self, head: Request, resume: Callable[[Reply | None], None]) -> None:
        self.head = head
        self.resume = resume


Filter = Callable[[RequestView], Verdict]

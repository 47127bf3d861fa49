"""How well an instance of the shop is: what the demo writes, and each service goes by, request by request.

A mood is a JSON object in the file that ``SHOP_MOOD`` names: ``delay`` is how long each answer takes, ``slow_share`` is the
share of answers that take ``slow`` more (seconds), ``fail_share`` is the share of those that are a 500. Shares are kept
to by counting, not by chance.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import NamedTuple


class Mood(NamedTuple):
    """Seconds, and shares from 0 to 1."""

    delay: float = 0.0
    slow: float = 0.0
    slow_share: float = 0.0
    fail_share: float = 0.0


class Fate(NamedTuple):
    """What becomes of one request: seconds until it is answered, and whether by a failure."""

    delay: float
    fails: bool


class Moods:
    """Asked at each request; without ``SHOP_MOOD`` all is well."""

    def __init__(self) -> None:
        self._file = os.environ.get("SHOP_MOOD")
        self._numbers = itertools.count()

    def next(self) -> Fate:
        mood = read(Path(self._file)) if self._file else Mood()
        number = next(self._numbers)
        slow = mood.slow if _falls_due(number, mood.slow_share) else 0.0
        return Fate(mood.delay + slow, _falls_due(number, mood.fail_share))


def _falls_due(number: int, share: float) -> bool:
    """Whether the share of the first ``number + 1`` requests is one more than that of the first ``number``."""
    return int((number + 1) * share) > int(number * share)


def read(file: Path) -> Mood:
    """The mood in a file; a good one if there is none."""
    try:
        return Mood(**json.loads(file.read_text()))
    except FileNotFoundError:
        return Mood()


def write(file: Path, mood: Mood) -> None:
    """Whole or not at all: it is read at any moment."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps(mood._asdict()))
    unfinished.replace(file)

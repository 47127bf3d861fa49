"""What the person in front of the demo can have done to the shop, as keys and as words."""

from __future__ import annotations

from typing import NamedTuple

from sidecar.demo.shop.moods import Mood

DELAY = 0.4
"""Seconds that an instance with added delay takes for each answer."""
FAIL_SHARE = 0.9
VERBS = {"k": "kill", "d": "delay", "f": "fail", "r": "restore"}
"""By key."""


class Wish(NamedTuple):
    """``kill``, ``delay``, ``fail`` or ``restore``, and which instance."""

    verb: str
    name: str


class Wrong(ValueError):
    """What was written is not understood; the message says what would be."""


def parse(line: str, names: tuple[str, ...]) -> Wish | None:
    """``kill payments-2``, ``q`` for the end (``None``). Raises :class:`Wrong`."""
    verb, _, name = line.strip().lower().partition(" ")
    verb, name = VERBS.get(verb, verb), name.strip()
    if verb in ("q", "quit"):
        return None
    if verb not in VERBS.values():
        raise Wrong(
            f"{verb or 'an empty line'} is not understood: write {', '.join(VERBS.values())} and a name, or quit"
        )
    if name not in names:
        raise Wrong(f"whom to {verb}? There are {', '.join(names)}")
    return Wish(verb, name)


def mood(verb: str, usual: Mood) -> Mood:
    """The mood of an instance after the wish."""
    if verb == "delay":
        return usual._replace(delay=DELAY)
    if verb == "fail":
        return usual._replace(fail_share=FAIL_SHARE)
    return usual


def told(wish: Wish) -> str:
    """What it does, for the story."""
    return {
        "kill": f"you killed {wish.name}",
        "delay": f"you made {wish.name} slow: each answer takes {DELAY * 1000:.0f} ms more",
        "fail": f"you made {wish.name} fail: {FAIL_SHARE:.0%} of its answers are a 500",
        "restore": f"you made {wish.name} well again",
    }[wish.verb]

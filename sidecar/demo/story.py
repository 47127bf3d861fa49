"""What just happened, in sentences: made from two looks at the mesh, by nothing but what the sidecars say.

The functions say what changed from one look to the next. ``Story`` adds what goes over more than two: when trouble began and
when it is over, who has been silent for how long, and what was told so lately that it would be noise to tell it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from sidecar.demo.interval import between, same
from sidecar.demo.readings import Breaker, Snapshot
from sidecar.resilience.breaker import Settings

FAILURES = Settings().failures
WINDOW = round(Settings().window)
SUCCESSES = Settings().successes
GOOD_LOOKS = 3
"""So many looks without a failure, and trouble is over."""
SILENT_LOOKS = 2
"""So many looks without an answer, and a sidecar stands still."""
RETRIES_AGAIN = 20.0
"""Seconds until retries of the same calls are told again."""
CLOSED = Breaker("closed")


def breakers(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Every breaker that has tripped, let a probe through or closed."""
    for caller, reading in after.readings.items():
        former = same(before, caller, reading)
        for service, seen in reading.breakers.items():
            for endpoint, breaker in seen.items():
                was = former.breakers.get(service, {}).get(endpoint, CLOSED)
                others = [name for name, other in seen.items() if name != endpoint and other.state != "open"]
                yield from _breaker(caller, endpoint, was, breaker, _and(others))


def _breaker(caller: str, endpoint: str, was: Breaker, now: Breaker, others: str) -> Iterator[str]:
    if now.opened > was.opened and now.state == "open":
        seconds = ceil(now.retry_after)
        if was.state == "closed" or now.closed > was.closed:
            others = f"calls go to {others}" if others else "calls are refused at once"
            yield (
                f"{endpoint} failed {FAILURES} times in {WINDOW} s: {_of(caller)} breaker is open for {seconds} s, {others}"
            )
        else:
            yield f"{endpoint} failed when {caller} tried it again: breaker open for another {seconds} s"
    elif now.closed > was.closed:
        yield f"{endpoint} answered {caller} {SUCCESSES} times in a row: breaker closed, it takes its share again"
    elif now.half_opened > was.half_opened:
        yield f"{caller} tries {endpoint} again, one call at a time: breaker half-open"


def endpoints(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Every endpoint that somebody who calls its service has lost or found. The first ones of a service are no news."""
    for caller, reading in after.readings.items():
        former = same(before, caller, reading)
        for service in reading.calls:
            known, seen = former.breakers.get(service), reading.breakers.get(service, {})
            if known is None:
                continue
            for lost in sorted(known.keys() - seen.keys()):
                left = f"calls go to {_and(list(seen))}" if seen else f"there is no {service} any more"
                yield f"{lost} has left the registry, and {caller} knows: {left}"
            for found in sorted(seen.keys() - known.keys()):
                yield f"{found} is in the registry, and {caller} calls it from now on"


class Story:
    """Told look by look."""

    def __init__(self) -> None:
        self._last: Snapshot | None = None
        self._failing: dict[tuple[str, str], _Trouble] = {}
        self._silent: dict[str, int] = {}
        self._retries: dict[tuple[str, str], float] = {}

    def go_on(self, snapshot: Snapshot, running: Sequence[str]) -> list[str]:
        """What is to be told after this look; ``running`` are those whose processes live."""
        before, self._last = self._last, snapshot
        if before is None:
            return []
        return [
            *endpoints(before, snapshot),
            *breakers(before, snapshot),
            *self._calls(before, snapshot),
            *self._silence(snapshot, running),
        ]

    def _calls(self, before: Snapshot, after: Snapshot) -> Iterator[str]:
        for call, counts in between(before, after).calls.items():
            caller, service = call
            trouble = self._failing.get(call)
            if counts.failures:
                if trouble is None:
                    self._failing[call] = trouble = _Trouble(after.at)
                    yield f"{counts.failures} of {counts.requests} calls of {caller} to {service} failed"
                trouble.failures += counts.failures
                trouble.good = 0
            elif trouble is not None and counts.requests:
                trouble.good += 1
                if trouble.good == GOOD_LOOKS:
                    del self._failing[call]
                    seconds = max(1, round(after.at - trouble.since) - GOOD_LOOKS + 1)
                    yield f"calls of {caller} to {service} succeed again: {trouble.failures} failed within {seconds} s"
            elif (
                counts.retries
                and not self._failing
                and after.at - self._retries.get(call, -RETRIES_AGAIN) >= RETRIES_AGAIN
            ):
                self._retries[call] = after.at
                calls = "a call" if counts.retries == 1 else f"{counts.retries} calls"
                yield f"{_of(caller)} sidecar tried {calls} to {service} again: {caller} saw no failure"

    def _silence(self, snapshot: Snapshot, running: Sequence[str]) -> Iterator[str]:
        for name in running:
            if name not in snapshot.readings:
                looks = self._silent[name] = self._silent.get(name, 0) + 1
                if looks == SILENT_LOOKS:
                    yield f"the sidecar of {name} runs and does not answer: it stands still"
            elif self._silent.pop(name, 0) >= SILENT_LOOKS:
                yield f"the sidecar of {name} answers again"


class _Trouble:
    """Calls that fail: since when, how many, and how many looks have shown none."""

    __slots__ = ("failures", "good", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.failures = 0
        self.good = 0


def _of(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

"""A start during an outage: what the registry told the last time, and what becomes of a file that makes no sense."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.clock import Clock
from sidecar.discovery.remembering import Remembering, remembering
from sidecar.discovery.snapshot import WRITE_SECONDS, Snapshot
from sidecar.discovery.source import Instance, Selective, State, Told
from sidecar.timing.wheel import Wheel
from tests.support.virtual import VirtualLoop


class Registry:
    """A source that is away, or answers when the test says so."""

    certain = False

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.away = False
        self.hangs = False

    def subscribe(self, service: str, told: Told) -> None:
        self.told[service] = told

    def unsubscribe(self, service: str) -> None:
        self.told.pop(service, None)

    def state(self) -> State:
        return State(seen=not self.away)

    async def start(self) -> None:
        if self.hangs:
            await asyncio.sleep(3600)

    async def close(self) -> None: ...


def instances(*ports: int) -> list[Instance]:
    return [Instance(service="orders", host="10.0.0.1", port=port, zone="a", meta={"k": "v"}) for port in ports]


class Story:
    """A sidecar's source over a file; what it tells of orders."""

    def __init__(self, loop: VirtualLoop, path: Path) -> None:
        self.registry = Registry()
        self._loop = loop
        self._clock = Clock(loop.time, lambda: 0.0)
        self._wheel = Wheel()
        self.snapshot = Snapshot(loop, self._clock, self._wheel, str(path))
        self.source = Remembering(loop, self.registry, self.snapshot)  # type: ignore[arg-type]
        self.heard: list[list[int]] = []

    def told(self, instances: Sequence[Instance]) -> None:
        self.heard.append([one.port for one in instances])

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._wheel.advance(self._clock.now())


def test_what_was_told_is_there_for_a_start_during_an_outage(loop: VirtualLoop, tmp_path: Path) -> None:
    """Until the registry answers: then that counts, be it that there is nobody."""
    path = tmp_path / "snapshot.json"

    async def first() -> None:
        one = Story(loop, path)
        one.source.subscribe("orders", one.told)
        await one.source.start()
        one.registry.told["orders"](instances(1, 2))
        await one.pass_time(WRITE_SECONDS + 0.1)
        assert one.snapshot._task is not None
        await one.snapshot._task  # It writes in a thread, which knows no virtual time.
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        await one.source.close()

    async def second() -> None:
        one = Story(loop, path)
        one.registry.away = True
        one.source.subscribe("orders", one.told)
        await one.source.start()
        await asyncio.sleep(0.1)
        assert one.heard == [[1, 2]]
        one.registry.told["orders"](instances(3))
        assert one.heard == [[1, 2], [3]]
        one.source.subscribe("stock", one.told)
        await asyncio.sleep(0.1)
        assert one.heard == [[1, 2], [3]]
        await one.source.close()

    loop.run_until_complete(first())
    loop.run_until_complete(second())


def test_a_service_that_is_first_called_during_the_outage_is_found_there_too(loop: VirtualLoop, tmp_path: Path) -> None:
    """And a start that is given up does not keep it from being told."""
    path = tmp_path / "snapshot.json"

    async def story() -> None:
        one = Story(loop, path)
        one.source.subscribe("orders", one.told)
        one.registry.told["orders"](instances(1))
        await one.source.close()
        other = Story(loop, path)
        other.registry.away = other.registry.hangs = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await other.source.start()
        other.source.subscribe("orders", other.told)
        assert not other.heard
        await asyncio.sleep(0.1)
        assert other.heard == [[1]]

    loop.run_until_complete(story())


def test_a_registry_that_answers_needs_no_file(loop: VirtualLoop, tmp_path: Path) -> None:
    """What it has not told of yet is waited for, and not guessed."""
    path = tmp_path / "snapshot.json"

    async def story() -> None:
        one = Story(loop, path)
        one.source.subscribe("orders", one.told)
        one.registry.told["orders"](instances(1))
        await one.source.close()
        other = Story(loop, path)
        other.source.subscribe("orders", other.told)
        await other.source.start()
        await asyncio.sleep(1)
        assert not other.heard

    loop.run_until_complete(story())


def test_it_chooses_among_names_exactly_if_its_source_does(loop: VirtualLoop, tmp_path: Path) -> None:
    """A source that does not is asked for any name; with a wrapper that seemed to choose it would be asked for none."""

    class Choosing(Registry):
        def owns(self, name: str) -> bool:
            return name == "orders"

    snapshot = Snapshot(loop, Clock(loop.time, lambda: 0.0), Wheel(), str(tmp_path / "snapshot.json"))
    choosing = remembering(loop, Choosing(), snapshot)  # type: ignore[arg-type]
    assert isinstance(choosing, Selective) and choosing.owns("orders") and not choosing.owns("stock")
    assert not isinstance(remembering(loop, Registry(), snapshot), Selective)  # type: ignore[arg-type]


def test_a_service_that_has_nobody_any_more_is_not_kept(loop: VirtualLoop, tmp_path: Path) -> None:
    """The file says what was told last."""
    path = tmp_path / "snapshot.json"

    async def story() -> None:
        one = Story(loop, path)
        one.source.subscribe("orders", one.told)
        one.registry.told["orders"](instances(1))
        one.registry.told["orders"]([])
        await one.source.close()

    loop.run_until_complete(story())
    assert b"10.0.0.1" not in path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"schema":1}', b'{"schema":2,"services":{}}',
        b'{"schema":1,"services":{"orders":[{"service":"orders","host":"a b","port":1}]}}',
        b'{"schema":1,"services":{"orders":[{"service":"orders","host":"a","port":0}]}}',
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_as_if_it_were_not_there(
    content: bytes, loop: VirtualLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And is told once, by its name."""
    path = tmp_path / "snapshot.json"
    path.write_bytes(content)
    snapshot = Snapshot(loop, Clock(loop.time, lambda: 0.0), Wheel(), str(path))
    assert not snapshot.known
    assert caplog.text.count(f"ignoring {path}") == 1


def test_a_file_that_cannot_be_written_is_told_and_holds_nobody_up(
    loop: VirtualLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that is gone, a disk that is full: nothing is left of the attempt."""

    async def story() -> None:
        one = Story(loop, tmp_path / "gone" / "snapshot.json")
        one.source.subscribe("orders", one.told)
        one.registry.told["orders"](instances(1))
        await one.source.close()

    loop.run_until_complete(story())
    assert "cannot write what the registry tells" in caplog.text
    assert list(tmp_path.iterdir()) == []

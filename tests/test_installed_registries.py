"""Registries that others have written: found, checked, and kept from doing harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sidecar.clock import Clock, Random
from sidecar.config.json_schema import json_schema
from sidecar.config.load import load, load_with_origins
from sidecar.discovery.guest import INSTANCES_AT_MOST, REPEAT_SECONDS, Guest, SelectiveGuest, guest, missing
from sidecar.discovery.registries import Registries, Unusable
from sidecar.discovery.source import Instance, Selective, Setup, Source, State, Told
from sidecar.sources import new_source
from sidecar.timing.wheel import Wheel
from tests.support import example_registry
from tests.support.configs import problems, written
from tests.support.live import ROOT
from tests.support.pages import blocks, section
from tests.support.virtual import VirtualLoop

GOOD = Instance(service="orders", host="127.0.0.1", port=8001)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """Somewhere to write, with the example and some bad registries installed."""
    directory = tmp_path / "installed"
    directory.mkdir()
    with example_registry.installed(directory):
        yield tmp_path


# What the configuration makes of them


def test_a_kind_that_is_installed_takes_its_own_options(here: Path) -> None:
    """Read as its Settings say, with our own kinds of values."""
    path = written(here, '[registry]\nkind = "file"\noptions = { path = "x.json", every = "100ms" }')
    options = load(path).registry_options
    assert (options.path, options.every) == ("x.json", 0.1)


def test_its_options_come_from_the_environment_as_well(here: Path) -> None:
    """As any other key."""
    environ = {"SIDECAR_REGISTRY__KIND": "file", "SIDECAR_REGISTRY__OPTIONS__PATH": "y.json"}
    assert load(written(here, ""), environ).registry_options.path == "y.json"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'kind = "fil"',
            "registry.kind: expected one of local, static, consul, dns, absent, file, gone, lacking, listing, raising, "
            'not "fil" (did you mean file?)',
        ),
        ('kind = "file"', "registry.options.path: is missing"),
        ('kind = "file"\noptions = { pth = "x" }', "registry.options.pth: unknown key (did you mean path?)"),
        (
            'kind = "file"\noptions = { path = "x", every = "soon" }',
            'registry.options.every: expected a duration with its unit, such as "100ms", "5s" or "1h", not "soon"',
        ),
        ('kind = "file"\noptions = 1', "registry.options: expected a table, not 1"),
        (
            'kind = "absent"',
            "registry.kind: no_such_module:Registry cannot be imported: "
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            'kind = "gone"',
            "registry.kind: bad_registries:gone cannot be imported: "
            "AttributeError: module 'bad_registries' has no attribute 'gone'",
        ),
        (
            'kind = "listing"\noptions = { hosts = ["a"] }',
            "registry.kind: the registry listing does not take these options: "
            "TypeError: registry.options.hosts is of a type that cannot be read: list[str]",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_key(here: Path, text: str, problem: str) -> None:
    """Before anything runs, as for keys of our own."""
    assert any(found == problem for found in problems(written(here, f"[registry]\n{text}"))), problem


def test_a_problem_of_its_options_has_its_line(here: Path) -> None:
    """In their table."""
    path = written(here, '[registry]\nkind = "file"\n[registry.options]\npath = "x"\nevery = 1\n', head="")
    with pytest.raises(Exception, match=rf"{path}:5: registry\.options\.every: "):
        load(path, {"SIDECAR_SERVICE__APP": "127.0.0.1:1"})


def test_our_own_kinds_are_ours(here: Path) -> None:
    """Whoever installs something else by such a name changes nothing."""
    config = load(written(here, '[registry]\nkind = "local"'))
    assert (config.registry.kind, config.registry_options) == ("local", None)


def test_what_is_in_effect_shows_its_options(here: Path) -> None:
    """With those that nobody has written, and the line of those that somebody has; without a Settings as they stand."""
    path = written(here, '[registry]\nkind = "file"\noptions = { path = "x.json" }')
    shown = {entry.key: (entry.value, entry.origin) for entry in load_with_origins(path).entries()}
    assert shown["registry.options.path"] == ('"x.json"', f"{path}:5")
    assert shown["registry.options.every"] == ('"500ms"', "default")
    path = written(here, '[registry]\nkind = "raising"\noptions = { a = { token = "secret" }, b = 1 }')
    shown = {entry.key: (entry.value, entry.origin) for entry in load_with_origins(path).entries()}
    assert shown["registry.options.b"][0] == "1"
    assert "secret" not in shown["registry.options.a.token"][0]


def test_editors_know_what_is_installed(here: Path) -> None:
    """The schema is that of this machine."""
    kinds = json_schema()["$defs"]["registry"]["properties"]["kind"]["enum"]
    assert kinds[:4] == ["local", "static", "consul", "dns"] and "file" in kinds


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("raising", "raising does not begin: RuntimeError: no way"),
        ("lacking", "lacking is no registry: it has no subscribe\\(\\), .*, close\\(\\), certain"),
    ],
)
def test_one_that_cannot_be_made_ends_the_start(here: Path, loop: VirtualLoop, kind: str, words: str) -> None:
    """In one line that says whose fault it is."""
    config = load(written(here, f'[registry]\nkind = "{kind}"'))
    with pytest.raises(Unusable, match=f"^{words}$"):
        new_source(config, loop, Clock(loop.time), Random(1), Wheel())


def test_one_that_is_sound_is_a_source_behind_a_guard(here: Path, loop: VirtualLoop) -> None:
    """The example, as the app has it."""
    (here / "x.json").write_text('{"orders": ["127.0.0.1:8001", "[::1]:8002"]}')
    config = load(written(here, f'[registry]\nkind = "file"\noptions = {{ path = "{here / "x.json"}" }}'))
    source = new_source(config, loop, Clock(loop.time), Random(1), Wheel())
    assert isinstance(source, Guest) and not isinstance(source, Selective)
    told: list[Sequence[Instance]] = []
    source.subscribe("orders", told.append)
    loop.run_until_complete(source.start())
    loop.run_until_complete(asyncio.sleep(0.1))
    assert [(one.host, one.port) for one in told[-1]] == [("127.0.0.1", 8001), ("::1", 8002)]
    (here / "x.json").write_text("{")
    loop.run_until_complete(asyncio.sleep(1))
    assert len(told) == 1 and source.state().stale_since is not None
    (here / "x.json").write_text("{}")
    loop.run_until_complete(asyncio.sleep(1))
    assert told[-1] == () and source.state().stale_since is None
    loop.run_until_complete(source.close())


def test_the_one_of_the_page_is_one(loop: VirtualLoop) -> None:
    """What is shown in the section can be copied."""
    text = section((ROOT / "docs/registry.md").read_text(), "Your own")
    code = next(block.text for block in blocks(text) if "class Fixed" in block.text)
    names: dict[str, Any] = {}
    exec(code, names)  # It is ours, and what is tested.
    clock = Clock(loop.time)
    source = guest("fixed", names["Fixed"](Setup(loop=loop, clock=clock, random=Random(1), settings={})), loop, clock)
    assert missing(source) == []
    told: dict[str, Sequence[Instance]] = {}
    for service in ("orders", "nobody"):
        source.subscribe(service, lambda instances, service=service: told.update({service: instances}))  # type: ignore[misc]
    loop.run_until_complete(source.start())
    source.register(GOOD)
    wait(loop)
    assert told == {"orders": (GOOD,), "nobody": ()} and source.state() == State(seen=True)
    loop.run_until_complete(source.deregister())
    loop.run_until_complete(source.close())


# The guard


class Bad:
    """A source that does what a test says: ``on`` has what happens in which method."""

    certain = True

    def __init__(self, **on: Callable[[], object]) -> None:
        self.on = on
        self.told: dict[str, Told] = {}

    def _do(self, method: str) -> object:
        return self.on.get(method, lambda: None)()

    def subscribe(self, service: str, told: Told) -> None:
        self.told[service] = told
        self._do("subscribe")

    def unsubscribe(self, service: str) -> None:
        self._do("unsubscribe")

    def register(self, instance: Instance) -> None:
        self._do("register")

    def announce(self, service: str, admin: str, listeners: Mapping[str, str]) -> None:
        self._do("announce")

    async def deregister(self) -> None:
        self._do("deregister")

    def state(self) -> State:
        return self._do("state") if "state" in self.on else State(seen=True)  # type: ignore[return-value]

    async def start(self) -> None:
        self._do("start")

    async def close(self) -> None:
        self._do("close")


def broken() -> object:
    raise RuntimeError("broken")


def guarded(loop: VirtualLoop, bad: Bad) -> tuple[Guest, list[Sequence[Instance]]]:
    told: list[Sequence[Instance]] = []
    source = guest("bad", bad, loop, Clock(loop.time))
    source.subscribe("orders", told.append)
    return source, told


def wait(loop: VirtualLoop, seconds: float = 0.01) -> None:
    loop.run_until_complete(asyncio.sleep(seconds))


class Nasty(list[Instance]):
    def __len__(self) -> int:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        "orders",
        [None],
        [GOOD, {"service": "orders"}],
        [Instance(service="orders", host="a b", port=1)],
        [Instance(service="orders", host="127.0.0.1", port=0)],
        [Instance(service="orders", host="127.0.0.1", port="80")],  # type: ignore[arg-type]
        [Instance(service="orders", host="127.0.0.1", port=1, zone="a\nb")],
        [Instance(service="shop", host="127.0.0.1", port=1)],
        [GOOD] * (INSTANCES_AT_MOST + 1),
        (one for one in [GOOD]),
        Nasty(),
    ],
    ids=lambda garbage: type(garbage).__name__,
)
def test_what_is_no_list_of_instances_changes_nothing(
    loop: VirtualLoop, garbage: object, caplog: pytest.LogCaptureFixture
) -> None:
    """What was told last stays; the registry is in trouble until it tells something sound."""
    bad = Bad()
    source, told = guarded(loop, bad)
    bad.told["orders"]([GOOD])
    bad.told["orders"](garbage)  # type: ignore[arg-type]
    wait(loop)
    assert told == [(GOOD,)]
    state = source.state()
    assert state.seen and state.stale_since == 1000.0
    assert "the registry bad fails in telling orders: " in state.trouble
    assert len(caplog.messages) == 1 and "keeping what is known" in caplog.text
    bad.told["orders"]([])
    wait(loop)
    assert told[-1] == () and source.state() == State(seen=True)


def test_nobody_is_told_from_within_a_call_or_from_another_thread(loop: VirtualLoop) -> None:
    """Whatever the source does: those who are told are on the loop, and not in the middle of something."""
    bad = Bad(subscribe=lambda: bad.told["orders"]([GOOD]))
    _, told = guarded(loop, bad)
    assert told == []
    wait(loop)
    assert told == [(GOOD,)]
    other = Thread(target=bad.told["orders"], args=([],))
    other.start()
    other.join()
    assert len(told) == 1
    wait(loop)
    assert told == [(GOOD,), ()]


def test_who_is_unsubscribed_is_told_no_more_whatever_the_source_does(loop: VirtualLoop) -> None:
    """Nor is anybody after the end."""
    bad = Bad(unsubscribe=broken)
    source, told = guarded(loop, bad)
    bad.told["orders"]([GOOD])
    source.unsubscribe("orders")
    wait(loop)
    assert told == []
    source.subscribe("orders", told.append)
    loop.run_until_complete(source.close())
    bad.told["orders"]([GOOD])
    wait(loop)
    assert told == []


def test_methods_that_raise_are_logged_and_nothing_else(loop: VirtualLoop, caplog: pytest.LogCaptureFixture) -> None:
    """Once a minute for each; the state says so, and since when."""
    names = ("subscribe", "unsubscribe", "register", "announce", "deregister", "state", "close")
    source, _ = guarded(loop, Bad(**dict.fromkeys(names, broken)))
    source.register(GOOD)
    source.register(GOOD)
    source.announce("orders", "", {})
    loop.run_until_complete(source.deregister())
    state = source.state()
    assert state.stale_since == 1000.0 and "RuntimeError: broken" in state.trouble
    source.unsubscribe("orders")
    loop.run_until_complete(source.close())
    doing = [line.partition("fails in ")[2].partition(":")[0] for line in caplog.messages]
    assert sorted(doing) == sorted(["subscribe(orders)", *names[1:]])
    wait(loop, REPEAT_SECONDS)
    source.register(GOOD)
    assert len(caplog.messages) == len(doing) + 1


def test_what_cannot_be_registered_is_said_to_whoever_asked(loop: VirtualLoop) -> None:
    """``ValueError`` is an answer and no defect."""

    def refuse() -> object:
        raise ValueError("no such zone")

    source, _ = guarded(loop, Bad(register=refuse))
    with pytest.raises(ValueError, match="no such zone"):
        source.register(GOOD)
    assert source.state() == State(seen=True)


@pytest.mark.parametrize("state", [None, 1, State])
def test_a_state_that_is_none_is_trouble(loop: VirtualLoop, state: object) -> None:
    """And not an error of whoever asks for it."""
    source, _ = guarded(loop, Bad(state=lambda: state))
    assert source.state().trouble.startswith("the registry bad fails in state: TypeError: expected a State, not ")


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyError("x"), OSError(13, "Permission denied")])
def test_a_start_that_fails_ends_ours_in_one_line(loop: VirtualLoop, error: Exception) -> None:
    """As that of our own registries does."""

    def fail() -> object:
        raise error

    source, _ = guarded(loop, Bad(start=fail))
    registries = Registries(
        loop, Clock(loop.time), Wheel(), source, 0.0, lambda name, endpoints: None, lambda name: None
    )
    words = "Permission denied" if isinstance(error, OSError) else f"bad does not begin: {type(error).__name__}"
    with pytest.raises(Unusable, match=words):
        loop.run_until_complete(registries.start())


def test_one_that_knows_its_names_is_asked_for_them(loop: VirtualLoop) -> None:
    """An error of it is a no."""

    class Choosy(Bad):
        def owns(self, name: str) -> bool:
            return name[1] == "a"

    source: Source = guest("choosy", Choosy(), loop, Clock(loop.time))
    assert isinstance(source, SelectiveGuest) and isinstance(source, Selective)
    assert (source.owns("ba.x"), source.owns("bb.x"), source.owns("")) == (True, False, False)

"""The demo from its start to its end: one loop, which a signal, a key or the next look wakes."""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click

from sidecar.clock import Clock
from sidecar.demo.crew import remove
from sidecar.demo.front import Front
from sidecar.demo.interval import between
from sidecar.demo.lines import Lines
from sidecar.demo.mesh import Failed, Mesh
from sidecar.demo.readings import Snapshot
from sidecar.demo.story import Story
from sidecar.demo.topology import Instance, missing, shop
from sidecar.demo.wishes import FAIL_SHARE, Wish, Wrong, parse

START_SECONDS = 30.0
"""How long it may take until everybody answers."""
POLL_SECONDS = 0.05
ILL = "payments-2"
ILL_FIRST, ILL_SECONDS, ILL_EVERY = 8.0, 8.0, 45.0
"""When it falls ill by itself, for how long, and how often: until somebody else gives the orders."""


class Bell:
    """Wakes the loop when a signal comes. No exception ever cuts the ending of the processes short."""

    def __init__(self) -> None:
        self.stop = False
        self.changed = False
        """Whether the terminal has another size."""
        self.file, self._ours = os.pipe()
        for end in (self.file, self._ours):
            os.set_blocking(end, False)

    def __enter__(self) -> Bell:
        self._former = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGWINCH)
            # nohup has it ignored, so that the end of the terminal is not ours.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }
        self._wakeup = signal.set_wakeup_fd(self._ours, warn_on_full_buffer=False)
        return self

    def __exit__(self, *of_an_error: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, former in self._former.items():
            signal.signal(number, former)
        os.close(self.file)
        os.close(self._ours)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.changed |= number == signal.SIGWINCH
        self.stop |= number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def wait(self, seconds: float, source: int | None = None) -> bool:
        """Until ``source`` can be read, which is the answer, a signal has come or the time is over."""
        sources = [self.file] if source is None else [self.file, source]
        ready, _, _ = select.select(sources, (), (), max(0.0, seconds))
        with suppress(BlockingIOError):
            os.read(self.file, 4096)
        return source in ready


class Demo:
    """A mesh, somebody who shows it, and what goes on between them."""

    def __init__(self, mesh: Mesh, front: Front, bell: Bell, clock: Clock) -> None:
        self._mesh = mesh
        self._front = front
        self._bell = bell
        self._clock = clock
        self._story = Story()
        self._snapshots: deque[Snapshot] = deque()
        self._ours = True
        """Whether payments-2 falls ill by itself."""
        self._next_ill = ILL_FIRST
        self._well_at: float | None = None

    def start(self) -> None:
        """Until everybody answers, or we are to stop. Raises :class:`Failed`."""
        self._mesh.start()
        give_up = self._clock.now() + START_SECONDS
        while not self._bell.stop and (late := self._mesh.waiting()):
            if self._clock.now() > give_up:
                raise Failed(f"Not ready after {START_SECONDS:.0f} s: {', '.join(late)}. Is the machine very busy?")
            self._bell.wait(POLL_SECONDS)

    def run(self, seconds: float | None) -> None:
        """For ``seconds``, or until we are to stop."""
        self._snapshots.append(self._mesh.look())
        began = at = self._clock.now()
        while not self._bell.stop and (seconds is None or at - began < seconds):
            at = max(at + self._front.every, self._clock.now())
            while not self._bell.stop and (left := at - self._clock.now()) > 0:
                if self._bell.wait(left, self._front.source):
                    self._heed()
                self._tell(self._mesh.mend())
                if self._bell.changed:
                    self._bell.changed = False
                    self._show(began)
            self._look(began)

    def _look(self, began: float) -> None:
        snapshot = self._mesh.look()
        while len(self._snapshots) > 1 and snapshot.at - self._snapshots[1].at >= self._front.span - 0.1:
            self._snapshots.popleft()
        self._snapshots.append(snapshot)
        self._show(began)
        self._tell(self._mesh.mend())
        self._tell(self._story.go_on(snapshot, list(self._mesh.places)))
        self._tell(self._illness(snapshot.at - began))

    def _show(self, began: float) -> None:
        if self._snapshots:
            last = self._snapshots[-1]
            self._front.show(last.at - began, self._mesh, last, between(self._snapshots[0], last))

    def _tell(self, sentences: Iterator[str] | list[str]) -> None:
        for sentence in sentences:
            self._front.say(sentence)

    def _heed(self) -> None:
        for written in self._front.read():
            try:
                wish = parse(written, tuple(instance.name for instance in self._mesh.instances))
            except Wrong as error:
                self._front.say(str(error))
                continue
            if wish is None:
                self._bell.stop = True
                return
            self._ours = False
            self._tell(self._recovery())
            self._front.say(self._mesh.fulfil(wish))

    def _illness(self, now: float) -> Iterator[str]:
        """What happens to payments-2 as long as nobody else lets things happen."""
        if self._well_at is not None and now >= self._well_at:
            yield from self._recovery()
        elif self._ours and now >= self._next_ill:
            self._next_ill, self._well_at = now + ILL_EVERY, now + ILL_SECONDS
            self._mesh.fulfil(Wish("fail", ILL))
            yield f"{ILL} falls ill, as it does every {ILL_EVERY:.0f} s: {FAIL_SHARE:.0%} of its answers are a 500"

    def _recovery(self) -> Iterator[str]:
        """Its end, if it is ill."""
        if self._well_at is not None:
            self._well_at = None
            self._mesh.fulfil(Wish("restore", ILL))
            yield f"{ILL} is well again"


def demonstrate(seconds: float | None, plain: bool) -> int:
    """The whole of it; the exit code."""
    try:
        with Bell() as bell, ExitStack() as stack:
            instances = shop()
            front = choose(instances, plain, stack)
            for sentence in missing(instances):
                front.say(sentence)
            play(instances, front, bell, seconds)
        click.echo("All processes have ended; nothing is left.")
    except BrokenPipeError:
        # Nobody reads any more; the interpreter would complain of that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Failed, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return 0


def play(instances: tuple[Instance, ...], front: Front, bell: Bell, seconds: float | None) -> None:
    """From the first process to the last. Raises :class:`Failed`, and ``OSError`` for what the system refuses."""
    clock = Clock()
    directory = Path(tempfile.mkdtemp(prefix="sidecar-demo-"))
    with ExitStack() as stack:
        stack.callback(remove, directory)
        mesh = Mesh(directory, instances, clock)
        stack.callback(mesh.end)
        demo = Demo(mesh, front, bell, clock)
        front.say("starting the shop: six applications, a sidecar beside each ...")
        demo.start()
        if not bell.stop:
            front.introduce(mesh)
            demo.run(seconds)
        front.say("ending all processes ...")


def choose(instances: tuple[Instance, ...], plain: bool, stack: ExitStack) -> Front:
    """The view where it can be drawn, else lines."""
    if not plain and find_spec("termios") is not None and os.isatty(0) and sys.stdout.isatty():
        if os.environ.get("TERM", "dumb") == "dumb":
            return Lines()
        if find_spec("rich") is None:
            click.echo("rich is not installed: a line a second instead of a view (pip install 'sidecar-mesh[demo]')\n")
            return Lines()
        from sidecar.demo.view import View

        return stack.enter_context(View(instances, ILL))
    return Lines()

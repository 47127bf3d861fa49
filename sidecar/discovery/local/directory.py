"""A directory of ours alone, and files in it that are whole or not there.

What others could do to us through a directory in a place such as ``/tmp`` is prevented by never trusting a path twice:
the directory is opened once, looked at through its descriptor, and everything in it is reached from there. Links are
followed nowhere. A file counts if it is an ordinary one and belongs to us.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from typing import Final, NamedTuple

OURS_ALONE: Final = 0o077
UNFINISHED: Final = ".tmp"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(OSError):
    """The directory is not ours alone, and only a person can change that."""


class Stamp(NamedTuple):
    """What changes when a file does."""

    inode: int
    mtime_ns: int
    size: int


class Place(NamedTuple):
    """Where a directory is: ``names``, one below the other, in ``base``, which has to exist. ``kept`` ones stay when
    they are empty."""

    base: str
    names: tuple[str, ...]
    kept: bool

    @property
    def path(self) -> str:
        return os.path.join(self.base, *self.names)


def place(path: str | None = None) -> Place:
    """That of ``path``, or of the registry of this user on this machine."""
    return places(path)[0]


def places(path: str | None = None) -> list[Place]:
    """Where sidecars of this user may be: whoever has a login session looks elsewhere than whoever has none."""
    if path is not None:
        base, name = os.path.split(os.path.abspath(path))
        return [Place(base, (name,), kept=True)]
    found = [Place(tempfile.gettempdir(), (f"sidecar-{os.geteuid()}", "registry"), kept=False)]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # After sudo it may be another user's, whom a directory of ours would be in the way of.
    with suppress(OSError):
        if os.path.isabs(runtime) and os.stat(runtime).st_uid == os.geteuid():
            found.insert(0, Place(runtime, ("sidecar", "registry"), kept=False))
    return found


def stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_size)


class Directory:
    """The open directory. Raises ``Refused`` if it is not ours alone, ``OSError`` if it cannot be opened."""

    __slots__ = ("_file", "_place")

    def __init__(self, place: Place, create: bool = True) -> None:
        self._place = place
        self._file = os.open(place.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        path = place.base
        for name in place.names:
            path = os.path.join(path, name)
            parent = self._file
            try:
                self._file = _enter(parent, name, path, create)
            finally:
                os.close(parent)

    def close(self) -> None:
        os.close(self._file)

    @property
    def stands(self) -> bool:
        """Whether the path still leads here, and the directory is still ours alone."""
        try:
            there, here = os.stat(self._place.path, follow_symlinks=False), os.fstat(self._file)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and not here.st_mode & OURS_ALONE

    def changed_ns(self) -> int:
        """When a name in it came, went or was given to another file: nanoseconds, to be compared only."""
        return os.fstat(self._file).st_mtime_ns

    def names(self) -> list[str]:
        return os.listdir(self._file)

    def stamp(self, name: str) -> Stamp:
        return stamp(os.stat(name, dir_fd=self._file, follow_symlinks=False))

    def read(self, name: str, limit: int) -> tuple[bytes, Stamp]:
        """Its first ``limit`` bytes. Raises ``ValueError`` if it is no file of ours, ``OSError`` if it cannot be read."""
        if not stat.S_ISREG(os.stat(name, dir_fd=self._file, follow_symlinks=False).st_mode):
            raise ValueError("it is not an ordinary file")
        file = os.open(name, _READ, dir_fd=self._file)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is not an ordinary file")
            if found.st_uid != os.geteuid():
                raise ValueError("it belongs to another user")
            data = os.read(file, limit)
        finally:
            os.close(file)
        return data, stamp(found)

    def write(self, name: str, data: bytes, now: float) -> Stamp:
        """Whole, in place of what was there before; last changed at ``now`` (Unix seconds)."""
        unfinished = f".{name}{UNFINISHED}"
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=self._file)
        file = os.open(unfinished, _WRITE, 0o600, dir_fd=self._file)
        try:
            with open(file, "wb") as stream:
                stream.write(data)
            self.touch(unfinished, now)
            # The renamed file keeps its stamp: nobody else can have touched it.
            written = self.stamp(unfinished)
            os.rename(unfinished, name, src_dir_fd=self._file, dst_dir_fd=self._file)
        except OSError:
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=self._file)
            raise
        return written

    def touch(self, name: str, now: float) -> None:
        """It was changed last at ``now`` (Unix seconds)."""
        moment = int(now * 1e9)
        os.utime(name, ns=(moment, moment), dir_fd=self._file, follow_symlinks=False)

    def remove(self, name: str, seen: Stamp | None = None) -> None:
        """Removes it unless it is gone already, or is not what was ``seen`` any more."""
        with suppress(FileNotFoundError):
            if seen is None or self.stamp(name) == seen:
                os.unlink(name, dir_fd=self._file)

    def leave(self) -> None:
        """Closes it, and takes it away if it is empty and nobody has asked for just this one."""
        self.close()
        if self._place.kept:
            return
        path = self._place.path
        with suppress(OSError):
            for _ in self._place.names:
                os.rmdir(path)
                path = os.path.dirname(path)


def _enter(parent: int, name: str, path: str, create: bool) -> int:
    """The directory ``name`` in ``parent``, opened."""
    if create:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
    try:
        file = os.open(name, _OPEN, dir_fd=parent)
    except NotADirectoryError:
        raise Refused(f"{path} is no directory, or a link to one: the registry goes nowhere else") from None
    except OSError as error:
        # Where the link is judged before the kind, the error is another one.
        if os.path.islink(path):
            raise Refused(f"{path} is a link: the registry follows none") from None
        raise OSError(error.errno, error.strerror, path) from None
    found = os.fstat(file)
    trouble = ""
    if found.st_uid != os.geteuid():
        trouble = f"{path} belongs to another user ({found.st_uid}, and we are {os.geteuid()})"
    elif found.st_mode & OURS_ALONE:
        mode = stat.S_IMODE(found.st_mode)
        trouble = f"{path} is open to others (mode {mode:04o}): chmod 700 it if nobody else has to get at it"
    if trouble:
        os.close(file)
        raise Refused(trouble)
    return file

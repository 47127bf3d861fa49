"""What stands in a file of the registry, and what it is called."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sidecar.discovery.local.directory import Directory, Stamp
from sidecar.discovery.local.owner import Owner
from sidecar.discovery.source import Instance, Label, Name

SCHEMA: Final = 1
MAX_BYTES: Final = 65536
SUFFIX: Final = ".json"

_PLAIN = re.compile(r"[a-z0-9_][a-z0-9._-]{0,199}")
_NAME = re.compile(r"(?P<prefix>[a-z0-9_+][a-z0-9._-]{0,199})@[0-9a-f]{16}\.json")


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """A sidecar that runs here: whose it is, and where it can be asked.

    ``instance`` is what others may call, ``None`` before it is registered and from the beginning of its drain. ``written``
    is in Unix seconds and only for people, and to tell which of two came later.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    service: Name
    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    owner: Owner
    admin: Label = ""
    listeners: dict[Label, Label] = {}
    instance: Instance | None = None
    written: float = 0.0

    @property
    def file(self) -> str:
        return f"{prefix(self.service)}@{self.id}{SUFFIX}"


def prefix(service: str) -> str:
    """What the names of a service's files begin with, up to the ``@``: safe on every file system, and different for
    different services."""
    if _PLAIN.fullmatch(service):
        return service
    from hashlib import sha256  # Only for names that no configuration allows.

    return f"+{sha256(service.encode()).hexdigest()}"


def prefix_of(file: str) -> str | None:
    """The prefix of a file's name, ``None`` if it is not ours."""
    match = _NAME.fullmatch(file)
    return match["prefix"] if match else None


def encode(announcement: Announcement) -> bytes:
    """For people to read as well."""
    return msgspec.json.format(msgspec.json.encode(announcement), indent=2) + b"\n"


_decoder = msgspec.json.Decoder(Announcement)


def decode(data: bytes, file: str) -> Announcement:
    """What stands in ``file``. Raises ``ValueError``, which says what is wrong, for anything but what :func:`encode` makes
    under that name."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    try:
        announcement = _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    instance = announcement.instance
    if announcement.file != file or (instance is not None and instance.service != announcement.service):
        raise ValueError("it speaks of another service or sidecar than its name")
    return announcement


def read(directory: Directory, file: str) -> tuple[Announcement, Stamp]:
    """Raises ``ValueError`` if it is not ours or makes no sense, ``OSError`` if it cannot be read."""
    data, stamp = directory.read(file, MAX_BYTES + 1)
    return decode(data, file), stamp

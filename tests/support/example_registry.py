"""The registry of ``examples/registry-file``, installed in a directory as pip would, without pip or the network."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.live import ROOT

EXAMPLE = ROOT / "examples" / "registry-file"


def install(directory: Path) -> Path:
    """What its ``pyproject.toml`` says, and beside it some that cannot be used; to be put on the path of modules."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (directory / "registry_file.py").write_text((EXAMPLE / "registry_file.py").read_text())
    (directory / "bad_registries.py").write_text(BAD)
    points = project["entry-points"]["sidecar.registries"] | {
        name: f"bad_registries:{name}" for name in ("raising", "lacking", "listing", "gone")
    }
    points |= {"absent": "no_such_module:Registry", "local": "registry_file:FileRegistry"}
    info = directory / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[sidecar.registries]", *lines, ""]))
    return directory


@contextmanager
def installed(directory: Path) -> Iterator[None]:
    """As long as it lasts, they are among the distributions of this process; ``directory`` is where they are written."""
    sys.path.insert(0, str(install(directory)))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in ("registry_file", "bad_registries"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()


BAD = '''
class listing:
    """Its options are of a type that our reader does not know."""

    import msgspec

    class Settings(msgspec.Struct):
        hosts: list[str] = []


def raising(setup):
    raise RuntimeError("no\\nway")


def lacking(setup):
    return object()
'''

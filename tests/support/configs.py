"""Configurations that are written and loaded, and what loading complains about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import ConfigError, load

APP = '[service]\napp = "127.0.0.1:8080"\n'


def written(directory: Path, text: str, head: str = APP) -> str:
    """Writes a file with an application in it, and gives its path."""
    path = directory / "sidecar.toml"
    path.write_text(head + text)
    return str(path)


def problems(path: str | None, *args: Any) -> list[str]:
    """What loading complains about, without the file's name and the line."""
    stripped = (problem.removeprefix(str(path)) for problem in lined(path, *args))
    return [re.sub(r"^(:\d+)?: ", "", problem) for problem in stripped]


def lined(path: str | None, *args: Any) -> list[str]:
    """What loading complains about."""
    with pytest.raises(ConfigError) as caught:
        load(path, *args)
    return caught.value.problems

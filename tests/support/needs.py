"""Parts that a machine may lack. A test that needs one says so and skips; CI has them all, and fails instead."""

from __future__ import annotations

import importlib
import os
import shutil
from types import ModuleType
from typing import NoReturn

import pytest


def library(name: str) -> ModuleType:
    """A module of a library that only tests and extras need."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _skip(f"the Python module {name} (make test installs it)")


def program(name: str, package: str) -> str:
    """Where a program is that Debian has in ``package``."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return found or _skip(f"{name} (Debian: apt install {package})")


def _skip(what: str) -> NoReturn:
    assert not os.environ.get("CI"), f"missing: {what}"
    pytest.skip(f"needs {what}", allow_module_level=True)

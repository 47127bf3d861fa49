"""A file that changes, in all the ways in which files are changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.watch import Watch


def overwrite(path: Path) -> None:
    path.write_text("a longer content")


def rename_over(path: Path) -> None:
    """As editors and configuration managers do it: the same size, perhaps the same instant."""
    new = path.with_name("new")
    new.write_text("b" * len(path.read_text()))
    os.utime(new, ns=(1, path.stat().st_mtime_ns))
    new.rename(path)


def same_size(path: Path) -> None:
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [overwrite, rename_over, same_size])
def test_a_change_is_told_once_when_the_file_has_come_to_rest(change: Callable[[Path], None], tmp_path: Path) -> None:
    """The first look sees that something happens, the second that it is over."""
    path = tmp_path / "sidecar.toml"
    path.write_text("content")
    watch = Watch(str(path))
    assert [watch.changed() for _ in range(3)] == [False] * 3
    change(path)
    assert [watch.changed() for _ in range(4)] == [False, True, False, False]


def test_a_configmap_is_changed_by_a_link_in_the_middle_of_the_path(tmp_path: Path) -> None:
    """The kubelet swaps ``..data``; the file's own name stays a link to a link."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sidecar.toml").write_text("content")
    (tmp_path / "..data").symlink_to("first")
    path = tmp_path / "sidecar.toml"
    path.symlink_to("..data/sidecar.toml")
    watch = Watch(str(path))
    (tmp_path / "swap").symlink_to("second")
    (tmp_path / "swap").rename(tmp_path / "..data")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_what_is_being_written_is_not_told_yet(tmp_path: Path) -> None:
    """A file that is emptied first and filled piece by piece is read when it is whole."""
    path = tmp_path / "sidecar.toml"
    path.write_text("content")
    watch = Watch(str(path))
    path.write_text("")
    assert not watch.changed()
    path.write_text("half")
    assert not watch.changed()
    path.write_text("half and half")
    assert not watch.changed()
    assert watch.changed()


def test_a_missing_file_is_no_change_until_it_is_back(tmp_path: Path) -> None:
    """It may be about to be replaced; there is nothing to read."""
    path = tmp_path / "sidecar.toml"
    path.write_text("content")
    watch = Watch(str(path))
    path.unlink()
    assert [watch.changed() for _ in range(3)] == [False] * 3
    path.write_text("another content")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_was_never_there_is_a_change_when_it_comes(tmp_path: Path) -> None:
    """The watch may begin before the file does."""
    path = tmp_path / "sidecar.toml"
    watch = Watch(str(path))
    assert not watch.changed()
    path.write_text("content")
    assert [watch.changed() for _ in range(2)] == [False, True]

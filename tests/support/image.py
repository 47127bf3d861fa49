"""The Dockerfile carried out without a container engine: its instructions are read, and each stage is really built.

A directory stands for a stage's root. Paths in instructions are meant within it, so ``/opt/sidecar`` becomes
``ROOT/opt/sidecar``, and the ``python`` of the base image is a fresh virtual environment in ``ROOT/usr/local``. All
stages have their root at the same place, one after the other (a finished one is moved aside): paths that a build writes
into its files are right in the stage that they are copied to, as in a container.

What this cannot show is the base image itself: its Python, its C library, and what else lies in it. ::

    image = build(dockerfile, context, directory)
    subprocess.run([*image.entrypoint, "--version"], env=image.env)
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

AMBIENT = re.compile(r"HOME|PIP_\w+|SSL_CERT_\w+|(REQUESTS|CURL)_CA_BUNDLE|(HTTPS?|NO)_PROXY", re.IGNORECASE)
"""Variables of this machine by which it reaches a package index; a builder of images gets the like from its engine."""
ABSOLUTE = re.compile(r"(?<![^\s\"'=:])/(?=\w)")
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
PYTHON = Path(sys.executable).resolve()
"""The bare Python beneath the virtual environment of the tests."""
METADATA = frozenset({"LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"})


class Instruction(NamedTuple):
    name: str
    value: str

    def words(self) -> list[str]:
        """Of the exec form, a JSON list, if it is one; else of the line."""
        return [str(word) for word in json.loads(self.value)] if self.exec_form else shlex.split(self.value)

    @property
    def exec_form(self) -> bool:
        return self.value.startswith("[")

    def pairs(self) -> dict[str, str]:
        """``A=1 B="2 3"`` by name."""
        return dict(word.split("=", 1) for word in shlex.split(self.value))


@dataclass
class Stage:
    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction:
        return [one for one in self.instructions if one.name == name][-1]


def read(text: str) -> list[Stage]:
    """The stages, in order."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, lines.replace("\\\n", " ").splitlines())):
        name, _, value = line.partition(" ")
        if name == "FROM":
            base, *alias = value.split()
            stages.append(Stage(base, alias[1] if alias else ""))
        else:
            stages[-1].instructions.append(Instruction(name, re.sub(r"\s+", " ", value).strip()))
    return stages


def ignored(path: str, patterns: list[str]) -> bool:
    """Whether ``.dockerignore`` keeps this path of the context out: the last pattern that matches it decides."""
    verdict = False
    for pattern in patterns:
        glob = re.escape(pattern.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{glob}(/.*)?", path):
            verdict = not pattern.startswith("!")
    return verdict


def ignore_patterns(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


class Image:
    """What the last stage has come to: ``root`` on this machine, ``env`` as a container gets it, and its metadata."""

    def __init__(self, stage: Stage, root: Path, env: dict[str, str]) -> None:
        self.stage = stage
        self.root = root
        self.env = env

    @property
    def entrypoint(self) -> list[str]:
        return self.stage.last("ENTRYPOINT").words()

    @property
    def healthcheck(self) -> list[str]:
        return Instruction("CMD", self.stage.last("HEALTHCHECK").value.partition("CMD ")[2]).words()

    @property
    def user(self) -> tuple[int, int]:
        uid, gid = self.stage.last("USER").value.split(":")
        return int(uid), int(gid)


def build(dockerfile: Path, context: Path, directory: Path) -> Image:
    """Every stage, its files beneath ``directory``. Fails with the output of a command that fails."""
    stages = read(dockerfile.read_text())
    patterns = ignore_patterns((context / ".dockerignore").read_text())
    root = directory / "root"
    done: dict[str, Path] = {}
    for stage in stages:
        env = _Builder(stage, root, context, patterns, done).carry_out()
        if stage is not stages[-1]:
            done[stage.name] = root.rename(directory / stage.name)
    return Image(stages[-1], root, env)


class _Builder:
    """One stage on its way. A method carries an instruction out; one that has none is a mistake to be told."""

    def __init__(self, stage: Stage, root: Path, context: Path, patterns: list[str], done: dict[str, Path]) -> None:
        self._stage = stage
        self._root = root
        self._context = context
        self._patterns = patterns
        self._done = done
        self._workdir = root
        self._ambient = {name: value for name, value in os.environ.items() if AMBIENT.fullmatch(name)}
        self._variables = {"PATH": f"{root}/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

    def carry_out(self) -> dict[str, str]:
        """The variables that a container of it would have."""
        assert re.fullmatch(r"python:3\.\d+-slim-\w+", self._stage.base), f"nothing stands in for {self._stage.base}"
        self._call([str(PYTHON), "-m", "venv", str(self._root / "usr/local")])
        for one in self._stage.instructions:
            if one.name not in METADATA:
                {"ENV": self._set, "ARG": self._set, "WORKDIR": self._enter, "COPY": self._copy, "RUN": self._run}[
                    one.name
                ](one)
        return self._variables

    def _here(self, text: str) -> str:
        return ABSOLUTE.sub(f"{self._root}/", text)

    def _set(self, one: Instruction) -> None:
        for name, value in one.pairs().items():
            self._variables[name] = VARIABLE.sub(lambda word: self._variables[word[1] or word[2]], self._here(value))

    def _enter(self, one: Instruction) -> None:
        self._workdir = Path(self._workdir, self._here(one.value))
        self._workdir.mkdir(parents=True, exist_ok=True)

    def _run(self, one: Instruction) -> None:
        self._call(["sh", "-c", self._here(one.value)])

    def _copy(self, one: Instruction) -> None:
        """Files by their names into the last word, a directory's content likewise."""
        words = one.words()
        option = words.pop(0) if words[0].startswith("--") else ""
        *sources, to = words
        target = Path(self._workdir, self._here(to))
        for source in sources:
            if option:
                origin = self._done[option.removeprefix("--from=")]
                shutil.copytree(origin / source.lstrip("/"), target, symlinks=True)
            elif (self._context / source).is_dir():
                shutil.copytree(self._context / source, target, ignore=self._ignored)
            else:
                assert not ignored(source, self._patterns), f".dockerignore keeps {source} from the builder"
                shutil.copy2(self._context / source, target)

    def _ignored(self, directory: str, names: list[str]) -> list[str]:
        folder = Path(directory).relative_to(self._context)
        return [name for name in names if ignored((folder / name).as_posix(), self._patterns)]

    def _call(self, command: list[str]) -> None:
        cwd = self._workdir if self._workdir.is_dir() else None
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self._variables | self._ambient,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{shlex.join(command)} ended with status {done.returncode}:\n{done.stdout}"

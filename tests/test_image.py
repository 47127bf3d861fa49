"""The image: what its Dockerfile says, and what comes of it when its steps are really carried out.

There is no container engine in these tests. The steps are executed in a fresh environment (tests/support/image.py), and
what they leave is run as a container would be: by the user of the image, on files that nobody can write.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import MAGIC_NUMBER
from ipaddress import ip_address
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.config.load import Setting, load
from sidecar.config.schema import Listen
from tests.support.image import Image, Instruction, build, ignore_patterns, ignored, read
from tests.support.live import ROOT
from tests.support.pod import Process, listeners, pod_of, started

DOCKERFILE = ROOT / "Dockerfile"
BUILDER, FINAL = read(DOCKERFILE.read_text())


# What it says


def test_the_linter_has_nothing_to_say(tmp_path: Path) -> None:
    """hadolint, with every rule on: nothing is ignored here or by a file of settings."""
    settings = tmp_path / "hadolint.yaml"
    settings.write_text("ignored: []\n")
    hadolint = Path(sys.executable).parent / "hadolint"
    command = [hadolint, "--config", settings, "--disable-ignore-pragma", "--format", "json", DOCKERFILE]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, json.loads(result.stdout)) == (0, []), result.stderr


def test_both_stages_stand_on_one_python_whose_version_is_pinned() -> None:
    """The environment of the builder holds paths and bytecode of the Python that it was made with."""
    assert BUILDER.base == FINAL.base == "python:3.13-slim-trixie"


def test_it_is_run_without_a_shell_by_a_user_that_a_kubelet_knows_is_not_root() -> None:
    """By number, and nothing after it is done as root."""
    for name, command in (("ENTRYPOINT", ["sidecar"]), ("CMD", ["run"])):
        assert FINAL.last(name).exec_form and FINAL.last(name).words() == command
    assert FINAL.last("HEALTHCHECK").value.partition("CMD ")[2].startswith("[")
    uid, gid = FINAL.last("USER").value.split(":")
    assert int(uid) > 0 < int(gid)
    names = [one.name for one in FINAL.instructions]
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])
    assert FINAL.last("STOPSIGNAL").value == "SIGTERM"


def test_the_ports_are_those_that_others_reach() -> None:
    """Those of listeners that are not on loopback, with their defaults."""
    static = [Setting("--registry", "registry.kind", "static"), Setting("--app", "service.app", "127.0.0.1:8080")]
    listen = load(None, flags=static).listen
    addresses = [getattr(listen, name) for name in Listen.__struct_fields__]
    open_to_others = [address.port for address in addresses if not ip_address(address.host).is_loopback]
    assert sorted(map(int, FINAL.last("EXPOSE").value.split())) == sorted(open_to_others)


def test_labels_tell_the_truth() -> None:
    """The version is this one, the base is the one that it is built on."""
    labels = FINAL.last("LABEL").pairs()
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.base.name"] == FINAL.base
    assert all(name.startswith("org.opencontainers.image.") for name in labels)


def test_the_builder_is_sent_what_it_copies_and_nothing_else() -> None:
    """A secret, a virtual environment or a repository beside the code cannot get into an image."""
    patterns = ignore_patterns((ROOT / ".dockerignore").read_text())
    sources = {word for one in BUILDER.instructions if one.name == "COPY" for word in one.words()[:-1]}
    assert {path.name for path in ROOT.iterdir() if not ignored(path.name, patterns)} == sources
    assert not ignored("sidecar/http/h1/body.py", patterns)
    for path in (".git/config", ".env", "tests/conftest.py", "sidecar/__pycache__/app.pyc", "sidecar/http/__pycache__"):
        assert ignored(path, patterns), path


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ('CMD ["run", "a b"]', '["run", "a b"]', ["run", "a b"]),
        ("RUN one \\\n    # why\n    && two", "one && two", ["one", "&&", "two"]),
        ('LABEL a="b c"', 'a="b c"', ["a=b c"]),
    ],
)
def test_instructions_are_read_as_an_engine_reads_them(text: str, value: str, words: list[str]) -> None:
    """The reader itself: exec form, continued lines with comments in them, quotes."""
    (stage,) = read(f"# first\nFROM python:3 AS one\n{text}\n")
    assert stage.instructions == [Instruction(text.split()[0], value)]
    assert stage.instructions[0].words() == words


# What comes of it


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Built once. Other users may read it, and nobody may write, as on a read-only root file system."""
    directory = Path(tempfile.mkdtemp())
    umask = os.umask(0o022)  # That of an engine.
    try:
        directory.chmod(0o755)
        made = build(DOCKERFILE, ROOT, directory)
        config = Path(made.env["SIDECAR_CONFIG"])
        config.parent.mkdir(parents=True)
        config.write_text(pod_of("orders.yaml", "Deployment").toml)
        _set_writable(made.root, False)
        os.umask(umask)
        yield made
    finally:
        os.umask(umask)
        _set_writable(directory, True)
        shutil.rmtree(directory)


def _set_writable(directory: Path, writable: bool) -> None:
    for folder, _, names in os.walk(directory):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            if not os.path.islink(path):
                mode = os.stat(path).st_mode & 0o7777
                os.chmod(path, mode | 0o200 if writable else mode & ~0o222)


def as_user(image: Image) -> dict[str, object]:
    """What makes a process one of the image's user. Whoever is not root here is not root there either."""
    if os.getuid() != 0:
        return {}
    uid, gid = image.user
    user = {"user": uid, "group": gid, "extra_groups": []}
    try:
        subprocess.run([image.root / "usr/local/bin/python", "-c", ""], check=True, cwd="/", **user)
    except (PermissionError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine's Python can be run by root only, so there is nobody to run the image as: {error}")
    return user


@contextmanager
def container(image: Image) -> Iterator[tuple[Process, int]]:
    """The image's command with the configuration of the manifest, and the port of its probes; all on free ports."""
    ports, variables = listeners(load(image.env["SIDECAR_CONFIG"]))
    variables["SIDECAR_SERVICES__PAYMENTS"] = '{ endpoints = ["127.0.0.1:9"] }'
    command = [*image.entrypoint, *image.stage.last("CMD").words()]
    with started(command, image.env | variables, cwd="/", **as_user(image)) as sidecar:
        yield sidecar, ports["probes"]


def content(root: Path) -> dict[str, int]:
    """Every path and when it was changed last."""
    return {path.as_posix(): path.lstat().st_mtime_ns for path in root.rglob("*")}


def test_the_command_is_there_and_tells_this_version(image: Image) -> None:
    """Found by the image's own PATH, in an environment that has nothing else."""
    result = subprocess.run([*image.entrypoint, "--version"], env=image.env, capture_output=True, text=True, cwd="/")
    assert (result.returncode, result.stdout) == (0, f"sidecar {__version__}\n")


def test_what_a_configuration_may_name_is_there(image: Image, tmp_path: Path) -> None:
    """Nobody installs an extra in a container: Consul's client and gRPC's are in the image."""
    config = tmp_path / "sidecar.toml"
    config.write_text(
        '[service]\napp = "127.0.0.1:8080"\n[service.health]\nkind = "grpc"\n[registry]\nkind = "consul"\n'
    )
    command = [*image.entrypoint, "config", "validate", "--config", str(config)]
    result = subprocess.run(command, env=image.env, capture_output=True, text=True, cwd="/")
    assert (result.returncode, result.stdout) == (0, f"{config}: valid\n"), result.stderr
    imports = [image.root / "opt/sidecar/bin/python", "-c", "import consul.aio, grpc_health.v1.health_pb2_grpc"]
    subprocess.run(imports, env=image.env, check=True)


def test_no_installer_is_left(image: Image) -> None:
    """Neither in the environment nor in the Python beneath it."""
    for python in ("opt/sidecar/bin/python", "usr/local/bin/python"):
        command = [image.root / python, "-c", "import importlib.util as u; print(u.find_spec('pip'))"]
        assert subprocess.run(command, env=image.env, capture_output=True, text=True).stdout == "None\n"
    assert not list(image.root.glob("**/bin/pip*"))
    assert not (image.root / "src").exists()


def test_all_of_it_is_compiled_and_no_file_s_time_matters(image: Image) -> None:
    """Else every start would compile it, since nothing can be written; by hash unchecked, since copying changes times."""
    library = image.root / "opt/sidecar/lib"
    sources = list(library.rglob("*.py"))
    assert any(path.match("sidecar/app.py") for path in sources)
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        # PEP 552: bit 0 says that it is by hash, bit 1 that the source is asked.
        assert compiled.read_bytes()[:8] == MAGIC_NUMBER + b"\x01\0\0\0", source


def test_it_runs_as_its_user_on_files_that_nobody_can_write(image: Image) -> None:
    """It starts, answers its probe and its health check, ends by its signal with 0, and has written nothing."""
    before = content(image.root)
    with container(image) as (sidecar, port):
        sidecar.wait_for(port, "/health/startup")
        if os.getuid() == 0 and Path("/proc/self/status").exists():
            status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
            uid, _ = image.user
            assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
            assert "\nCapEff:\t0000000000000000\n" in status
        assert sidecar.stop() == 0
        assert "Traceback" not in sidecar.log
    assert content(image.root) == before


def test_its_health_check_succeeds_while_it_lives_and_then_fails(image: Image) -> None:
    """The same command, carried out beside it as an engine does."""
    with container(image) as (sidecar, port):
        sidecar.wait_for(port, "/health/startup")
        env = sidecar.environment
        command = image.healthcheck
        assert subprocess.run(command, env=env, timeout=10, cwd="/", **as_user(image)).returncode == 0
        assert sidecar.stop() == 0
        assert subprocess.run(command, env=env, timeout=10, cwd="/", **as_user(image)).returncode != 0

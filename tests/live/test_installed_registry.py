"""A registry that somebody else has written, in a whole sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import example_registry
from tests.support.live import OK, Client, Sidecar, Upstream, answering, until

KIND = '[registry]\nkind = "{}"\n'


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the processes that we start."""
    monkeypatch.setenv("PYTHONPATH", str(example_registry.install(tmp_path)))


def test_the_example_is_a_registry(tmp_path: Path) -> None:
    """Calls go where its file says, also when it has changed, and where it said last while it makes no sense."""
    file = tmp_path / "services.json"
    options = f'options = {{ path = "{file}", every = "20ms" }}\n'
    with Upstream(answering(OK[:-2] + b"No")) as one, Upstream(answering(OK[:-2] + b"1!")) as two:
        file.write_text(json.dumps({"orders": [one.address]}))
        with Sidecar(KIND.format("file") + options) as sidecar, Client(sidecar.ports["outbound"]) as client:
            assert client.get("orders").body == b"No"
            assert client.get("nobody").reason == "no_route"
            file.write_text(json.dumps({"orders": [two.address]}))
            until(lambda: client.get("orders").body == b"1!", "the change is seen")
            file.write_text('{"orders": ')
            until(lambda: b"stale" in sidecar.probe("/health/ready").body, "it is told")
            assert client.get("orders").body == b"1!" and sidecar.probe("/health/ready").status == 200


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("raising", 1, "ERROR sidecar: the registry cannot be used: raising does not begin: RuntimeError: no way"),
        ("lacking", 1, "ERROR sidecar: the registry cannot be used: lacking is no registry: it has no subscribe()"),
        ("absent", 78, "registry.kind: no_such_module:Registry cannot be imported: ModuleNotFoundError"),
        ("nothing", 78, "registry.kind: expected one of local, static, consul, dns, absent, file, gone, lacking, "),
    ],
)
def test_one_that_cannot_be_used_ends_the_start_with_a_line(kind: str, code: int, words: str) -> None:
    """That says which, and what is wrong with it; no traceback."""
    sidecar = Sidecar(KIND.format(kind))
    sidecar.spawn()
    try:
        assert sidecar.exit_code() == code
        assert words in sidecar.log() and "Traceback" not in sidecar.log()
    finally:
        sidecar.__exit__(None, None, None)

"""The registry Consul, with a real agent: found, kept up, refused, rotated, lost and found again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.consul import Consul
from tests.support.live import ROOT, Client, Sidecar, Upstream, answering, free_port, until

QUICK = '[drain]\ndelay = "2s"\ngrace = "2s"\n'


@pytest.fixture(scope="module")
def consul() -> Iterator[Consul]:
    with Consul() as consul:
        yield consul


@pytest.fixture(scope="module")
def app() -> Iterator[Upstream]:
    with Upstream(answering()) as app:
        yield app


def about(sidecar: Sidecar, path: str = "") -> Any:
    """What the admin API says."""
    with Client(sidecar.ports["admin"]) as client:
        return json.loads(client.get("127.0.0.1", f"/api/v1{path}").body)["data"]


def endpoints(sidecar: Sidecar, service: str) -> list[tuple[str, str]]:
    """State and reason of each endpoint of ``service``."""
    rows = [row["attributes"] for row in about(sidecar, f"/services/{service}/endpoints")]
    return [(row["state"], row["why"]) for row in rows]


def test_a_sidecar_registers_and_is_found_by_the_first_call(consul: Consul, app: Upstream) -> None:
    """With all that others may want to know; whoever drains is out before it takes no more."""
    service = '[service]\nweight = 3\nzone = "a"\nversion = "1.2"\ntags = ["v1"]\nmeta = { team = "x" }\n'
    served = Sidecar(consul.toml(QUICK), app=app.address)
    served._text = lambda: Sidecar._text(served).replace("[service]\n", service)  # type: ignore[method-assign]
    with served, Sidecar(consul.toml()) as caller, Client(caller.ports["outbound"]) as client:
        until(lambda: consul.passing("shop") == 1, "it is registered")
        (entry,) = consul.ask("/v1/health/service/shop")
        said = entry["Service"]
        assert said["ID"] == f"shop-127.0.0.1-{served.ports['inbound']}"
        assert (said["Tags"], said["Weights"]) == (["v1"], {"Passing": 3, "Warning": 1})
        assert said["Meta"] == {"team": "x", "zone": "a", "version": "1.2"}
        assert client.get("shop").body == b"ok"
        (row,) = about(caller, "/services/shop/endpoints")
        assert (row["attributes"]["weight"], row["attributes"]["zone"]) == (3, "a")
        assert about(served)["attributes"]["registry"]["registered"]
        served.signal(signal.SIGTERM)
        until(lambda: not consul.ask("/v1/health/service/shop"), "it has deregistered", 2)
        assert served.probe("/health/ready").status == 503
        assert served.exit_code() == 0


def test_what_nobody_has_registered_is_no_service(consul: Consul) -> None:
    """Asked once, and not again for every call."""
    with Sidecar(consul.toml()) as caller, Client(caller.ports["outbound"]) as client:
        assert client.get("nobody").reason == "no_route"
        assert client.get("nobody").reason == "no_route"


def test_health_weights_and_maintenance_are_those_of_consul(consul: Consul, app: Upstream) -> None:
    """A critical instance is not called and says why; one in maintenance is not even listed; both come back."""
    ports = [app.port, free_port(), free_port()]
    for port in ports:
        consul.put("legacy", port, Check={"CheckID": f"c{port}", "Name": "disk", "TTL": "10m", "Status": "passing"})
    with Sidecar(consul.toml("[services.legacy]\n")) as caller, Client(caller.ports["outbound"]) as client:
        until(lambda: len(endpoints(caller, "legacy")) == 3, "all are known")
        consul.ask(f"/v1/agent/check/fail/c{ports[1]}?note=disk+full", "PUT")
        until(lambda: ("unhealthy", "the registry: disk: disk full") in endpoints(caller, "legacy"), "one is ill")
        consul.ask(f"/v1/agent/service/maintenance/legacy-{ports[2]}?enable=true", "PUT")
        until(lambda: len(endpoints(caller, "legacy")) == 2, "one is in maintenance")
        assert {client.get("legacy").status for _ in range(10)} == {200}
        consul.ask(f"/v1/agent/service/maintenance/legacy-{ports[2]}?enable=false", "PUT")
        consul.ask(f"/v1/agent/check/pass/c{ports[1]}", "PUT")
        until(lambda: [state for state, _ in endpoints(caller, "legacy")].count("available") == 3, "all are back")
    for port in ports:
        consul.remove("legacy", port)


def test_an_agent_that_comes_back_empty_has_everybody_again_within_ten_seconds(app: Upstream) -> None:
    """While it is away what is known stays, is called, and is said to be out of date."""
    with (
        Consul() as consul,
        Sidecar(consul.toml(), app=app.address) as served,
        Sidecar(consul.toml()) as caller,
        Client(caller.ports["outbound"]) as client,
    ):
        until(lambda: consul.passing("shop") == 1, "it is registered")
        assert client.get("shop").status == 200
        consul.kill()
        until(lambda: caller.metric("sidecar_registry_stale_seconds") > 0, "the outage is noticed", 20)
        assert "cannot be reached" in about(caller)["attributes"]["registry"]["trouble"]
        assert client.get("shop").status == 200
        assert caller.probe("/health/ready").status == 200
        consul.start()
        until(lambda: consul.passing("shop") == 1, "it is registered again", 10)
        until(lambda: caller.metric("sidecar_registry_stale_seconds") == 0, "the caller knows", 15)
        assert client.get("shop").status == 200
        until(lambda: endpoints(caller, "shop") == [("available", "")], "no doubt is left")
        assert about(served)["attributes"]["registry"]["registered"]


def test_a_sidecar_starts_without_its_registry_and_finds_it_later(app: Upstream) -> None:
    """It serves what it knows, is ready after a moment, and registers when there is somebody to register with."""
    consul = Consul()
    try:
        with Sidecar(consul.toml(), app=app.address) as served:
            assert "cannot be reached" in served.log()
            until(lambda: served.probe("/health/ready").status == 200, "it is ready all the same", 8)
            with Client(served.ports["inbound"]) as client:
                assert client.get("shop").status == 200
            consul.start()
            until(lambda: consul.passing("shop") == 1, "it is registered", 10)
    finally:
        consul.__exit__()


def test_a_start_during_an_outage_goes_by_the_snapshot(app: Upstream, tmp_path: Path) -> None:
    """Also for a service that no configuration names; and what Consul says counts as soon as it says something."""
    path = tmp_path / "snapshot.json"
    snapshot = f'snapshot = "{path}"\n[registry.consul]'
    with Consul() as consul, Sidecar(consul.toml(), app=app.address):
        toml = consul.toml().replace("[registry.consul]", snapshot)
        until(lambda: consul.passing("shop") == 1, "it is registered")
        with Sidecar(toml) as first, Client(first.ports["outbound"]) as client:
            assert client.get("shop").status == 200
            first.signal(signal.SIGINT)
            assert first.exit_code() == 0
        consul.kill()
        with Sidecar(toml) as second, Client(second.ports["outbound"]) as client:
            assert client.get("shop").status == 200
            until(lambda: "calling shop where it was when it last did" in second.log(), "the log says so")
            consul.start()
            until(lambda: second.metric("sidecar_registry_stale_seconds") == 0, "it answers", 15)
            until(lambda: consul.passing("shop") == 1, "it is registered", 10)
            assert client.get("shop").status == 200


def test_with_acls_the_token_comes_from_its_file_and_may_rotate(app: Upstream, tmp_path: Path) -> None:
    """One that is refused is told in words, without the token; the next one in the file is taken without a restart."""
    master = "b195ee00-0000-4000-8000-00000000000a"
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": master, "agent": master}}
    with Consul({"acl": acl}, token=master) as consul:
        rules = 'service_prefix "" { policy = "write" }\nnode_prefix "" { policy = "read" }'
        consul.ask("/v1/acl/policy", "PUT", {"Name": "sidecar", "Rules": rules})
        made = [consul.ask("/v1/acl/token", "PUT", {"Policies": [{"Name": "sidecar"}]}) for _ in range(2)]
        path = tmp_path / "token"
        path.write_text("3f2b0000-0000-4000-8000-000000000000")
        token = f'token_file = "{path}"\n'
        with Sidecar(consul.toml(token), app=app.address) as served:
            until(lambda: "refuses the token" in served.log(), "it is refused")
            assert "3f2b0000" not in served.log()
            registry = about(served)["attributes"]["registry"]
            assert "refuses the token" in registry["trouble"] and not registry["registered"]
            assert served.metric("sidecar_registry_stale_seconds") > 0, "who leads may be asked without a token"
            assert "the registry answers again" not in served.log()
            path.write_text(made[0]["SecretID"] + "\n")
            until(lambda: consul.passing("shop") == 1, "it is registered", 10)
            consul.ask(f"/v1/acl/token/{made[0]['AccessorID']}", "DELETE")
            new = tmp_path / "new"
            new.write_text(made[1]["SecretID"])
            new.rename(path)
            with Sidecar(consul.toml(token)) as caller, Client(caller.ports["outbound"]) as client:
                assert client.get("shop").status == 200
                for secret in (one["SecretID"] for one in made):
                    assert secret not in caller.log() + served.log()
                    assert secret not in json.dumps(about(caller, "/config?size=100"))


def certificates(folder: Path) -> None:
    """A certificate for 127.0.0.1 that is its own authority."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out",
         folder / "cert.pem", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip


def test_tls_to_the_agent_believes_the_authority_that_is_named_and_no_other(app: Upstream, tmp_path: Path) -> None:
    """Without it the agent is nobody's, and that is what is told."""
    certificates(tmp_path)
    files = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    with Consul({**files, "ca_file": files["cert_file"]}, certificate=files["cert_file"]) as consul:
        with Sidecar(consul.toml(f'ca_file = "{files["cert_file"]}"\n'), app=app.address):
            until(lambda: consul.passing("shop") == 1, "it is registered")
        with Sidecar(consul.toml(), app=app.address) as strict:
            until(lambda: "certificate verify failed" in strict.log(), "it is not believed")
        without = Sidecar(consul.toml('ca_file = "/nowhere.pem"\n'))
        without.spawn()
        assert without.exit_code() == 1
        assert "the registry cannot be used: TLS to the agent: No such file" in without.log()
        without.__exit__(None, None, None)


def test_check_says_whether_the_agent_is_there(consul: Consul, tmp_path: Path) -> None:
    """And that a sidecar would start without it."""
    config = tmp_path / "sidecar.toml"
    head = '[listen]\ninbound = "none"\noutbound = "none"\nadmin = "none"\nprobes = "none"\n'

    def said(address: str) -> str:
        config.write_text(head + consul.toml().replace(consul.address, address))
        command = [sys.executable, "-m", "sidecar", "check", "--config", str(config)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout

    there = said(consul.address)
    assert f"its version {consul.ask('/v1/agent/self')['Config']['Version']}" in there
    assert f"Consul answers at {consul.address}; its leader is" in there and "it tells us of services" in there
    gone = said(f"http://127.0.0.1:{free_port()}")
    assert "cannot be reached" in gone and "a sidecar starts without it" in gone


def test_the_flag_names_the_agent(consul: Consul, tmp_path: Path) -> None:
    """--registry consul://HOST:PORT is all that it takes, and the file is as good for any other."""
    config = tmp_path / "sidecar.toml"
    config.write_text('[listen]\ninbound = "none"\noutbound = "none"\nadmin = "none"\nprobes = "none"\n')
    command = [sys.executable, "-m", "sidecar", "config", "show"]
    said = subprocess.run(
        [*command, "--config", str(config), "--registry", f"consul://127.0.0.1:{consul.port}", "--changed"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert 'kind = "consul"' in said and f'address = "{consul.address}"' in said

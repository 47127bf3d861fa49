"""The manifests of k8s/, held against the schemas of Kubernetes, the sidecar itself, and what their comments promise."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import click
import kubernetes_validate
import pytest

from sidecar import __version__
from sidecar.cli.main import main
from sidecar.config.load import load
from tests.support.image import read
from tests.support.live import ROOT, free_port
from tests.support.pod import (
    FILES,
    OUTBOUND,
    PODS,
    Pod,
    Process,
    Table,
    documents,
    listeners,
    pod_of,
    python_environment,
    started,
)

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
OLD = "1.28"
"""The last version without native sidecars."""

every_pod = pytest.mark.parametrize("pod", PODS, ids=str)


def seconds(pod: Pod) -> float:
    """How long the application's preStop keeps it from ending."""
    hook = pod.container("app").get("lifecycle", {}).get("preStop")
    return float(hook["exec"]["command"][1]) if hook else 0.0


def commands(pod: Pod) -> list[list[str]]:
    """Every command line of the sidecar that the pod calls, without its first word."""
    hooks = [hook["exec"]["command"] for one in pod.containers for hook in one.get("lifecycle", {}).values()]
    return [command[1:] for command in hooks if command[0] == "sidecar"]


# What Kubernetes says


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_document_fits_the_schema_of_kubernetes_with_no_field_too_many(file: Path) -> None:
    """The newest schema that there is, and for the old clusters their own."""
    versions = [kubernetes_validate.latest_version()] + ([OLD] if file.name == "before-1.29.yaml" else ["1.29"])
    for document in documents(file):
        for version in versions:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_does_not_exist_is_found() -> None:
    """The validator itself: a misspelt one is an error, not something to be ignored."""
    document = documents(ROOT / "k8s/orders.yaml")[1]
    document["spec"]["template"]["spec"]["initContainers"][0]["startUpProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="startUpProbe"):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@every_pod
def test_a_native_sidecar_restarts_always_and_before_1_29_there_is_none(pod: Pod) -> None:
    """An init container without that would have to end before the application begins."""
    assert pod.native == (pod.file != "before-1.29.yaml")
    if pod.native:
        assert [(one["name"], one["restartPolicy"]) for one in pod.spec["initContainers"]] == [("sidecar", "Always")]
    else:
        assert [one["name"] for one in pod.spec["containers"]] == ["sidecar", "app"]


# Restricted (Pod Security Standards, the profile's own list of fields)


def breaches(pod: Table) -> list[str]:
    """What keeps a pod's spec from being admitted under the profile "restricted"."""
    around = pod.get("securityContext", {})
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"volume {one['name']}" for one in pod.get("volumes", []) if set(one) - {"name", "configMap"}]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        own = container.get("securityContext", {})
        both = {**around, **own}
        checks = {
            "privileged": not own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in own.get("capabilities", {}).get("drop", []),
            "capabilities.add": not set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"},
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "procMount": own.get("procMount", "Default") == "Default",
        }
        found += [f"{container['name']}: {field}" for field, kept in checks.items() if not kept]
    return found


@every_pod
def test_the_pod_is_restricted(pod: Pod) -> None:
    """Every container of it, the application's too; and beyond the profile, nothing can be written."""
    assert breaches(pod.spec) == []
    assert all(one["securityContext"]["readOnlyRootFilesystem"] is True for one in pod.containers)
    assert pod.spec["automountServiceAccountToken"] is False


def test_an_unrestricted_pod_is_found() -> None:
    """The check itself: a bare container breaks what the profile asks to be said."""
    assert breaches({"containers": [{"name": "bare"}], "hostNetwork": True}) == [
        "hostNetwork",
        "bare: allowPrivilegeEscalation",
        "bare: capabilities.drop",
        "bare: runAsNonRoot",
        "bare: seccompProfile",
    ]


@every_pod
def test_user_tag_and_mount_are_those_of_the_image(pod: Pod) -> None:
    """The same number, so that both say the same; the tag of this version; the place where the image looks."""
    image = read((ROOT / "Dockerfile").read_text())[-1]
    (config,) = [pairs["SIDECAR_CONFIG"] for one in image.instructions if one.name == "ENV" and (pairs := one.pairs())]
    sidecar = pod.container("sidecar")
    context = sidecar["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image.last("USER").value
    assert sidecar["image"] == f"sidecar-mesh:{__version__}"
    assert [mount["mountPath"] for mount in sidecar["volumeMounts"]] == [str(Path(config).parent)]
    assert "command" not in sidecar and "args" not in sidecar


# What the sidecar says


@every_pod
def test_ports_are_where_the_sidecar_listens(pod: Pod, tmp_path: Path) -> None:
    """The ports of containers, probes, Service, scrape and proxy, against the configuration that is mounted."""
    listen = pod.config(tmp_path).listen
    bound = {name: getattr(listen, name) for name in ("inbound", "probes") if getattr(listen, name) is not None}
    assert {one["name"]: one["containerPort"] for one in pod.container("sidecar")["ports"]} == {
        name: address.port for name, address in bound.items()
    }
    assert all(address.host == "0.0.0.0" for address in bound.values())
    for one in pod.containers:
        for probe in filter(None, map(one.get, PROBES)):
            assert probe["httpGet"]["port"] == bound["probes" if one["name"] == "sidecar" else "inbound"].port
    annotations = pod.owner["spec"]["template"]["metadata"].get("annotations", {})
    assert annotations.get("prometheus.io/port", str(bound["probes"].port)) == str(bound["probes"].port)
    assert str(listen.outbound) == OUTBOUND
    variables = {one["name"]: one["value"] for one in pod.container("app")["env"]}
    for name in ("HTTP_PROXY", "http_proxy", "SIDECAR_OUTBOUND_URL"):
        assert urlsplit(variables[name]).netloc == OUTBOUND
    assert variables["NO_PROXY"] == variables["no_proxy"] == "localhost,127.0.0.1,::1"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_services_lead_to_the_inbound_listener_of_pods_that_are_there(file: Path) -> None:
    """By number, since names of a native sidecar's ports are found from 1.32 on only."""
    everything = documents(file)
    for service in (one for one in everything if one["kind"] == "Service"):
        (deployment,) = (one for one in everything if one["kind"] == "Deployment")
        assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] == load(None, {"SIDECAR_SERVICE__APP": "a:1"}).listen.inbound.port
        if service["spec"].get("clusterIP") == "None":  # There is no proxy in between that could change the port.
            assert port["port"] == port["targetPort"]


@every_pod
def test_the_time_to_end_is_enough(pod: Pod, tmp_path: Path) -> None:
    """Whatever must follow each other fits: a native sidecar begins when the application has ended, another at once."""
    drain = pod.config(tmp_path).drain
    allowed = pod.spec["terminationGracePeriodSeconds"]
    if pod.native:
        assert drain.delay == 0
        assert seconds(pod) + drain.delay + drain.grace + 10 <= allowed, "10 s are the application's own"
    else:
        assert drain.delay + drain.grace < allowed
        assert pod.owner["kind"] == "Job" or seconds(pod) > drain.delay + 1


def test_before_1_29_the_application_waits_for_a_sidecar_that_is_first_in_the_list() -> None:
    """Containers are started in order, each after the postStart of the one before."""
    for pod in PODS:
        wanted = [] if pod.native else [["await", "--for", "started", "--timeout", "30s"]]
        assert commands(pod) == wanted


@every_pod
def test_every_command_is_understood(pod: Pod) -> None:
    """Its name and options exist."""
    for name, *arguments in commands(pod):
        context = click.Context(main)
        command = main.get_command(context, name)
        assert command is not None
        command.make_parser(click.Context(command, parent=context)).parse_args(arguments)


# What happens


def test_orders_serves_and_the_job_completes(tmp_path: Path) -> None:
    """Both pods, container by container in the order of a kubelet: every probe succeeds, and all ends with 0."""
    with Running(pod_of("orders.yaml", "Deployment"), tmp_path) as orders:
        orders.start_app(8080)
        for one in orders.pod.containers:
            for probe in filter(None, map(one.get, PROBES)):
                port = orders.ports["probes" if one["name"] == "sidecar" else "inbound"]
                orders.sidecar.wait_for(port, probe["httpGet"]["path"])
        scrape = orders.pod.owner["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
        orders.sidecar.wait_for(orders.ports["probes"], scrape)

        with Running(pod_of("job.yaml", "Job"), tmp_path, orders=f"127.0.0.1:{orders.ports['inbound']}") as job:
            job.start_app()
            assert job.app.exit_code() == 0, job.app.log
            assert job.app.log == "report: three orders\n"
            assert job.sidecar.stop() == 0
            assert "Traceback" not in job.sidecar.log
        assert orders.app.stop() == 0, orders.app.log
        assert orders.sidecar.stop() == 0
        assert "Traceback" not in orders.sidecar.log


def test_before_1_29_the_job_ends_its_sidecar(tmp_path: Path) -> None:
    """Nobody else does, and the Job would never complete."""
    with Running(pod_of("before-1.29.yaml", "Deployment"), tmp_path) as orders:
        orders.start_app(8080)
        orders.sidecar.wait_for(orders.ports["inbound"], "/")
        address = f"127.0.0.1:{orders.ports['inbound']}"
        with Running(pod_of("before-1.29.yaml", "Job"), tmp_path, orders=address) as job:
            job.start_app()
            assert job.app.exit_code() == 0, job.app.log
            assert job.app.log.startswith("report: three orders\n")
            assert job.sidecar.exit_code() == 0


class Running:
    """The two containers of a pod as processes, on free ports; ``endpoints`` are true addresses of its services."""

    def __init__(self, pod: Pod, directory: Path, **endpoints: str) -> None:
        self.pod = pod
        config = pod.config(directory)
        self.ports, variables = listeners(config)
        for name in config.services:
            address = endpoints.get(name, "127.0.0.1:9")
            variables[f"SIDECAR_SERVICES__{name.upper()}"] = f'{{ endpoints = ["{address}"] }}'
        if config.service.app is not None:
            self.app_port = free_port()
            variables["SIDECAR_SERVICE__APP"] = f"127.0.0.1:{self.app_port}"
        self._env = python_environment() | {"SIDECAR_CONFIG": str(pod.write(directory))} | variables

        self._started = ExitStack()

    def __enter__(self) -> Running:
        self.sidecar = self._start([sys.executable, "-m", "sidecar", "run"], self._env)
        self.sidecar.wait_for(self.ports["probes"], "/health/startup")
        return self

    def __exit__(self, *error: object) -> None:
        self._started.close()

    def start_app(self, port: int | None = None) -> None:
        """``port`` is where the script would listen."""
        app = self.pod.container("app")
        (script,) = app["args"]
        if port is not None:
            assert len(re.findall(rf"\b{port}\b", script)) == 1
            script = script.replace(str(port), str(self.app_port))
        env = self._env | self.pod.environment("app", self.ports["outbound"])
        self.app = self._start([sys.executable, *app["command"][1:], script], env)

    def _start(self, command: list[str], env: dict[str, str]) -> Process:
        return self._started.enter_context(started(command, env))

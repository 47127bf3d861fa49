"""The configuration: what a file means, and that a wrong one is answered with all that is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.load import ConfigError, Setting, load
from sidecar.config.schema import Config, Drain, File, Inbound, Listen, Outbound, Registry, Trace
from sidecar.config.units import Address
from sidecar.http.head import Settings as HttpSettings
from sidecar.resilience.breaker import Settings as BreakerSettings
from sidecar.resilience.budget import Settings as BudgetSettings
from sidecar.resilience.limits import Settings as LimitsSettings
from sidecar.resilience.retry import Settings as RetrySettings
from tests.support.configs import APP, problems, written

EXAMPLE = Path(__file__).resolve().parent.parent / "config.example.toml"

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return partial(written, tmp_path)


# What is meant


def test_the_defaults_are_the_numbers_of_the_integration_patterns(write: Write) -> None:
    """A configuration that says nothing but where the application is has every number of the user's document."""
    config = load(write(""))
    defaults = config.defaults
    assert defaults.retry == RetrySettings(
        max_retries=5,
        initial=0.1,
        multiplier=2.0,
        max=30.0,
        jitter="full",
        on=("connect", "reset", "timeout", "5xx"),
        budget=BudgetSettings(ratio=0.2, min_per_second=3, ttl=10.0),
    )
    assert defaults.breaker == BreakerSettings(
        failures=5, failure_rate=0.2, window=10.0, open=30.0, successes=3, probes=1, slow=5.0
    )
    assert defaults.limits == LimitsSettings(max_connections=1024, max_requests=1024, max_pending=1024)
    assert (defaults.balance, defaults.timeout, defaults.attempt_timeout) == ("round_robin", 30.0, None)
    assert (defaults.connect_timeout, defaults.stall_timeout) == (1.0, 60.0)
    assert (defaults.name, defaults.endpoints) == ("", ())
    assert (config.passthrough.name, config.passthrough.timeout) == ("passthrough", 15.0)
    assert (config.drain.delay, config.drain.grace, config.trace.sample) == (5.0, 20.0, 0.01)
    assert str(config.listen.outbound) == "127.0.0.1:15001"
    assert str(config.listen.admin) == "127.0.0.1:15000"


def test_on_one_machine_nobody_comes_from_elsewhere_and_defaults_may_give_way(write: Write) -> None:
    """With the registry of one machine; with another the application is served to others, where they expect it."""
    near = load(write(""))
    assert (str(near.listen.inbound), str(near.listen.probes)) == ("127.0.0.1:15006", "127.0.0.1:15020")
    assert near.movable == {"inbound", "outbound", "admin", "probes"}
    written = load(write('[listen]\nprobes = "0.0.0.0:15020"'), {"SIDECAR_LISTEN__ADMIN": "127.0.0.1:15000"})
    assert (str(written.listen.probes), written.movable) == ("0.0.0.0:15020", {"inbound", "outbound"})
    far = load(write('[registry]\nkind = "static"'))
    assert (str(far.listen.inbound), str(far.listen.probes)) == ("0.0.0.0:15006", "0.0.0.0:15020")
    assert not far.movable


@pytest.mark.parametrize(
    ("name", "seconds"), [("api", 30), ("external", 15), ("upload", 300), ("database", 10), ("analytics", 300)]
)
def test_every_timeout_class_of_the_document_exists_unwritten(write: Write, name: str, seconds: float) -> None:
    """The user's five classes need no [timeouts]."""
    assert load(write(f'[defaults]\ntimeout = "{name}"')).defaults.timeout == seconds


def test_a_timeout_is_a_class_a_duration_or_none(write: Write) -> None:
    """Classes can be redefined and added, and what names one follows."""
    config = load(
        write("""
        [timeouts]
        api = "20s"
        external = "7s"
        slow = "1h"
        [services.a]
        [services.b]
        timeout = "slow"
        [services.c]
        timeout = "250ms"
        [services.d]
        timeout = "none"
        [inbound]
        timeout = "slow"
        """)
    )
    assert [config.policy(name).timeout for name in "abcd"] == [20.0, 3600.0, 0.25, None]
    assert (config.passthrough.timeout, config.inbound.timeout) == (7.0, 3600.0)


def test_tables_merge_key_by_key_from_defaults_over_service_to_route(write: Write) -> None:
    """Each level says only what differs, also inside of retry.budget."""
    config = load(
        write("""
        [defaults]
        balance = "random"
        retry = { initial = "1s", budget = { ratio = 0.5 } }
        [services.a]
        retry = { multiplier = 3, budget = { ttl = "20s" } }
        breaker = { failures = 9 }
        [[routes]]
        name = "r"
        service = "a"
        retry = { max_retries = 1, budget = { min_per_second = 7 } }
        attempt_timeout = "2s"
        """)
    )
    service, route = config.policy("a"), config.policy("a", config.routes[0])
    assert service.retry == RetrySettings(initial=1.0, multiplier=3.0, budget=BudgetSettings(ratio=0.5, ttl=20.0))
    assert route.retry == RetrySettings(
        initial=1.0,
        multiplier=3.0,
        max_retries=1,
        budget=BudgetSettings(ratio=0.5, ttl=20.0, min_per_second=7),
    )
    assert (service.attempt_timeout, route.attempt_timeout) == (None, 2.0)
    assert service.breaker == route.breaker == BreakerSettings(failures=9)
    assert service.balance == route.balance == "random"
    assert config.defaults.retry == RetrySettings(initial=1.0, budget=BudgetSettings(ratio=0.5))


def test_false_and_none_switch_off_and_a_table_switches_on_again(write: Write) -> None:
    """What is off in the defaults can be on for a service; it then begins with the built-in numbers."""
    config = load(
        write("""
        [defaults]
        retry = false
        breaker = false
        timeout = "none"
        [services.off]
        [services.on]
        retry = {}
        breaker = { failures = 2 }
        timeout = "api"
        [[routes]]
        name = "r"
        service = "on"
        retry = false
        timeout = "none"
        """)
    )
    off, on, route = config.policy("off"), config.policy("on"), config.policy("on", config.routes[0])
    assert (off.retry, off.breaker, off.timeout) == (None, None, None)
    assert (on.retry, on.breaker, on.timeout) == (RetrySettings(), BreakerSettings(failures=2), 30.0)
    assert (route.retry, route.breaker, route.timeout) == (None, BreakerSettings(failures=2), None)


def test_a_split_route_follows_the_service_that_was_chosen(write: Write) -> None:
    """What the route leaves open comes from the chosen service, so it differs within one route."""
    config = load(
        write("""
        [services.old]
        attempt_timeout = "1s"
        balance = "random"
        [services.new]
        timeout = "3s"
        [[routes]]
        name = "canary"
        match = { host = "OLD", path_prefix = "/api", methods = ["GET"], headers = { x-canary = "yes" } }
        split = [{ service = "old", weight = 95 }, { service = "new", weight = 5 }]
        timeout = "9s"
        """)
    )
    (route,) = config.routes
    assert route.split == (("old", 95), ("new", 5))
    assert (route.match.host, route.match.path, route.match.path_prefix) == ("old", None, "/api")
    assert (route.match.methods, route.match.headers) == (("GET",), {"x-canary": "yes"})
    old, new = config.policy("old", route), config.policy("new", route)
    assert (old.name, old.timeout, old.attempt_timeout, old.balance) == ("old", 9.0, 1.0, "random")
    assert (new.name, new.timeout, new.attempt_timeout, new.balance) == ("new", 9.0, None, "round_robin")


def test_a_service_that_is_not_listed_has_the_defaults(write: Write) -> None:
    """Policies exist for every name."""
    config = load(write('[defaults]\nstall_timeout = "9s"'))
    assert config.policy("unheard-of") is config.defaults
    assert config.defaults.stall_timeout == 9.0


def test_endpoints_are_texts_or_tables(write: Write) -> None:
    """The short form is the address, with weight 1 and no zone."""
    path = write('[services.a]\nendpoints = ["10.0.0.1:80", { address = "[::1]:81", weight = 0, zone = "b" }]')
    endpoints = load(path).policy("a").endpoints
    assert [(e.host, e.port, e.weight, e.zone) for e in endpoints] == [("10.0.0.1", 80, 1, ""), ("::1", 81, 0, "b")]


def test_an_outbound_only_sidecar_needs_no_application(write: Write) -> None:
    """Without the inbound listener nobody asks where the application is."""
    config = load(write('[listen]\ninbound = "none"', head=""))
    assert (config.listen.inbound, config.service.app) == (None, None)


# The example


def test_the_example_is_valid_and_its_defaults_are_the_true_ones() -> None:
    """Whoever reads the example reads what happens without it."""
    config, bare = load(str(EXAMPLE)), load(None, {}, [Setting("--app", "service.app", "127.0.0.1:8080")])
    assert (config.listen, config.inbound, config.outbound) == (Listen(), Inbound(), Outbound())
    assert (config.registry, config.trace, config.drain) == (Registry(), Trace(), Drain())
    assert config.limits == HttpSettings()
    assert (config.defaults, config.passthrough) == (bare.defaults, bare.passthrough)
    assert config.policy("payments").retry == RetrySettings(max_retries=2, budget=BudgetSettings(ratio=0.1))
    assert config.policy("payments", config.routes[1]).timeout == 3600.0


def test_the_example_mentions_every_key() -> None:
    """A key that exists and is not in the example is a secret."""
    text = EXAMPLE.read_text()
    missing = {key for key in keys(File) if not re.search(rf"^[^#\n]*\b{key}\b( =|[\].])", text, re.MULTILINE)}
    assert not missing


def keys(kind: Any) -> Iterator[str]:
    """Every key of a table, and of the tables in it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not Address:
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from keys(field.type)
    for inner in get_args(kind):
        yield from keys(inner)


# Environment and flags


def test_a_flag_wins_over_the_environment_and_that_over_the_file(write: Write) -> None:
    """Three layers, laid on each other key by key."""
    path = write('[service]\nname = "file"\nversion = "file"\nzone = "file"\napp = "a:1"', head="")
    environ = {"SIDECAR_SERVICE__NAME": "environ", "SIDECAR_SERVICE__VERSION": "environ"}
    service = load(path, environ, [Setting("--service", "service.name", "flag")]).service
    assert (service.name, service.version, service.zone, service.app) == ("flag", "environ", "file", Address("a", 1))


def test_a_variable_means_what_the_key_wants(write: Write) -> None:
    """The same text is a number for one key and a text for another; lists take commas, tables TOML.

    The longer name is the last word, whatever order the environment has.
    """
    environ = {
        "SIDECAR_SERVICE__VERSION": "3",
        "SIDECAR_SERVICE__TAGS": "a, b",
        "SIDECAR_SERVICE__META": '{ team = "shop" }',
        "SIDECAR_DEFAULTS__RETRY__MAX_RETRIES": "3",
        "SIDECAR_DEFAULTS__RETRY": "false",
        "SIDECAR_DEFAULTS__BREAKER": "false",
        "SIDECAR_DEFAULTS__TIMEOUT": "none",
        "SIDECAR_SERVICES__PAY": '{ balance = "random" }',
        "SIDECAR_SERVICES__PAY__ENDPOINTS": "10.0.0.1:80,10.0.0.2:80",
        "SIDECAR_SERVICES__OTHER__ENDPOINTS": '["10.0.0.3:80"]',
        "SIDECAR_LIMITS__HEADER_BYTES": "32KiB",
        "SIDECAR_LIMITS__HEADERS": "50",
        "SIDECAR_TRACE__SAMPLE": "1",
    }
    config = load(write(""), environ)
    assert (config.service.version, config.service.tags, config.service.meta) == ("3", ("a", "b"), {"team": "shop"})
    assert config.defaults.retry == RetrySettings(max_retries=3)
    assert (config.defaults.breaker, config.defaults.timeout) == (None, None)
    assert [str(endpoint.address) for endpoint in config.policy("pay").endpoints] == ["10.0.0.1:80", "10.0.0.2:80"]
    assert (config.policy("pay").balance, config.policy("pay").retry) == ("random", RetrySettings(max_retries=3))
    assert [endpoint.host for endpoint in config.policy("other").endpoints] == ["10.0.0.3"]
    assert (config.limits.header_bytes, config.limits.headers, config.trace.sample) == (32768, 50, 1.0)
    assert type(config.service.version) is str


def test_variables_without_a_double_underscore_are_not_ours(write: Write) -> None:
    """Kubernetes injects SIDECAR_PORT and the like for a service named sidecar."""
    load(write(""), {"SIDECAR_SERVICE_HOST": "1.2.3.4", "SIDECAR_CONFIG": "x", "OTHER__KEY": "1", "SIDECAR_": ""})


def test_a_problem_names_the_variable_or_flag_that_it_came_from(write: Write) -> None:
    """Nobody looks into the file for a mistake that is not in it."""
    environ = {"SIDECAR_SERVICE__NAM": "x", "SIDECAR_FOO__BAR": "1", "SIDECAR___": "", "SIDECAR_TRACE__SAMPLE": "2"}
    assert problems(write(""), environ, [Setting("--inbound", "listen.inbound", "nowhere")]) == [
        "SIDECAR_FOO__BAR: foo: unknown key (known here: service, listen, inbound, outbound, registry, defaults, "
        "services, dependencies, timeouts, routes, limits, overload, trace, drain, log, access_log, profiles)",
        'SIDECAR___: "": unknown key (known here: service, listen, inbound, outbound, registry, defaults, services, '
        "dependencies, timeouts, routes, limits, overload, trace, drain, log, access_log, profiles)",
        "SIDECAR_SERVICE__NAM: service.nam: unknown key (did you mean name?)",
        '--inbound: listen.inbound: expected host:port, such as "127.0.0.1:8080", not "nowhere"',
        "SIDECAR_TRACE__SAMPLE: trace.sample: must be at most 1, not 2.0",
    ]


def test_variables_of_any_depth_are_only_unknown_keys(write: Write) -> None:
    """Two names that share thousands of steps are a problem to tell, not one to fall over."""
    steps = "SIDECAR_" + "A__" * 5000
    (found,) = problems(write(""), {f"{steps}B": "1", f"{steps}C": "2"})
    assert ": a: unknown key" in found


def test_routes_of_a_variable_have_policies_as_those_of_a_file(write: Write) -> None:
    """An array of tables means the same wherever it is written."""
    routes = '[{ name = "r", service = "a", timeout = "2s" }]'
    config = load(write("[services.a]"), {}, [Setting("--routes", "routes", routes)])
    assert config.policy("a", config.routes[0]).timeout == 2.0


# What is wrong


def test_all_problems_are_told_at_once(write: Write) -> None:
    """A file with five mistakes is corrected in one round."""
    text = """
    colour = "red"
    [defaults]
    timeout = "apii"
    retry = { max_retrys = 3, jitter = "ful" }
    [services.payments]
    endpoints = ["10.0.0.1", { adress = "10.0.0.1:80" }]
    [[routes]]
    match = { path_prefix = "api" }
    """
    found = problems(write(text, head=""))
    assert [problem.split(":")[0] for problem in found] == [
        "colour",
        "defaults.timeout",
        "defaults.retry.max_retrys",
        "defaults.retry.jitter",
        "services.payments.endpoints[0].address",
        "services.payments.endpoints[1].adress",
        "services.payments.endpoints[1].address",
        "routes[0].name",
        "routes[0].match.path_prefix",
    ]
    assert "(did you mean api?)" in found[1]
    assert "unknown key (did you mean max_retries?)" in found[2]
    assert "(did you mean full?)" in found[3]
    assert found[6].endswith("is missing")


def test_a_status_of_grpc_that_is_none_is_told_which_was_meant(write: Write) -> None:
    """In capitals, as gRPC writes them; OK is nothing to repeat a call for."""
    text = 'retry = { grpc_statuses = ["UNAVAILABEL", "unavailable", "OK", "UNAVAILABLE"] }'
    found = problems(write(f"[defaults]\n{text}\n"))
    assert [problem.split(":")[0] for problem in found] == [f"defaults.retry.grpc_statuses[{n}]" for n in range(3)]
    assert found[0].endswith('not "UNAVAILABEL" (did you mean UNAVAILABLE?)')


def test_statuses_and_methods_of_grpc_merge_as_all_else(write: Write) -> None:
    """The statuses once for all services, the methods where they are known."""
    config = load(
        write("""
        [defaults]
        retry = { grpc_statuses = ["UNAVAILABLE", "ABORTED"] }
        [services.catalog]
        retry = { grpc_methods = ["/shop.Catalog/*", "/grpc.health.v1.Health/Check"] }
        """),
        {"SIDECAR_SERVICES__ORDERS__RETRY__GRPC_METHODS": "/shop.Orders/Find,/shop.Orders/List"},
    )
    catalog, orders = (config.policy(name).retry for name in ("catalog", "orders"))
    assert catalog is not None and orders is not None
    assert catalog.grpc_statuses == orders.grpc_statuses == ("UNAVAILABLE", "ABORTED")
    assert catalog.grpc_methods == ("/shop.Catalog/*", "/grpc.health.v1.Health/Check")
    assert orders.grpc_methods == ("/shop.Orders/Find", "/shop.Orders/List")


def test_the_protocol_is_the_services_and_hosts_that_are_none_have_that_of_their_caller(write: Write) -> None:
    """Whoever calls a host by itself knows what it speaks."""
    config = load(
        write("""
        [defaults]
        protocol = "http2"
        [services.old]
        protocol = "http1"
        [services.new]
        """)
    )
    protocols = [config.policy(name).protocol for name in ("old", "new", "unlisted")]
    assert protocols == ["http1", "http2", "http2"]
    assert config.passthrough.protocol == "auto"
    assert config.inbound.protocol == "auto"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[defaults]\ntimeout = 30", 'defaults.timeout: expected a duration with its unit, such as "30s", not 30'),
        ("[defaults]\ntimeout = '0s'", 'defaults.timeout: expected a duration above zero, not "0s"'),
        ("[defaults]\nconnect_timeout = 'none'", "defaults.connect_timeout: expected a duration"),
        ("[defaults]\nretry = true", "defaults.retry: expected a table or false, not true"),
        ("[defaults]\nretry = { multiplier = 0.5 }", "defaults.retry.multiplier: must be at least 1, not 0.5"),
        ("[defaults]\nretry = { max_retries = -1 }", "defaults.retry.max_retries: must be at least 0, not -1"),
        ("[defaults]\nretry = { max_retries = 1.5 }", "defaults.retry.max_retries: expected a whole number, not 1.5"),
        ("[defaults]\nretry = { max_retries = true }", "defaults.retry.max_retries: expected a whole number, not true"),
        ("[defaults]\nretry = { on = 'connect' }", 'defaults.retry.on: expected an array, not "connect"'),
        (
            "[defaults]\nretry = { grpc_statuses = ['UNAVAILABEL'] }",
            "defaults.retry.grpc_statuses[0]: expected one of CANCELLED, UNKNOWN,",
        ),
        (
            "[defaults]\nretry = { grpc_methods = ['shop.Catalog/Get'] }",
            'defaults.retry.grpc_methods[0]: expected a method of gRPC, such as "/package.Service/Method"',
        ),
        ("[defaults]\nretry = { grpc_methods = ['/shop.Catalog/G*'] }", "defaults.retry.grpc_methods[0]: expected a"),
        ("[defaults]\nretry = { grpc_methods = ['/*'] }", "defaults.retry.grpc_methods[0]: expected a method"),
        ("[defaults]\nprotocol = 'h2'", 'defaults.protocol: expected one of auto, http1, http2, not "h2"'),
        ("[inbound]\nprotocol = 'http3'", "inbound.protocol: expected one of auto, http1, http2"),
        ("[[routes]]\nname = 'r'\nservice = 'a'\nprotocol = 'http2'\n[services.a]", "routes[0].protocol: unknown key"),
        ("[limits]\nstreams = 0", "limits.streams: must be at least 1, not 0"),
        ("[limits]\nstream_window = '63KiB'", "limits.stream_window: must be at least 64KiB, not 63KiB"),
        ("[limits]\nstream_window = '17MiB'", "limits.stream_window: must be at most 16MiB, not 17MiB"),
        ("[defaults]\nretry = { budget = false }", "defaults.retry.budget: expected a table, not false"),
        ("[defaults]\nbreaker = { failure_rate = 1.1 }", "defaults.breaker.failure_rate: must be at most 1, not 1.1"),
        ("[defaults]\nbreaker = { failure_rate = nan }", "defaults.breaker.failure_rate: expected a number, not nan"),
        ("[defaults]\nbreaker = { failures = 0 }", "defaults.breaker.failures: must be at least 1, not 0"),
        ("[defaults]\nlimits = false", "defaults.limits: expected a table, not false"),
        ("[defaults]\nendpoints = []", "defaults.endpoints: unknown key"),
        ("[services.Pay]", "services.Pay: expected a service name of lower-case letters"),
        ("[services.'a.mesh']", 'services."a.mesh": expected a service name'),
        ("[services.'a\\nb']", 'services."a\\\\nb": expected a service name'),
        ("[services.a]\nendpoints = ['h:0']", "services.a.endpoints[0].address: expected a port from 1 to 65535"),
        ("[services.a]\nendpoints = ['h:1', 'H:1']", "services.a.endpoints[1]: h:1 is listed twice"),
        ("[services.a]\nendpoints = [{address='h:1', weight=-1}]", "services.a.endpoints[0].weight: must be at least"),
        ("[inbound]\ntrusted = ['10.0.0.1/8']", "inbound.trusted[0]: has bits set beyond its prefix"),
        ("[inbound]\nmax_connections = 0", "inbound.max_connections: must be at least 1, not 0"),
        ("[registry]\nkind = 'eureka'", 'registry.kind: expected one of local, static, consul, dns, not "eureka"'),
        ("[registry.consul]\naddress = 'ftp://a'", "registry.consul.address: expected the address of an agent"),
        ("[registry.consul]\nagents = ['http://a:1', 'b']", "registry.consul.agents[1]: expected the address"),
        ("[registry.consul]\nttl = '1s'", "registry.consul.ttl: must be at least 3s, not 1s"),
        ("[registry.consul]\nderegister_after = '30s'", "registry.consul.deregister_after: must be at least 1m"),
        ("[registry.consul]\ncert_file = 'x.pem'", "registry.consul.key_file: is missing: a certificate and its key"),
        (
            "[registry]\nkind = 'dsn'",
            'registry.kind: expected one of local, static, consul, dns, not "dsn" (did you mean dns?)',
        ),
        (
            "[registry]\noptions = { a = 1 }",
            "registry.options: is for registries that somebody has installed; "
            'the keys of "local" are in [registry.local]',
        ),
        ("[registry.dns]\nport = 0", "registry.dns.port: must be at least 1, not 0"),
        (
            "[registry.dns]\nsrv = 'http'",
            'registry.dns.srv: expected a service and a protocol, such as "_http._tcp", not "http"',
        ),
        (
            "[registry.dns]\nservers = ['ns.example.com']",
            'registry.dns.servers[0]: expected an IP address and a port, such as "127.0.0.1:53", not "ns.example.com"',
        ),
        (
            "[registry.dns]\nnames = { a = 'b:99999' }",
            'registry.dns.names.a: expected a port from 1 to 65535, not "99999"',
        ),
        (
            "[registry.dns]\nnames = { a = 'srv:b:80' }",
            'registry.dns.names.a: expected "name", "name:port" or "srv:_http._tcp.name", not "srv:b:80"',
        ),
        ("[limits]\nheaders = 0", "limits.headers: must be at least 1"),
        ("[dependencies.db]\naddress = 'a:1'\ngates = 1", "dependencies.db.gates: expected true or false, not 1"),
        ("[dependencies.db]\nkind = 'tcp'", "dependencies.db.address: is missing: where is it, as host:port?"),
        ("[dependencies.db]\naddress = 'a'", "dependencies.db.address: expected host:port"),
        ("[dependencies.db]\nkind = 'command'", "dependencies.db.command: is missing: which program"),
        ("[defaults.health]\ncommand = ['x']", "defaults.health.command: is given, but kind is http"),
        ("[defaults.health]\nstatuses = ['299-200']", 'defaults.health.statuses[0]: "299-200" ends before it begins'),
        ("[defaults.health]\nstatuses = ['2xx']", "defaults.health.statuses[0]: expected a status or a range"),
        ("[defaults.health]\npath = 'x'", "defaults.health.path: expected a path that begins with /"),
        ("[defaults.health]\nkind = 'none'", "defaults.health.kind: expected one of http, tcp, grpc, command"),
        ("[limits]\nheader_bytes = '64KB'", "limits.header_bytes: expected a size"),
        ("[timeouts]\nnone = '1s'", "timeouts.none: expected a class name"),
        ("[timeouts]\napi = 3", 'timeouts.api: expected a duration with its unit, such as "3s", not 3'),
        ("[listen]\nprobes = '127.0.0.1:15006'", "listen.probes: 127.0.0.1:15006 is taken by listen.inbound"),
        ("[listen]\noutbound = '127.0.0.1:8080'", "service.app: 127.0.0.1:8080 is not the application but listen.out"),
        ("[trace]\nsample = 0x" + "f" * 5000, "trace.sample: expected a number, not a huge number"),
        ("[drain]\ngrace = 1979-05-27", "drain.grace: expected a duration with its unit"),
        ("services = 3", "services: expected a table, not 3"),
        ("[[trace]]", "trace: expected a table, not an array"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, problem: str) -> None:
    """One mistake gives one line, which says where it is and what would be right."""
    path = tmp_path / "sidecar.toml"
    path.write_text(f"{text}\n{APP}")
    (found,) = problems(str(path))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("name = 'r'", "routes[0].service: is missing"),
        ("name = 'r'\nservice = 'pay'", 'routes[0].service: no service "pay" is configured (did you mean pays?)'),
        ("name = 'r'\nservice = 'a'\nsplit = [{service='pays', weight=1}]", "routes[0].split: is given beside service"),
        ("name = 'r'\nsplit = [{service='a', weight=0}]", "routes[0].split: all weights are 0"),
        (
            "name = 'r'\nsplit = [{service='a', weight=1}, {service='a', weight=2}]",
            'routes[0].split[1].service: "a" is listed twice',
        ),
        (
            "name = 'r'\nservice = 'a'\nmatch = {path='/', path_prefix='/'}",
            "routes[0].match.path_prefix: is given beside path",
        ),
        ("name = 'r'\nservice = 'a'\nmatch = {methods=['get']}", "routes[0].match.methods[0]: expected a method in"),
        ("name = 'r'\nservice = 'a'\nmatch = {path='/a?b'}", "routes[0].match.path: expected a path"),
        ("name = 'r'\nservice = 'a'\nmatch = {headers={X=''}}", "routes[0].match.headers.X: expected a header name in"),
        ("name = 'r'\nservice = 'a'\nmatch = {headers={x=\"\\n\"}}", "routes[0].match.headers.x: expected printable"),
        ("name = 'r'\nservice = 'a'\nbreaker = false", "routes[0].breaker: unknown key"),
        ("name = ''\nservice = 'a'", "routes[0].name: expected 1 to 128 visible"),
        (
            "name = 'r'\nservice = 'a'\n[[routes]]\nname='r'\nservice='a'",
            'routes[1].name: "r" is the name of an earlier',
        ),
    ],
)
def test_a_route_that_could_not_work_is_refused(write: Write, route: str, problem: str) -> None:
    """Routes are held against the services when they are read, not when a request comes."""
    (found,) = problems(write(f"[services.a]\n[services.pays]\n[[routes]]\n{route}"))
    assert found.startswith(problem)


def test_an_inbound_listener_needs_to_know_the_application(write: Write) -> None:
    """The message says both ways out."""
    (found,) = problems(write("", head=""))
    assert found.startswith("service.app: is missing: where does the application listen?")
    assert problems(None) == [f"configuration: {found}"]


def test_trusted_networks_are_networks(write: Write) -> None:
    """CIDRs arrive as networks that can be asked."""
    trusted = load(write('[inbound]\ntrusted = ["10.0.0.0/8", "::1"]')).inbound.trusted
    assert trusted == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


# Files that are no configuration


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb =\n", ":2: is not TOML: Invalid value"),
        (b'[service]\n\nname = "', ":3: is not TOML: Unterminated string"),
        (b"a = 1\na = 2\n", ":2: is not TOML: Cannot overwrite a value"),
        (b"# \xff\n", ":1: is not UTF-8"),
        (b"ok = 1\n# \xff\n", ":2: is not UTF-8"),
        (b"a = " + b"[" * 50_000, ": is nested too deeply"),
        (b"a = " + b"1" * 5_000, ": is not TOML: Exceeds the limit"),
        (b"#" * ((16 << 20) + 1), ": is larger than 16 MiB"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path, content: bytes, problem: str) -> None:
    """Syntax errors have a line where the parser knows one."""
    path = tmp_path / "sidecar.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    (found,) = caught.value.problems
    assert found.startswith(f"{path}{problem}")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Missing files, directories and impossible names are configuration errors as well."""
    assert problems(str(tmp_path / "missing.toml")) == ["cannot be read: No such file or directory"]
    assert problems(str(tmp_path)) == ["cannot be read: Is a directory"]
    assert problems("a\0b") == ["cannot be read: embedded null byte"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["none", "5s", "a:1", "api"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(set(keys(File)))), inner),
)
NAMES = st.sampled_from(sorted({f"SIDECAR_{table}__{key}" for table in keys(File) for key in keys(File)})) | st.text()


@given(st.dictionaries(NAMES, st.text() | st.sampled_from(["false", "[", "{}", '{ a = "b" }', "[{}]", "1", "a:1,b:2"])))
def test_no_environment_gives_anything_but_a_configuration_or_problems(environ: dict[str, str]) -> None:
    """Whatever the variables are, the answer is for people: no traceback, each problem on one line."""
    try:
        assert isinstance(load(None, environ), Config)
    except ConfigError as error:
        assert error.problems
        assert not any("\n" in problem for problem in error.problems)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(File.__struct_fields__)), VALUES))
def test_no_table_gives_anything_but_a_configuration_or_problems(tables: dict[str, Any]) -> None:
    """Values of every wrong type at every place are problems and never a traceback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidecar.config.layers.tomllib.loads", lambda text: tables)
        try:
            assert isinstance(load("/dev/null"), Config)
        except ConfigError as error:
            assert error.problems


def test_a_thousand_services_load_from_one_file(write: Write) -> None:
    """Size changes nothing: every one of 10,000 endpoints arrives."""
    addresses = ", ".join(f"'10.0.0.{number}:80'" for number in range(10))
    config = load(write("".join(f"[services.s{number}]\nendpoints = [{addresses}]\n" for number in range(1000))))
    assert sum(len(service.endpoints) for service in config.services.values()) == 10_000

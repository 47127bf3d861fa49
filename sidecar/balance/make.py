"""A balancer from what the configuration says. An algorithm that no service asks for is not even loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from sidecar.balance import Balancer, settings
from sidecar.balance.round_robin import RoundRobin
from sidecar.clock import Random
from sidecar.model import Endpoint

Algorithm = Literal["round_robin", "random", "weighted", "least_request", "least_connections", "peak_ewma", "ring_hash"]


class Policy(Protocol):
    """What is said of a service's balancing."""

    @property
    def balance(self) -> Algorithm: ...
    @property
    def weighted(self) -> settings.Weighted: ...
    @property
    def peak_ewma(self) -> settings.PeakEwma: ...
    @property
    def ring_hash(self) -> settings.RingHash: ...
    @property
    def prefer_zone(self) -> bool: ...
    @property
    def slow_start(self) -> float | None: ...


class InFlight(Protocol):
    in_flight: int


class Service(Protocol):
    """What a balancer may know of its service, beside the set that it picks from."""

    @property
    def listed(self) -> Sequence[Endpoint]: ...
    @property
    def limits(self) -> InFlight: ...


def make(policy: Policy, zone: str, service: Service, random: Random) -> Balancer:
    """What ``policy`` asks for; ``zone`` is our own."""
    if policy.balance == "ring_hash":
        from sidecar.balance.ring_hash import RingHash

        # Where a key belongs depends on nothing but the key: neither on zones nor on who is new.
        return RingHash(policy.ring_hash, random, service.limits)
    balancer: Balancer
    if policy.prefer_zone and zone:
        from sidecar.balance.zone import ZoneFirst

        balancer = ZoneFirst(zone, service, lambda: _algorithm(policy, random), random)
    else:
        balancer = _algorithm(policy, random)
    if policy.slow_start is None:
        return balancer
    from sidecar.balance.slow_start import SlowStart

    return SlowStart(balancer, policy.slow_start, random)


def _algorithm(policy: Policy, random: Random) -> Balancer:
    match policy.balance:
        case "weighted":
            from sidecar.balance.weighted import Weighted

            return Weighted(policy.weighted, random)
        case "peak_ewma":
            from sidecar.balance.peak_ewma import PeakEwma

            return PeakEwma(policy.peak_ewma, random)
        case "least_request":
            from sidecar.balance.least_request import LeastRequest

            return LeastRequest(random)
        case "least_connections":
            from sidecar.balance.least_connections import LeastConnections

            return LeastConnections(random)
        case "random":
            from sidecar.balance.random_choice import RandomChoice

            return RandomChoice(random)
        case _:
            return RoundRobin(random)

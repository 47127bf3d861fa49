"""What the balancers do when something happens to one of ten endpoints: simulated, in figures that must hold.

Each scenario has a calm beginning, twenty seconds in which something is amiss, and half a minute after that
(``bench.balancing``). The pictures of docs/balancing.md are drawn from the same runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.balancing import ALGORITHMS, BEGIN, END, SECONDS, run
from bench.panels import SLOW_START, pictures
from sidecar.balance.make import Algorithm

DOCS = Path(__file__).resolve().parent.parent / "docs"

every = pytest.mark.parametrize("algorithm", ALGORITHMS)
measuring = pytest.mark.parametrize("algorithm", ["weighted", "peak_ewma"])


@every
def test_endpoints_that_are_alike_get_alike(algorithm: Algorithm) -> None:
    """Over a minute, an endpoint is at most a fifth off an even share, with keys a third: what is measured is no pretext."""
    result = run(algorithm, "steady")
    shares = [result.share(endpoint, 0, SECONDS) for endpoint in range(10)]
    off = 0.033 if algorithm == "ring_hash" else 0.02
    assert all(abs(share - 0.1) < off for share in shares), shares


@every
def test_nobody_pays_for_an_algorithm_while_all_is_well(algorithm: Algorithm) -> None:
    """The slowest hundredth waits no longer than with round robin."""
    assert run(algorithm, "steady").percentile(0.99, 0, SECONDS) < 1.05 * run("round_robin", "steady").percentile(
        0.99, 0, SECONDS
    )


@pytest.mark.parametrize(
    ("algorithm", "tolerance"),
    [("round_robin", 0.01), ("random", 0.05), ("weighted", 0.05), ("peak_ewma", 0.25), ("least_request", 0.15),
     ("least_connections", 0.35), ("ring_hash", 0.25)],
)  # fmt: skip
def test_weights_are_kept(algorithm: Algorithm, tolerance: float) -> None:
    """Three to two to one, twice: exactly where weights are all that counts, nearly where load does as well."""
    result = run(algorithm, "weights")
    for endpoint, weight in enumerate((3, 2, 1, 3, 2, 1)):
        assert result.share(endpoint, 0, SECONDS) == pytest.approx(weight / 12, rel=tolerance)


@pytest.mark.parametrize(
    ("algorithm", "within", "share"),
    [("weighted", 10, 0.04), ("least_request", 2, 0.05), ("least_connections", 2, 0.03), ("peak_ewma", 3, 0.005)],
)
def test_a_slow_endpoint_loses_its_share(algorithm: Algorithm, within: float, share: float) -> None:
    """Ten times slower, it has less than that share of the requests after so many seconds, and keeps no more."""
    result = run(algorithm, "slow")
    assert result.share(0, BEGIN + within, END) < share


@pytest.mark.parametrize(
    ("algorithm", "within"), [("weighted", 15), ("least_request", 2), ("least_connections", 2), ("peak_ewma", 20)]
)
def test_an_endpoint_that_is_well_again_gets_its_share_back(algorithm: Algorithm, within: float) -> None:
    """So many seconds after it is as fast as the others, it has what they have."""
    result = run(algorithm, "slow")
    assert result.share(0, END + within, SECONDS) > 0.08


@pytest.mark.parametrize(
    ("algorithm", "share"),
    [("weighted", 0.6), ("least_request", 0.45), ("least_connections", 0.4), ("peak_ewma", 0.25), ("ring_hash", 0.75)],
)
def test_a_slow_endpoint_is_hardly_noticed(algorithm: Algorithm, share: float) -> None:
    """The p99 of all requests meanwhile, as a share of what it is with round robin."""
    slow = run("round_robin", "slow").percentile(0.99, BEGIN, END)
    assert run(algorithm, "slow").percentile(0.99, BEGIN, END) < share * slow


def test_dynamic_weights_do_not_swing() -> None:
    """Once it has settled, the slow endpoint's share stays where it is: no ten seconds differ much from the next ten."""
    result = run("weighted", "slow")
    settled = [result.share(0, begin, begin + 4) for begin in (18, 22, 26)]
    assert max(settled) - min(settled) < 0.02
    recovered = [result.share(0, begin, begin + 5) for begin in (45, 50, 55)]
    assert max(recovered) - min(recovered) < 0.03


def test_a_weaker_endpoint_of_a_busy_service_gets_what_it_can_do() -> None:
    """Endpoints that serve one request at a time, six tenths busy, one of them half as fast: round robin drowns it; dynamic
    weights find a share that it can bear within seconds, and stay there although its latency follows its share."""
    drowned, found = run("round_robin", "busy"), run("weighted", "busy")
    assert drowned.percentile(0.99, 30, SECONDS) > 5.0
    assert found.percentile(0.99, 30, SECONDS) < 0.5
    shares = [found.share(0, begin, begin + 10) for begin in range(10, SECONDS, 10)]
    assert all(0.04 < share < 0.07 for share in shares), shares


@pytest.mark.parametrize("algorithm", ["least_request", "least_connections", "peak_ewma"])
def test_so_it_is_with_what_looks_at_the_load(algorithm: Algorithm) -> None:
    """The same service, with less to wait than dynamic weights have."""
    assert run(algorithm, "busy").percentile(0.99, 30, SECONDS) < 0.2


@measuring
def test_failing_fast_attracts_nothing(algorithm: Algorithm) -> None:
    """An endpoint that answers 500 after a millisecond is always idle and always fast, and gets less all the same."""
    result = run(algorithm, "failing")
    assert result.share(0, BEGIN + 10, END) < 0.02
    assert result.failed(BEGIN, END) < 0.04
    assert max(result.share(0, second, second + 1) for second in range(int(BEGIN), int(END))) < 0.13
    assert result.share(0, SECONDS - 10, SECONDS) > 0.07


def test_those_that_only_count_need_a_breaker_for_that() -> None:
    """What is in flight says nothing of failures: docs/balancing.md tells so, and this is the figure."""
    assert run("least_connections", "failing").failed(BEGIN, END) > 0.15
    assert run("least_connections", "failing", breakers=True).failed(BEGIN, END) < 0.015


@pytest.mark.parametrize(
    ("algorithm", "share"),
    [
        ("weighted", 0.03),
        ("least_request", 0.015),
        ("least_connections", 0.01),
        ("peak_ewma", 0.005),
        ("ring_hash", 0.02),
    ],
)
def test_an_endpoint_that_hangs_gets_little_before_anything_is_heard(algorithm: Algorithm, share: float) -> None:
    """It swallows requests for a second each; round robin loses a tenth of all to it."""
    result = run(algorithm, "silent")
    assert result.failed(BEGIN, END) < share
    assert run("round_robin", "silent").failed(BEGIN, END) > 0.09


@pytest.mark.parametrize("algorithm", ["round_robin", "random", "least_request"])
def test_slow_start_spares_whoever_calls_a_cold_endpoint(algorithm: Algorithm) -> None:
    """It grows from little to its share over the window, and the p99 meanwhile is lower than without."""
    cold, spared = run(algorithm, "new"), run(algorithm, "new", SLOW_START)
    assert spared.share(0, BEGIN, BEGIN + 4) < 0.04
    assert spared.share(0, END + 2, SECONDS) == pytest.approx(0.1, rel=0.15)
    assert spared.percentile(0.99, BEGIN, END) < 0.9 * cold.percentile(0.99, BEGIN, END)


def test_the_pictures_are_those_of_this_version() -> None:
    """To renew them: ``python -m bench.balancing --plots docs``."""
    for name, picture in pictures().items():
        assert (DOCS / name).read_text() == picture, name

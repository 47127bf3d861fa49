"""Every target, over its corpus and some thousand mutants of it. What ever failed is in the corpus."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz import frames, hpack
from tests.fuzz.run import CORPUS, Target, attempt, corpus, mutants

TARGETS: dict[str, tuple[Target, list[bytes]]] = {
    "frames": (frames.target, frames.TOKENS),
    "hpack": (hpack.target, hpack.TOKENS),
}
MUTANTS = 4000


def test_every_corpus_has_a_target() -> None:
    """A directory that nobody runs would look like a test."""
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_handled(name: str) -> None:
    """Seeds, and inputs that failed once."""
    target, _ = TARGETS[name]
    seeds = corpus(name)
    assert seeds
    for data in seeds:
        attempt(target, data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_of_the_corpus_are_handled(name: str) -> None:
    """The same ones in each run; a longer one is a command away."""
    target, tokens = TARGETS[name]
    for data in islice(mutants(corpus(name), tokens, seed=0), MUTANTS):
        attempt(target, data)


def test_a_failing_target_names_its_input() -> None:
    """Else nobody could add it to the corpus."""

    def target(data: bytes) -> None:
        assert data != b"\x07"

    with pytest.raises(AssertionError) as caught:
        attempt(target, b"\x07")
    assert caught.value.__notes__ == ["input: 07"]

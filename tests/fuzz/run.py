"""What drives a target: a small mutation of our own, the same everywhere, or atheris where it is installed.

Ours knows no coverage. It bends the files of the corpus a few times each, with the target's own tokens, which finds what
is near to good input; atheris looks at which branches are taken, and finds the rest if it is given time.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from typing import TypeAlias

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 4096

Target: TypeAlias = Callable[[bytes], None]


def corpus(name: str) -> list[bytes]:
    """The seeds of a target and all that ever failed, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutants(seeds: list[bytes], tokens: list[bytes], seed: int) -> Iterator[bytes]:
    """Without an end: seeds with one to six changes. One seed gives the same ones everywhere."""
    chance = Random(seed)
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            _bend(data, chance, seeds, tokens)
        yield bytes(data[:MAX_BYTES])


def _bend(data: bytearray, chance: Random, seeds: list[bytes], tokens: list[bytes]) -> None:
    at = chance.randint(0, len(data))
    change = chance.randrange(8)
    if change == 0:
        data[at : at + 1] = bytes((chance.randrange(256),))
    elif change == 1 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif change == 2:
        data[at:at] = chance.choice(tokens)
    elif change == 3:
        token = chance.choice(tokens)
        data[at : at + len(token)] = token
    elif change == 4:
        del data[at : at + chance.randint(1, 8)]
    elif change == 5:
        data[at:at] = data[at : at + chance.randint(1, 32)] * chance.choice((1, 1, 2, 16))
    elif change == 6:
        # The end of another one, from anywhere.
        other = chance.choice(seeds)
        data[at:] = other[chance.randint(0, len(other)) :]
    elif at < len(data):
        data[at] = (data[at] + chance.choice((-1, 1))) % 256


def attempt(target: Target, data: bytes) -> None:
    """Run the target, and name the input by which it fails."""
    try:
        target(data)
    except BaseException as error:
        error.add_note(f"input: {data.hex()}")
        raise


def main(name: str, target: Target, tokens: list[bytes]) -> None:
    """The command line of a target."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{name}", description=target.__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long; default: until interrupted")
    parser.add_argument("--seed", type=int, default=1, help="of our own mutation")
    parser.add_argument("--ours", action="store_true", help="our own mutation even if atheris is installed")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") and not options.ours:
        _atheris(name, target, options.seconds)
    else:
        _ours(name, target, tokens, options.seed, options.seconds)


def _ours(name: str, target: Target, tokens: list[bytes], seed: int, seconds: float) -> None:
    end = monotonic() + seconds
    seeds = corpus(name)
    for number, data in zip(count(1), mutants(seeds, tokens, seed)):
        try:
            attempt(target, data)
        except KeyboardInterrupt:
            return
        except BaseException:
            path = CORPUS / name / f"failed-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            print(f"input {number} failed and is now {path}")
            raise
        if number % 10000 == 0:
            print(f"{number} inputs")
        if monotonic() > end:
            return


def _atheris(name: str, target: Target, seconds: float) -> None:
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    # What it finds on its way goes into the first directory that it is given, and is not kept.
    grown = CORPUS.parent / ".grown" / name
    grown.mkdir(parents=True, exist_ok=True)
    limits = [] if seconds == float("inf") else [f"-max_total_time={int(seconds)}"]
    failed = f"-artifact_prefix={CORPUS / name}/failed-"
    atheris.Setup([name, *limits, failed, f"-max_len={MAX_BYTES}", str(grown), str(CORPUS / name)], target)
    atheris.Fuzz()

"""Tokens per second: contestants take turns, round after round, on one thread of one process.

A machine that slows down then slows down all of them. Figures are medians over rounds.
"""

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from bench import ours
from bench.contestants import CONTESTANTS, Contestant, Turn
from bench.fresh import fresh
from bench.size import Size


def compare(sizes: Sequence[Size], names: Sequence[str], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The contestants `names` at each size, a process a size: {"size", "contestants"}."""
    # All compile before, on all cores, the deepest first: when they take turns, what they need is in the
    # cache on disk.
    deepest_first = sorted(sizes, key=lambda size: -size.depth)
    compiled = [(size, name) for size in deepest_first for name in names if CONTESTANTS[name].compiled]
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(lambda it: fresh(rehearse, size=asdict(it[0]), name=it[1]), compiled))
    print(f"  compiled: {time.perf_counter() - start:.0f} s", flush=True)
    found = []
    for size in sizes:
        start = time.perf_counter()
        found.append(fresh(turns, size=asdict(size), names=list(names), rounds=rounds, seconds=seconds))
        took = time.perf_counter() - start
        print(f"  d = {size.width}, T = {size.window}, V = {size.vocabulary}: {took:.0f} s", flush=True)
    return found


def turns(size: dict[str, int], names: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
    """For each contestant its parameters, tokens per second of each round and their median, or why it is not
    there.

    seconds: about what a measurement takes; never less than one step.
    """
    at = Size(**size)
    prepared = {name: _prepare(CONTESTANTS[name], at, seconds) for name in names}
    ready = {name: it for name, it in prepared.items() if not isinstance(it, str)}
    # A package may change the state of the process when it is first used, and what another has compiled for
    # the state before is then compiled again.
    for name, (turn, _) in ready.items():
        _kernels(CONTESTANTS[name])
        turn(1)
    rates: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name, (turn, steps) in ready.items():
            _kernels(CONTESTANTS[name])
            rates[name].append(steps * at.tokens / turn(steps))
    found: dict[str, Any] = {name: {"absent": why} for name, why in prepared.items() if isinstance(why, str)}
    for name, (turn, steps) in ready.items():
        found[name] = {
            "parameters": turn.parameters,
            "tokens_per_second": median(rates[name]),
            "steps": steps,
            "rounds": rates[name],
        }
        if CONTESTANTS[name].ours:
            architecture = CONTESTANTS[name].who.removeprefix("scalelaw ")
            found[name]["flops_per_token"] = ours.flops(architecture, at) / at.tokens
    return {"size": size, "contestants": {name: found[name] for name in names}}


def rehearse(size: dict[str, int], name: str) -> None:
    _prepare(CONTESTANTS[name], Size(**size), 0.0)


def _prepare(contestant: Contestant, size: Size, seconds: float) -> tuple[Turn, int] | str:
    """A contestant, compiled and warm, and the steps that fill a measurement; or why it is absent."""
    if why := contestant.absent(size):
        return why
    torch.manual_seed(0)
    _kernels(contestant)
    try:
        turn = contestant.build(size)
        turn(1)  # compiles; allocates gradients and the optimizer's state
        return turn, max(1, math.ceil(seconds / turn(1)))
    except Exception as error:
        if contestant.package is None:
            raise
        # A peer that does not work with the torch or the compiler at hand is no reason to measure nothing.
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"


def _kernels(contestant: Contestant) -> None:
    """Ours computes with deterministic kernels; that must not slow down the others."""
    torch.use_deterministic_algorithms(contestant.ours)

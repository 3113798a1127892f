"""How long a device takes, and what it can do at most: FLOP/s of a matrix product."""

import time
from collections.abc import Callable

import torch

LEAST = 0.2  # seconds a product is repeated for, so that clocks and caches have settled
ROUNDS = 3


def rate(m: int, k: int, n: int, dtype: torch.dtype, device: str) -> float:
    """FLOP/s of (m, k) @ (k, n), best of several rounds."""
    a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
    out = torch.empty(m, n, device=device, dtype=dtype)
    best = 0.0
    for _ in range(ROUNDS):
        torch.mm(a, b, out=out)
        settle(device)
        start, times = time.perf_counter(), 0
        while not times or time.perf_counter() - start < LEAST:
            torch.mm(a, b, out=out)
            settle(device)
            times += 1
        passed = time.perf_counter() - start
        best = max(best, 2 * m * k * n * times / passed)
    return best


def took(step: Callable[[], object], times: int, device: str) -> float:
    """Seconds of so many steps."""
    settle(device)
    start = time.perf_counter()
    for _ in range(times):
        step()
    settle(device)
    return time.perf_counter() - start


def settle(device: str) -> None:
    """Wait until a GPU has done what it was told."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)

"""Run records of a study whose best learning rate and batch are known: bowls in log rate and log batch."""

from collections.abc import Iterable, Iterator

import numpy as np

from scalelaw.run import Run

RATES = (0.001, 0.002, 0.004, 0.008, 0.016)
WINDOW, BATCHES = 64, (64, 256, 1024)
SIZES = {16: 6_736, 32: 49_952, 48: 166_512}
BUDGETS = (100_352, 200_704, 401_408, 802_816)
ARCHITECTURE = {"_target_": "scalelaw.models.causal_decoder.CausalDecoder"}
SCHEDULE = {"warmup": 0.1}
OPTIMIZER = {"transfer": "width_and_depth", "base_width": 48, "base_depth": 4}
# The truth: lr = 0.004 (N / 5e4)^A (D / 3e5)^B (batch / 256)^G at any batch, the best of which is 256 (D /
# 3e5)^DELTA.
A, B, G, DELTA = -0.05, -0.15, 0.4, 0.3


def best_rate(N: float, D: float, batch: float) -> float:
    return 0.004 * (N / 5e4) ** A * (D / 3e5) ** B * (batch / 256) ** G


def best_batch(D: float) -> float:
    return 256 * (D / 3e5) ** DELTA


def record(
    *,
    width: int,
    rate: float,
    loss: float | None,
    N: int = 1000,
    D: int = 8_192,
    batch: int = 64,
    seed: int = 0,
    rule: str = "width_and_depth",
    architecture: str = "causal_decoder",
    **changes,
) -> Run:
    """A finished run, or without a loss one that diverged."""
    optimizer = OPTIMIZER | {"transfer": rule, "lr": rate}
    config = {"architecture": ARCHITECTURE, "optimizer": optimizer, "schedule": SCHEDULE, "budget": {"D": D}}
    name = f"{architecture}-{rule}-{width}-{D}-{batch}-{rate}-{seed}"
    return Run(
        run=name, name=name, status="diverged" if loss is None else "finished", architecture=architecture,
        objective="causal_lm", data="sotu", study="hparams", seed=seed, depth=width // 8, width=width, N=N,
        N_total=N, D=D, D_target=D, unique_tokens=1_000_000, window=WINDOW, batch_tokens=batch,
        steps=D // batch, step=D // batch, learning_rate=rate / width, C=6.0 * N * D, C_6ND=6.0 * N * D,
        loss=loss, loss_objective=loss, bits_per_byte=loss, config=config | changes,
    )  # fmt: skip


def study(
    *,
    noise: float = 0.0,
    seeds: Iterable[int] = (0,),
    rates: Iterable[float] = RATES,
    batches: Iterable[int] = BATCHES,
    budgets: Iterable[int] = BUDGETS,
    draw: int = 0,
) -> Iterator[Run]:
    """Every rung, budget, batch, rate and seed. noise: standard deviation of log loss. Rates move with the
    batch's best one, so that every optimum lies inside them."""
    rng = np.random.default_rng(draw)
    for width, N in SIZES.items():
        for D in budgets:
            for batch in batches:
                for rate in rates:
                    rate = rate * (batch / 256) ** 0.5
                    off = np.log(rate / best_rate(N, D, batch))
                    loss = 2 + 100 * D**-0.5 + 0.03 * off**2 + 0.02 * np.log(batch / best_batch(D)) ** 2
                    for seed in seeds:
                        drawn = float(loss * np.exp(noise * rng.standard_normal()))
                        yield record(width=width, N=N, D=D, batch=batch, rate=rate, loss=drawn, seed=seed)

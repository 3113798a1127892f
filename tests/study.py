"""A study that never trained: run records and curves drawn from planted Chinchilla surfaces."""

import hashlib
import json
from pathlib import Path

import numpy as np

from scalelaw.run import METRICS, Run

PLANTED = {
    "causal_decoder": {"E": 1.05, "A": 12.0, "B": 60.0, "alpha": 0.30, "beta": 0.33},
    "encoder_decoder": {"E": 1.08, "A": 15.0, "B": 75.0, "alpha": 0.29, "beta": 0.32},
    "prefix_decoder": {"E": 1.10, "A": 13.0, "B": 70.0, "alpha": 0.30, "beta": 0.33},
}
DEPTHS = (2, 3, 4, 5, 6, 7)  # N = 13.8k to 593k with 12 of width a layer
RATIOS = (5.0, 20.0, 80.0)  # tokens per parameter
BUDGETS = (4e10, 2.5e11, 1.6e12)  # FLOPs
VOCABULARY, WINDOW = 256, 256


def loss(architecture: str, N, D):
    p = PLANTED[architecture]
    return p["E"] + p["A"] * N ** -p["alpha"] + p["B"] * D ** -p["beta"]


def per_token(depth: int) -> float:
    """Training FLOPs a token: weights, causal attention scores over the window, the output head."""
    width = 12 * depth
    return 6 * (12 * depth * width**2) + 6 * depth * width * WINDOW + 6 * width * VOCABULARY


def write_study(
    root: Path,
    *,
    architectures=tuple(PLANTED),
    depths=DEPTHS,
    design: str = "ratios",
    noise: float = 0.004,
    seed: int = 0,
    wreck: str | None = None,
) -> Path:
    """Write a folder of runs below `root`.

    design: "ratios" trains every size at three tokens-per-parameter ratios, "budgets" at three FLOP budgets.
    noise: standard deviation of the log of the final loss. wreck: make one run of this architecture diverge.
    """
    random = np.random.default_rng(seed)
    for architecture in architectures:
        for depth in depths:
            N = 12 * depth * (12 * depth) ** 2
            points = (
                [r * N for r in RATIOS] if design == "ratios" else [c / per_token(depth) for c in BUDGETS]
            )
            for k, D in enumerate(points):
                bad = wreck == architecture and depth == depths[1] and k == 0
                write_run(root, architecture, depth, N, int(D), float(random.normal(0, noise)), diverged=bad)
    return root


def write_run(root, architecture, depth, N, D, shift, *, diverged=False):
    identity = hashlib.sha256(f"{architecture} {depth} {D}".encode()).hexdigest()[:10]
    final = float(loss(architecture, N, D) * np.exp(shift))
    steps, batch = max(D // 4096, 20), 4096
    directory = root / "runs" / identity
    bits = final / np.log(2)
    Run(
        run=identity,
        name=f"{architecture} depth={depth} D={D}",
        status="diverged" if diverged else "finished",
        reason="loss was nan at step 40" if diverged else None,
        architecture=architecture,
        objective="causal_lm" if architecture == "causal_decoder" else "prefix_lm",
        data="sotu",
        study="demo",
        seed=0,
        depth=depth,
        width=12 * depth,
        N=N,
        N_total=N + 2 * VOCABULARY * 12 * depth,
        parameters={"embedding": VOCABULARY * 12 * depth},
        D=D,
        D_target=D // (1 if architecture == "causal_decoder" else 2),
        unique_tokens=9_000_000,
        window=WINDOW,
        batch_tokens=batch,
        steps=steps,
        step=40 if diverged else steps,
        learning_rate=0.01,
        C=per_token(depth) * D,
        C_6ND=6.0 * N * D,
        loss=None if diverged else final,
        loss_objective=None if diverged else final * 0.99,
        bits_per_byte=None if diverged else float(bits),
        timing={"seconds": 12.5, "tokens_per_second": D / 12.5},
        provenance={
            "command": "python -m experiments.train -m study=demo",
            "commit": "0123456789abcdef",
            "machine": "Linux x86_64, 2 threads",
            "python": "3.12.3",
            "versions": {"torch": "2.13.0"},
        },
        config={"seed": 0},
    ).save(directory)
    rows = []
    for t in np.geomspace(max(batch, D / 300), D, 16):
        warm = 1 + 0.8 * np.exp(-t / (4 * batch)) + 0.03 * (1 - t / D)  # start-up and undecayed rate
        now = min(float(loss(architecture, N, t) * warm * np.exp(shift)), 5.6)
        at = {"step": int(t // batch), "tokens": int(t), "flops": per_token(depth) * t}
        rows.append({**at, "train_loss": now * 1.01, "learning_rate": 0.01})
        rows.append({**at, "loss": now, "loss_objective": now * 0.99, "learning_rate": 0.01})
        if diverged and len(rows) > 12:
            break
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / METRICS).write_text(text, encoding="utf-8")

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Kaplan and Chinchilla reconciled
#
# N_opt grows as C^a. Kaplan et al. 2020 found a = 0.73, Hoffmann et al. 2022 about 0.5. Pearce & Song 2024
# (arXiv:2406.12907) showed that much of the gap is a matter of counting at small scale: Kaplan's N, and the
# C = 6 N D made of it, leave the embeddings out, which are most of a small model.
#
# Here that happens to runs of **one** law, whose exponent we know. Then the same question goes to our own
# runs, and the two forms of the law are set against each other by what they forecast.

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import SVG, display

from analysis import load
from analysis.forecasts import choose
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.kaplan import Kaplan, KaplanAdditive
from analysis.optima.conventions import conventions, said
from analysis.plots import style

law = Chinchilla()
reading = {"flops": 6, "curve": "parabola", "width": 1.3, "seed": 0, "delta": 1e-3}

# %% [markdown]
# ## One law, planted in all parameters
#
# The surface is that of Besiroglu et al. 2024 in N_total, and models have N_total = N + 47491 N^(1/3), as
# Pearce & Song have them. The runs span Kaplan's sizes, 768 to 1.5e9, and Kaplan's compute.

# %%
surface = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
truth = surface["beta"] / (surface["alpha"] + surface["beta"])

sizes = np.geomspace(768, 1.5e9, 40)
ladder = pd.DataFrame({"run": np.arange(40).repeat(80), "N": sizes.repeat(80)})
ladder["N_total"] = ladder.N + 47491 * np.cbrt(ladder.N)
ladder["D"] = np.tile(np.geomspace(1e6, 1e12, 80), 40)
ladder["C"] = 6 * ladder.N * ladder.D
ladder = ladder.loc[ladder.C.between(10**12.95, 10**20.7)].reset_index(drop=True)
ladder["loss"] = law.predict(surface, {"N": ladder.N_total, "D": ladder.D})
print(f"{len(ladder)} evaluations of {ladder.run.nunique()} runs; planted a = {truth:.3f} in N_total")

# %% [markdown]
# ## The same runs, counted in every way
#
# `conventions` finds the counts in the table's columns and reads the exponent under each. Approach 1, the
# envelope of the learning curves, is nearest to what Kaplan et al. did. The losses are the same throughout:
# only the numbers on the axes differ.

# %%
planted = conventions(ladder, None, method="approach1", bootstrap=0, **reading)
for one in planted:
    print(f"{one.N} and {one.C}: a = {one.a:.3f}")

# %% [markdown]
# Nobody fitted badly. At small sizes N_total hardly grows with N, so N has to grow fast for the model to
# grow at all; the slope bends toward the planted one where embeddings no longer count.
#
# ## Our own runs
#
# The causal decoder's of `make demo`, tiny and briefly trained, so that a is far below either paper's; what
# to look for is which way it moves as more is counted. The surface is fitted anew under each convention, and
# the same resamples serve them all, so that a difference has an interval of its own. 100 of them, for speed.

# %%
here = Path.cwd()
root = next(folder for folder in (here, *here.parents) if (folder / "docs/results/demo").is_dir())
every = load(root / "docs/results/demo/runs.csv")
ours = every.loc[every.architecture == "causal_decoder"]
counted = conventions(ours, law, method="approach3", bootstrap=100, **reading)
for one in counted:
    low, high = one.interval95["a"]
    print(f"{one.N} and {one.C}: a = {one.a:.3f} (95 % {low:.3f} to {high:.3f})")
print(said(counted))

# %% [markdown]
# ## Kaplan's form or Chinchilla's?
#
# Counting aside, the formulas differ: Kaplan's joint law has no irreducible loss E. Each is fitted to the
# smaller rows and has to forecast the larger ones; the least error wins, and within one standard error of it
# the law with fewer parameters. AICc, lower is better, looks at the fitted rows alone.

# %%
forms = {"Chinchilla": law, "Kaplan": Kaplan(), "Kaplan, additive": KaplanAdditive()}
winner, audits, refused = choose(ours, forms, axes=("C", "N", "D"), delta=1e-3, seed=0)
for name, one in audits.items():
    print(f"{name}: error of {one.score:.2%} over {len(one.errors)} forecasts, AICc {one.aicc:.1f}")
for name, why in refused.items():
    print(f"{name}: {why}")
print("best forecaster:", winner)

# %% [markdown]
# ## Look
#
# Left: the compute-optimal sizes of the planted runs, read in two ways, each with its power law. They meet
# where embeddings stop to count. Right: a of our own runs under each convention. All move together as their
# resamples do, which is why a small shift can be sure where each interval is wide.

# %%
ends = [(one, one.optimum.points) for one in (planted[0], planted[-1]) if one.optimum]
with style.look():
    figure, axes = style.canvas(1, 2, height=3.6, width_ratios=[3, 2])
    left, right = axes[0]
    for (one, at), colour in zip(ends, style.PALETTE, strict=False):
        line = np.exp(np.polyval(np.polyfit(np.log(at.C), np.log(at.N), 1), np.log(at.C)))
        left.plot(at.C, at.N, "o", color=colour, alpha=0.5)
        left.plot(at.C, line, color=colour, label=f"{one.N} along {one.C}: a = {one.a:.2f}")
    style.flops(left, "x", pd.concat([at.C for _, at in ends]))
    style.counts(left, "y", pd.concat([at.N for _, at in ends]))
    left.set(xlabel="C, training FLOPs as each counts", ylabel="N_opt, parameters as each counts")
    left.legend()
    for k, one in enumerate(reversed(counted)):
        right.plot(one.interval95["a"], [k, k], color=style.FAINT)
        right.plot(one.a, k, "o", color=style.PALETTE[2])
    right.set_yticks(range(len(counted)), [f"{one.N}, {one.C}" for one in reversed(counted)])
    right.set_xlabel("a of our own runs, 95 % interval")
    style.titles(axes[0], ["one law, counted in two ways", "our own runs"])
    display(SVG(style.svg(figure, "conventions")))

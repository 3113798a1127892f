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
# # Three architectures compared
#
# Is one architecture better than another, in which parameters of the law, and what is that worth in compute?
# The runs are those of `make demo`: a causal decoder, a prefix decoder and an encoder-decoder, six small
# sizes each, on the same text, compared on the loss of the same target tokens.

# %%
from pathlib import Path

import pandas as pd
from IPython.display import SVG, display

from analysis import compare, load
from analysis.fits import undetermined
from analysis.laws.chinchilla import Chinchilla
from analysis.plots import multiplier, style

here = Path.cwd()
root = next(folder for folder in (here, *here.parents) if (folder / "docs/results/demo").is_dir())
runs = load(root / "docs/results/demo/runs.csv")
about = runs.groupby("architecture").agg(
    runs=("loss", "size"), sizes=("N", "nunique"), least_loss=("loss", "min"), most_C=("C", "max")
)
print(about.to_string(float_format="{:.4g}".format))

# %% [markdown]
# An architecture comes with its objective here, so a difference is that of the pair. `prefix_lm` learns from
# target tokens only: at equal D it has half the labels.

# %%
labels = (runs.D_target / runs.D).groupby([runs.architecture, runs.objective]).median()
print(labels.round(2).to_string())

# %% [markdown]
# ## Compare
#
# One law, fitted to the groups with parameters in common or apart. Tests simulate tables from the narrower
# hypothesis; differences and compute are read off joint fits to resampled runs. `shared` says what these take
# to be common: here E, since the entropy of a text is the text's, whoever reads it. Whether that holds is
# tested too. 100 resamples and 25 simulated tables a test, for speed: no p can be below 1/26.

# %%
knobs = {"shared": ("E",), "points": ("depth", "C"), "bootstrap": 100, "simulations": 25}
found = compare(runs, Chinchilla(), by="architecture", **knobs)
for sentence in found.verdict:
    print(sentence)

# %% [markdown]
# ## Which parameters are shared?
#
# The best of all hypotheses that were fitted, by AICc above the least. Up to 2 they are about as good, beyond
# 10 there is little left for them (Burnham & Anderson 2002). Where a test calls a parameter open, one of
# several differs, and these runs cannot say which.

# %%
aicc = pd.Series({one.name: one.aicc for one in found.hypotheses}, dtype=float).sort_values()
print((aicc - aicc.iloc[0]).head(6).round(1).to_string())

# %% [markdown]
# ## What is not determined
#
# Each group's own fit, and the parameters that its runs leave open in the joint one. A number that is not
# determined is not a small one: it is one not to quote.

# %%
for group, alone in found.alone.items():
    print(f"{group}, {alone.n} runs: {alone.status}")
print("together:", found.fit.status)
print("not determined:", ", ".join(undetermined(found.fit)) or "none")

# %% [markdown]
# ## What a FLOP buys
#
# The compute with which each group reaches the loss of the reference, as a multiple of the reference's own.
# Where the band includes 1 the runs do not say which is cheaper.

# %%
for group, one in found.multipliers.items():
    inside = one.table[one.table.inside]
    row = inside.iloc[len(inside) // 2]
    told = "not determined: the interval includes 1" if row.m_lo95 <= 1 <= row.m_hi95 else "the runs tell"
    print(
        f"{group} at C = {row.C:.2g}: {row.m:.2f} (95 % {row.m_lo95:.2f} to {row.m_hi95:.3g}) times; {told}"
    )

# %%
with style.look():
    drawn = multiplier.draw(found)
    assert drawn is not None, found.no_multiplier
    figure, caption = drawn
    display(SVG(style.svg(figure, "multiplier")))
print(caption)

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
# # Fit your own table
#
# From a CSV with column names of its own to a law one may quote: what was left out, whether the minimum is
# one, how sure each parameter is, how well the law forecasts, and which runs to do next.
#
# So that this runs anywhere, the first cell writes a table from a law we know: 14 runs with three checkpoints
# each, and one run that diverged. **For your own, skip that cell and set `path` and `columns`.**

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import SVG, display

from analysis import design, fit, forecast, load
from analysis.account import Account
from analysis.designing.candidates import between
from analysis.fits import verdict
from analysis.forecasts import audit
from analysis.laws.chinchilla import Chinchilla
from analysis.plots import fitted, profiles, style
from analysis.report.fit_words import advice, record
from analysis.tables.hygiene import inspect, unchecked

law = Chinchilla()
planted = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}

rng = np.random.default_rng(0)
N = np.geomspace(1e7, 1e9, 7).repeat(2)
ends = N * np.tile([15.0, 150.0], 7)
rows = pd.DataFrame({"Run": np.arange(14).repeat(3), "Model Size": N.repeat(3)})
rows["Tokens"] = ends.repeat(3) * np.tile([0.25, 0.5, 1.0], 14)
clean = law.predict(planted, {"N": rows["Model Size"], "D": rows["Tokens"]})
noise = rng.normal(0, 0.003, 14).repeat(3) + rng.normal(0, 0.002, 42)  # a run's own, and a checkpoint's
rows["Val Loss"], rows["State"] = clean * np.exp(noise), "finished"
rows.loc[len(rows)] = [14, 1e8, 2e9, 8.7, "diverged"]

path = Path(tempfile.mkdtemp()) / "runs.csv"
rows.to_csv(path, index=False)
rows.tail(4)

# %% [markdown]
# ## Load
#
# `columns` maps our names to yours; what is not named comes along as it is. N are parameters, D training
# tokens, loss is in nats per token, and C = 6 N D is filled in where it is missing. The hash says later which
# bytes a result was made from.

# %%
columns = {"N": "Model Size", "D": "Tokens", "loss": "Val Loss", "run": "Run", "status": "State"}
runs = load(path, columns)
print(f"{len(runs)} rows, {runs.attrs['filled']}, sha256 {runs.attrs['sha256'][:12]}")

# %% [markdown]
# ## What is wrong with the table
#
# Rows that no law should see are dropped, by rules and with a reason; all else is a warning and stays.
# Checkpoints of one run share its luck, so they are not independent rows. What the columns cannot tell is
# listed too: no flag is no proof.

# %%
for flag in inspect(runs):
    print(f"{flag.severity}: {flag.kind}, {len(flag.rows)} rows: {flag.why}")
print("not checked, for want of columns:", ", ".join(unchecked(runs)))

# %% [markdown]
# ## Fit
#
# The defaults are those of `python -m experiments.fit`: a Huber loss on log L, many starts, and resamples
# drawn by run, because the table has several rows a run. Here 200 resamples in place of 1,000, for speed.

# %%
few = {"bootstrap": 200}
found = fit(runs, law, **few)
print("verdict:", verdict(found))
for sentence in advice(found):
    print(sentence)
print("left out:", "; ".join(f"{drop['count']} rows, {drop['why']}" for drop in found.dropped))

# %% [markdown]
# The certificate is why to believe that: the gradient at the minimum, other minima that the starts ended in,
# parameters at a bound, and the condition number, which says how nearly some of them can be traded.

# %%
certificate = found.certificate
for name in ("gradient_norm", "condition_number", "bounds_hit", "unidentified"):
    print(f"{name}: {certificate[name]}")
print(f"distinct minima: {len(certificate['minima'])}")

# %% [markdown]
# ## How sure
#
# Each parameter with its interval from resamples, beside what was planted. A and B are known far less well
# than the exponents they come with; quote predictions rather than them.

# %%
for name, (low, high) in found.interval95.items():
    print(f"{name} = {found.params[name]:.4g} (95 % {low:.4g} to {high:.4g}), planted {planted[name]:g}")
best = found.optimum(1e21)
print(f"a = {best['a']:.3f} (95 % {best['interval95']['a'][0]:.3f} to {best['interval95']['a'][1]:.3f})")

# %% [markdown]
# ## Does it forecast?
#
# A law is for runs larger than those it was fitted to. So the larger rows are held out, at rolling cuts along
# C, and forecast by fits that did not see them; the share inside the 95 % interval should be near 95. A cut
# may leave checkpoints of one run on both sides, which flatters it a little.

# %%
past = audit(runs, law, axes=("C",), resamples=100, delta=found.delta, seed=found.seed)
print(record(past))

# %% [markdown]
# ## Forecast
#
# Two intervals: `mean` holds the law's loss there, `run` the loss of one new run, which has luck of its own.
# Judge a run by the second. `extrapolates` says which points lie beyond the fitted rows.

# %%
points = pd.DataFrame({"N": [5e8, 3e9, 1e10], "D": [2e10, 6e10, 2e11]})
print(forecast(found, points).round(4).to_string(index=False))

# %% [markdown]
# ## The next runs
#
# Of all runs one could do within a budget, those that make a target surest: here the exponent a of
# N_opt ~ C^a. Naive designs of equal cost stand beside, so that the gain can be judged before it is paid for.

# %%
could = between(runs, N=[1e7, 4e9], D=[2e8, 4e11], points=8, flops=6, per_run=1e21)
plan = design(found, runs, could, flops_budget=3e21, target="a", count=6, draws=50)
print(plan.table().to_string(index=False, float_format="{:.3g}".format))
print("\n".join([*plan.sentences(), plan.status]))

# %% [markdown]
# ## Look
#
# First whether the law describes the rows at all, then how well each parameter is held: the profile is the
# rise of the criterion when that parameter is kept elsewhere, and it shows what an interval hides.

# %%
told = Account(runs, law, found, None, past, {}, None, None)
with style.look():
    for name, plot in (("fitted", fitted), ("profiles", profiles)):
        drawn = plot.draw(told)
        assert drawn is not None
        figure, caption = drawn
        display(SVG(style.svg(figure, name)))
        print(caption)

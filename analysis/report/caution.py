"""What a comparison of architectures in a study compares: each comes with its objective, labels and cost."""

import pandas as pd

from analysis.report.study import Study


def caution(study: Study) -> str:
    """Sentences on what differs between the architectures besides the architecture. Empty for one alone."""
    runs = study.finished
    if len(study.architectures) < 2:
        return ""
    pairs = sorted(set(zip(runs.architecture, runs.objective, strict=True)))
    told = [f"{a.replace('_', ' ')} with {objective}" for a, objective in pairs]
    text = (
        f"An architecture comes with its objective here: {', '.join(told)}. A difference is that of the pair."
    )
    if (runs.objective == "prefix_lm").any():
        share = (runs.D_target / runs.D).groupby(runs.architecture).median()
        text += (
            " prefix_lm learns from target tokens only, so that at equal D it has fewer labels: "
            "median D_target/D "
            + ", ".join(f"{value:.2f} ({str(a).replace('_', ' ')})" for a, value in share.items())
            + "."
        )
    saved = _saved(runs)
    if saved is not None and saved > 0:
        text += (
            " At equal N and D the counted C of the prefix decoder is below the causal decoder's "
            f"(by {saved:.0%}, median over common sizes), as its two attention parts skip one rectangle."
        )
    return text


def _saved(runs: pd.DataFrame) -> float | None:
    """Share of the causal decoder's FLOPs per token that the prefix decoder of the same N does without."""
    per_token = (runs.C / runs.D).groupby([runs.architecture, runs.N]).median().unstack("architecture")
    if not {"causal_decoder", "prefix_decoder"} <= set(per_token):
        return None
    saved = (1 - per_token.prefix_decoder / per_token.causal_decoder).dropna()
    return None if saved.empty else float(saved.median())

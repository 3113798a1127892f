"""The pages of claims: each has a test that is there or a reason, and one verdict in both languages."""

import json
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import pandas as pd
import pytest
from commands import ROOT

VERDICTS = {
    "supported at our scale": "在我们的规模上成立",
    "not supported": "不成立",
    "undecided at our scale": "在我们的规模上未定",
    "mis-stated": "表述有误",
    "cannot be tested here": "无法在此检验",
}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")


class Claim(NamedTuple):
    title: str
    claim: str
    test: str
    showed: str
    verdict: str


def claims(page: str, *words: str) -> dict[int, Claim]:
    """By number. words: how the page calls claim, test, what was shown and verdict."""
    parts = r"\s+".join(rf"\*\*{word}[.。]\*\*\s*(.*?)" for word in words)
    form = re.compile(rf"(.*?)\n{parts}\s*\Z", re.S)
    found = {}
    for section in re.split(r"^### ", (ROOT / "docs" / page).read_text(), flags=re.M)[1:]:
        number, body = section.split(". ", 1)
        match = form.match(re.split(r"^## ", body, flags=re.M)[0])
        assert match, section
        found[int(number)] = Claim(*(" ".join(group.split()) for group in match.groups()))
    return found


ENGLISH = claims("claims.md", "Claim", "Test", "Showed", "Verdict")
CHINESE = claims("claims.zh.md", "论断", "检验", "结果", "判定")


def commands(test: str) -> list[str]:
    return [" ".join(command.split()) for command in re.findall(r"`([^`]+)`", test)]


def test_there_are_as_many_claims_in_both_languages():
    assert list(ENGLISH) == list(CHINESE) == list(range(1, len(ENGLISH) + 1))
    assert len(ENGLISH) > 25


@pytest.mark.parametrize("number", ENGLISH)
def test_a_claim_has_a_command_that_is_there_or_a_reason(number):
    test = ENGLISH[number].test
    if test.startswith("none: "):
        assert CHINESE[number].test.startswith("无：")
        assert len(test) > 40
        return
    assert commands(test)
    for command in commands(test):
        words = command.split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
        elif words[2] == "pytest":
            assert all((ROOT / file).is_file() for file in words[3:])
        else:
            assert words[:2] == ["python", "-m"]
            assert find_spec(words[2])
            for study in re.findall(r"study=(\w+)", command):
                assert (ROOT / f"conf/study/{study}.yaml").is_file()
    assert commands(test) == commands(CHINESE[number].test)


@pytest.mark.parametrize("number", ENGLISH)
def test_a_claim_has_a_verdict_the_same_in_both_languages(number):
    ours, theirs = ENGLISH[number].verdict, CHINESE[number].verdict
    said = [name for name in VERDICTS if name in ours]
    assert said
    assert said == [name for name, word in VERDICTS.items() if word in theirs]


@pytest.mark.parametrize("number", ENGLISH)
def test_a_claim_shows_the_same_figures_in_both_languages(number):
    ours, theirs = ENGLISH[number].showed, CHINESE[number].showed
    assert sorted(NUMBER.findall(ours)) == sorted(NUMBER.findall(theirs))
    assert "@" not in ours + ENGLISH[number].verdict
    links = re.findall(r"\]\(([^)]+)\)", ours)
    assert links == re.findall(r"\]\(([^)]+)\)", theirs)
    assert all((ROOT / "docs" / link).exists() for link in links)


def committed(file: str) -> Any:
    return json.loads((ROOT / "docs/results" / file).read_text())


def spoken(value: float, ends: Sequence[float], digits: int) -> str:
    return f"{value:.{digits}f} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def multipliers() -> Iterator[str]:
    for one in committed("architectures/compare.json")["multipliers"].values():
        for row in one["table"][:2]:
            yield spoken(row["m"], (row["m_lo95"], row["m_hi95"]), 2)


def valleys() -> Iterator[str]:
    made = committed("architectures/compare.json")["valleys"]
    at = {(one["group"], f"{one['C']:.1e}"): one for one in made}
    for group in ("encoder_decoder", "causal_decoder"):
        one = at[group, "4.4e+10"]
        yield spoken(one["excess"], one["excess95"], 3)
    for C in ("4.4e+10", "2.3e+11"):
        one = at["encoder_decoder", C]
        yield spoken(one["ratio"], one["ratio95"], 2)


def exponents() -> Iterator[str]:
    fits = committed("architectures/fits.json")
    for one in fits["frontier"].values():
        found = one["closed_form_6ND"]
        yield spoken(found["a"], found["interval95"]["a"], 3)
    for one in fits["isoflop"].values():
        yield f"{one['exponent']['a']:.3f}"
        yield f"{one['exponent']['stderr']:.3f}"


def forecasts() -> Iterator[str]:
    laws = committed("architectures/laws.json")
    for one in laws.values():
        assert one["law"] == "kaplan"
        yield f"{100 * one['audit']['score']:.2f}"
        yield f"{100 * one['losers']['chinchilla']['score']:.2f}"


def mixtures() -> Iterator[str]:
    turns, causal, middle, ul2 = committed("objectives/objectives.json")["differences"][:4]
    for one, said in (
        (turns, ("below", "above", " prefix LM alone in prefix mode by ")),
        (causal, ("below", "above", " causal LM alone in causal mode by ")),
        (middle, ("gains", "costs", " causal LM ")),
        (ul2, ("gains", "costs", " prefix LM ")),
    ):
        less, more, than = said
        ends = sorted((abs(one["low"]), abs(one["high"])))
        yield (less if one["mean"] < 0 else more) + than + spoken(abs(one["mean"]), ends, 4)


def trends(*figures: str, digits: int = 3) -> Iterator[str]:
    found = {one["figure"]: one for one in committed("mechanisms/mechanisms.json")["trends"]}
    for figure in figures:
        yield f"N^{spoken(found[figure]['slope'], found[figure]['interval95'], digits)}"


def variances() -> Iterator[str]:
    yield from trends("gradient.variance")
    yield from trends("gradient.relative_variance", digits=2)


def forgotten() -> Iterator[str]:
    laws = committed("stages/stages.json")["laws"]
    told = [one["law"] for one in laws if one["measure"] == "forgotten" and "shift" in one["stage"]]
    assert len(told) == 4
    for law in told:
        yield spoken(law["k"], law["interval95"]["k"], 4)


def rewards() -> Iterator[str]:
    rows = pd.read_csv(ROOT / "docs/results/stages/stages.csv")
    tuned = rows[(rows.stage == "answers on instructions") & (rows.D == 800_000)].set_index("N").exact
    for N in (53_536, 166_512):
        yield f"{100 * tuned[N]:.1f} %"
    yield f"at most {100 * tuned.drop([53_536, 166_512]).max():.1f} %"


def ratios(*places: int) -> Iterator[str]:
    said = committed("efficiency/results.json")["claims"]
    for place in places:
        found = said[place]["found"]
        counted = found["low"] == found["high"]
        ends = (found["low"], found["high"])
        yield f"{found['value']:.3f}" if counted else spoken(found["value"], ends, 3)


def thresholds() -> Iterator[str]:
    for one in committed("emergence/emergence.json"):
        if one["metric"] == "exact" and one["verdict"] == "emergent":
            yield f"{one['threshold']:,.0f} [{one['interval95'][0]:,.0f}, {one['interval95'][1]:,.0f}]"


def halves() -> Iterator[str]:
    """And where they are in other seeds: within 0.2 decades, for all five tasks in the prefix decoder."""
    again = [one for one in committed("emergence/details.json")["again"] if one["metric"] == "exact"]
    places = {
        one["task"]: one["halfway"]
        for one in again
        if not one["task"].startswith("bigram") and one["halfway"]["decades"] is not None
    }
    farthest = max(abs(one["decades"]) for one in places.values())
    assert farthest < 0.2
    assert sum(task.endswith("prefix_decoder") for task in places) == 5
    assert f"at most {farthest:.2f} decades away" in ENGLISH[9].showed
    for task, one in places.items():
        if not task.startswith(("fact_recall_256", "modular")):
            low, high = one["interval95"]
            yield f"{one['first']:,.0f} [{low:,.0f}, {high:,.0f}]"


def hops() -> Iterator[str]:
    found = pd.read_csv(ROOT / "docs/results/depth_hops/scores.csv")
    exact = found.loc[found.metric == "exact"]
    shallow = exact.loc[exact.depth == 1].groupby(["model", "task"]).score.mean()
    assert (shallow["causal_decoder"].to_numpy() == shallow["prefix_decoder"].to_numpy()).all()
    for architecture in ("causal_decoder", "encoder_decoder"):
        yield from (f"{100 * share:.1f}" for share in shallow[architecture])
    yield f"{100 * exact.loc[exact.depth > 1].score.min():.1f} % of all three"


def stored() -> Iterator[str]:
    for one in committed("emergence/capacity.json")["capacity"]:
        if one["task"] == "fact_recall_1024" and one["group"] != "encoder decoder":
            yield spoken(one["bits"], one["interval95"], 3)


def gaps() -> Iterator[str]:
    found = committed("generalisation/generalisation.json")
    cells = {(cell["epochs"], cell["N"]): cell for cell in found["cells"]}
    assert cells[8, 6_736]["bound"] < 1 <= cells[8, 53_536]["bound"]
    for place in ((8, 6_736), (8, 166_512), (1, 166_512)):
        cell = cells[place]
        yield f"{cell['gap_error']:+.3f} [{cell['error_lo95']:+.3f}, {cell['error_hi95']:+.3f}]"
    yield f"{cells[1, 166_512]['bound']:.2f}"
    grown = found["growth"]["causal_decoder, 8"]
    yield f"N^{spoken(grown['exponent'], (grown['low'], grown['high']), 2)}"


def energy() -> Iterator[str]:
    gpt3 = committed("costs/cost.json")["models"]["gpt3"]
    for name in ("mwh", "tonnes"):
        low, high = gpt3[f"{name}95"]
        yield f"[{low:,.0f}, {high:,.0f}]"


def abilities() -> Iterator[str]:
    found = json.loads((ROOT / "bench/results/emergence.json").read_text())["forecasts"]["obsscaling, C"]
    moved = found["median of all, by family"]
    yield f"on {moved['wins_over_all']} of {moved['curves']} tasks"
    yield f"{moved['mean_error']:.3f} against {found['nearer baseline']['mean_error']:.3f}"
    yield f"on {moved['wins']}, with {moved['error']:.3f}"


FIGURES = {
    3: multipliers,
    4: lambda: ratios(0, 1, 2),
    5: lambda: ratios(3, 4),
    6: lambda: ratios(5, 6),
    7: lambda: ratios(7, 8),
    8: lambda: ratios(9),
    9: halves,
    13: mixtures,
    14: rewards,
    15: forgotten,
    16: forecasts,
    18: exponents,
    20: abilities,
    19: valleys,
    21: thresholds,
    22: hops,
    23: lambda: trends("basin.rise_0.2", "basin.width", "curvature.top_eigenvalue", "curvature.trace"),
    24: variances,
    25: lambda: trends("representations.last.dimension_1000", "representations.last.rank_1000"),
    28: gaps,
    29: stored,
    32: energy,
}


@pytest.mark.parametrize("number", FIGURES)
def test_a_claims_figures_are_those_of_the_committed_results(number):
    figures = list(FIGURES[number]())
    assert figures
    for figure in figures:
        assert figure in ENGLISH[number].showed, figure

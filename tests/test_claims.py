"""The pages of claims: each has a test that is there or a reason, and one verdict in both languages."""

import re
from importlib.util import find_spec
from typing import NamedTuple

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

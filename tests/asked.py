"""Tasks as conf/ has them, their items as text, and models that answer by another rule than learning."""

import re
from collections.abc import Callable
from itertools import combinations

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from scalelaw.contracts import Batch
from scalelaw.tasks.source import TaskSource
from scalelaw.tasks.task import Items, Task

ROOT = __file__.rpartition("/tests/")[0]


def source(task: str, *overrides: str) -> TaskSource:
    with initialize_config_dir(f"{ROOT}/conf", version_base="1.3"):
        return instantiate(compose("train", ["data=task", f"data/task={task}", *overrides]).data)


def texts(task: Task, items: Items) -> list[tuple[str, str]]:
    """(question, answer) of each item."""
    write = lambda row: "".join(task.symbols[symbol] for symbol in row)  # noqa: E731
    return [(write(q), write(a)) for q, a in zip(items.questions, items.answers, strict=True)]


class Answering:
    """A model whose logits at each asked place are `rule(place, label)`; the place counts from 0."""

    def __init__(self, rule: Callable[[int, torch.Tensor], torch.Tensor]) -> None:
        self.rule = rule

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, batch: Batch) -> torch.Tensor:
        asked = batch.labels[:, batch.start :]
        return torch.stack([self.rule(place, asked[:, place]) for place in range(asked.shape[1])], dim=1)


# --- solvers, from the text alone


def induction(question: str) -> str:
    told = dict(re.findall(r"([a-zA-Z])(\d+ )", question))
    return told[question[-1]]


def recall(question: str) -> str:
    *told, key = question.split()
    return dict(told)[key]


def hops(question: str) -> str:
    *told, k, at = question.split()
    steps = dict(told)  # pairs of letters
    for _ in range(int(k)):
        at = steps[at]
    return at


def addition(question: str) -> str:
    first, second = question.rstrip("=").split("+")
    return f"{int(first) + int(second):0{len(first) + 1}d}"


def modular_addition(question: str) -> str:
    return f"{sum(map(int, question.split())) % 31} "


def bracket_depth(question: str) -> str:
    return f" {question.count('(') - question.count(')')}"


UP = {"mother": "D", "father": "D", "daughter": "U", "son": "U", "sister": "UD", "brother": "UD"}
WAYS = {
    "D": "mother father",
    "U": "daughter son",
    "UD": "sister brother",
    "DD": "grandmother grandfather",
    "UU": "granddaughter grandson",
    "DU": "wife husband",
    "UUD": "niece nephew",
    "UDD": "aunt uncle",
}


def kinship(question: str) -> str:
    """By the way through a family tree, U to a parent, D to a child; down, up and down again is down."""
    told = re.findall(r"(\w+) is (\w+)'s (\w+)\.", question)
    who, whose = re.findall(r"(\w+) is (\w+)'s$", question)[0]
    first, second = next((r, s) for a, b, r in told for c, d, s in told if a == who and b == c and d == whose)
    way = UP[first] + UP[second]
    while "DUD" in way or "UDU" in way:
        way = way.replace("DUD", "D").replace("UDU", "U")
    man = first in ("father", "son", "brother")
    return f" {WAYS[way].split()[man]}"


SOLVERS = {
    "induction": induction,
    "recall": recall,
    "hops": hops,
    "addition": addition,
    "addition_reversed": lambda question: addition(question)[::-1],
    "modular_addition": modular_addition,
    "bracket_depth": bracket_depth,
    "kinship": kinship,
}


def parities(items: list[tuple[str, str]], subset: int) -> dict[str, list[tuple[int, ...]]]:
    """For each task of the text, every set of `subset` places whose parity gives all of its answers."""
    by_task: dict[str, list[tuple[list[str], str]]] = {}
    for question, answer in items:
        task, letters = question.split()
        bits = [str(int(letter.isupper())) for letter in letters]
        by_task.setdefault(task, []).append((bits, answer))
    return {
        task: [
            places
            for places in combinations(range(len(rows[0][0])), subset)
            if all(str(sum(int(bits[i]) for i in places) % 2) == answer for bits, answer in rows)
        ]
        for task, rows in by_task.items()
    }

"""A task's held-out items as an exam: tokens to be read, tokens to be said, and what a guess scores."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch

from scalelaw.contracts import ANSWER, Exam
from scalelaw.tasks.task import Items, Task


def exam(task: Task, items: Items, tokens: Callable[[np.ndarray], np.ndarray]) -> Exam:
    """The exam over these items. tokens: (n, symbols) to (n, ...) tokens, negative where there is none."""
    asked, right = tokens(items.questions), tokens(items.answers)
    by_length: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    for question, answer in zip(asked, right, strict=True):
        question, answer = question[question >= 0], answer[answer >= 0]
        by_length[len(question), len(answer)].append(np.concatenate((question, [ANSWER], answer)))
    return Exam(
        papers=tuple(
            (torch.from_numpy(np.stack(rows).astype(np.int64)), length + 1)
            for (length, _), rows in sorted(by_length.items())
        ),
        chance=exact_by_guess(task, items),
        **_unigram(right),
        memory=task.memory(),
    )


def exact_by_guess(task: Task, items: Items) -> float:
    """Share of items that the best of these has right: one answer to all, or any of the task's shortcuts."""
    _, counts = np.unique(items.answers, axis=0, return_counts=True)
    shortcuts = task.shortcuts(items.questions).values()
    shares = [(guess == items.answers).all(axis=1).mean() for guess in shortcuts]
    return float(max([counts.max() / len(items.answers), *shares]))


def _unigram(answers: np.ndarray) -> dict[str, float]:
    """Mean NLL and target Brier a token of the frequencies that tokens have at each place of the answers.

    answers: (n, places), negative where there is no token.
    """
    said = []
    for column in answers.T:
        there = column[column >= 0]
        _, index, counts = np.unique(there, return_inverse=True, return_counts=True)
        said.append((counts / len(there))[index])
    p = np.concatenate(said)
    return {"chance_nll": float(-np.log(p).mean()), "chance_brier": float(((1 - p) ** 2).mean())}

"""Modular addition: `31+90=24` modulo 97. Grokking, at a threshold in the share of pairs trained on.

Power et al. 2022; Nanda et al. 2023.
"""

import numpy as np

from scalelaw.tasks.task import Items, Rule, at_least


class ModularAddition(Rule):
    """modulus: p; there are p ** 2 questions. held_out: the share of them not trained on."""

    def __init__(self, *, modulus: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("modular_addition", 2, modulus=modulus)
        self.name = f"modular_addition_{modulus}"
        self.modulus = modulus
        self.symbols = [f"{i} " for i in range(modulus)]

    @property
    def questions(self) -> int:
        return self.modulus**2

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        questions = rng.integers(self.modulus, size=(n, 2))
        return Items(questions, questions.sum(axis=1, keepdims=True) % self.modulus)

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        return {"one summand": questions[:, :1]}

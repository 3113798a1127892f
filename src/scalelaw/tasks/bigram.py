"""The negative control: what comes next in text of a Markov chain. Learnt bit by bit, without a threshold."""

import numpy as np

from scalelaw.tasks.task import Items, Rule, at_least


class Bigram(Rule):
    """A chain over `states`, each followed by the others with probabilities drawn once, from a Dirichlet.

    concentration: of the Dirichlet; the smaller, the fewer likely successors. length: states of a question.
    The successor is drawn, not decided: no model's exact match exceeds the likeliest successor's share.
    """

    def __init__(self, *, states: int, concentration: float, length: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("bigram", 2, states=states)
        at_least("bigram", 1, length=length)
        self.name = f"bigram_{states}"
        self.states, self.length = states, length
        self.symbols = [f"w{i} " for i in range(states)]
        rng = np.random.default_rng([seed, 3])
        self.transitions = rng.dirichlet(np.full(states, concentration), size=states)
        self.cumulative = self.transitions.cumsum(axis=1)

    @property
    def questions(self) -> int:
        return self.states**self.length

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        text = np.empty((n, self.length + 1), dtype=np.int64)
        text[:, 0] = rng.integers(self.states, size=n)
        for i, drawn in enumerate(rng.random((self.length, n))):
            successor = (self.cumulative[text[:, i]] < drawn[:, None]).sum(axis=1)
            text[:, i + 1] = np.minimum(successor, self.states - 1)
        return Items(text[:, :-1], text[:, -1:])

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        return {"repeat": questions[:, -1:]}

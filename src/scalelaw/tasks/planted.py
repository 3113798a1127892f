"""A language whose truth is known: facts with a power-law spectrum, said with noise.

An item is a key of two digits, the answer marker, the key's value, the separator. The key of rank k comes
with probability p_k ~ k ** -(alpha + 1). Its value is one of V, drawn once; but a share `noise` of its
sayings name another, all equally likely. Items are independent, and which digits a rank has is random.

Exact: the probability of every token given all before it in a window that begins with an item, and so the
loss of whoever knows the process on any set of windows. No model's expected loss is lower: this is the
irreducible E of a scaling law. Measured on the windows of a model's loss, it shares their sampling noise.
Exact too: `excess`, the loss of knowing the commonest facts only.
Asymptotic: the exponents. If a model of size N holds the n ~ N commonest facts, its excess falls as
N ** -alpha; if a fact is learnt once it was seen a fixed number of times, as D ** (-alpha / (1 + alpha))
(Hutter 2021; Michaud et al. 2023, The quantization model). Both need a long tail: of K facts, n far below K.
"""

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Task, at_least, zipf


class Planted(Task):
    """base: digits, base ** 2 keys. values: V. alpha, noise: as above. seed: decides facts and spelling."""

    def __init__(self, *, base: int, values: int, alpha: float, noise: float, seed: int) -> None:
        at_least("planted", 2, base=base, values=values)
        if alpha <= 0 or not 0 <= noise < 1:
            raise BadInput(f"planted: alpha={alpha} is above 0, and noise={noise} in [0, 1)")
        self.name = "planted"
        self.base, self.values, self.alpha, self.noise = base, values, alpha, noise
        self.symbols = (
            [f"a{i} " for i in range(base)]
            + [f"b{i} " for i in range(base)]
            + [f"v{i}" for i in range(values)]
        )
        self.space = base * base
        rng = np.random.default_rng([seed, 4])
        self.frequency = zipf(self.space, alpha + 1)
        self.key = rng.permutation(self.space)  # of each rank
        self.value = rng.integers(values, size=self.space)  # of each key
        by_key = np.empty(self.space)
        by_key[self.key] = self.frequency
        self.by_digit = by_key.reshape(base, base)

    def training(self, rng: np.random.Generator, n: int) -> Items:
        key = self.key[rng.choice(self.space, size=n, p=self.frequency)]
        wrong = (self.value[key] + rng.integers(1, self.values, size=n)) % self.values
        said = np.where(rng.random(n) < self.noise, wrong, self.value[key])
        digits = np.stack((key // self.base, self.base + key % self.base), axis=1)
        return Items(digits, 2 * self.base + said[:, None])

    def testing(self, rng: np.random.Generator, n: int) -> Items:
        """New text of the same language: facts have to be remembered, so none is held back."""
        return self.training(rng, n)

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def log_probability(self, items: Items) -> tuple[np.ndarray, np.ndarray]:
        """Nats of each symbol given all before it: (n, 2) of the questions and (n, 1) of the answers."""
        first, second = items.questions[:, 0], items.questions[:, 1] - self.base
        joint, marginal = self.by_digit[first, second], self.by_digit.sum(axis=1)[first]
        right = items.answers[:, 0] - 2 * self.base == self.value[first * self.base + second]
        with np.errstate(divide="ignore"):  # without noise, what is wrong never comes
            said = np.log(np.where(right, 1 - self.noise, self.noise / (self.values - 1)))
        return np.log(np.stack((marginal, joint / marginal), axis=1)), said[:, None]

    def entropy(self) -> tuple[float, float]:
        """Nats a key and nats a value that whoever knows the process is still surprised by, on average."""
        key = -float((self.frequency * np.log(self.frequency)).sum())
        return key, _entropy(self.noise) + self.noise * float(np.log(self.values - 1))

    def excess(self, known: int) -> float:
        """Nats an item lost by knowing the `known` commonest facts only, and of the others nothing at all."""
        return float(self.frequency[known:].sum() * (np.log(self.values) - self.entropy()[1]))


def _entropy(p: float) -> float:
    return 0.0 if p in (0, 1) else float(-p * np.log(p) - (1 - p) * np.log1p(-p))

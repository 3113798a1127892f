"""Addition of numbers with several digits: `057+962=1019`, or with the sum's last digit first, `9101`.

Reversed, a digit needs its own column and one carry (Lee et al. 2023, Teaching arithmetic to small
transformers). Exact match asks for all digits at once, the textbook case of a jump that the metric makes
(Schaeffer et al. 2023).
"""

import numpy as np

from scalelaw.tasks.task import UNBOUNDED, Items, Rule, at_least

PLUS, EQUALS = 10, 11


class Addition(Rule):
    """digits: of each summand, leading zeros written; the sum has one more. reverse: write it backwards."""

    def __init__(self, *, digits: int, reverse: bool, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("addition", 1, digits=digits)
        self.name = f"addition{'_reversed' if reverse else ''}_{digits}"
        self.digits, self.reverse = digits, reverse
        self.symbols = [*"0123456789", "+", "="]

    @property
    def questions(self) -> int:
        return min(100**self.digits, UNBOUNDED)

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        first, second = rng.integers(10, size=(2, n, self.digits))
        plus, equals = np.full((n, 1), PLUS), np.full((n, 1), EQUALS)
        total = np.zeros((n, self.digits + 1), dtype=np.int64)
        total[:, 1:] = first + second
        for column in range(self.digits, 0, -1):
            total[:, column - 1] += total[:, column] // 10
        questions = np.concatenate((first, plus, second, equals), axis=1)
        return Items(questions, self._written(total % 10))

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """Add the columns and forget the carries."""
        first, second = questions[:, : self.digits], questions[:, self.digits + 1 : -1]
        total = np.pad((first + second) % 10, ((0, 0), (1, 0)))
        return {"no carries": self._written(total)}

    def _written(self, total: np.ndarray) -> np.ndarray:
        return total[:, ::-1] if self.reverse else total

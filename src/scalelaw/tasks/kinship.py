"""Kinship in words: `Ann is Bob's mother. Bob is Cid's father. Ann is Cid's` asks for `grandmother`.

Two-hop composition over a table of relations, as in CLUTRR (Sinha et al. 2019), with statements that do not
matter.
"""

import numpy as np

from scalelaw.contracts import BadInput
from scalelaw.tasks.task import Items, Rule, at_least, several, shuffled

NAMES = ["Ann", "Bob", "Cid", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jim", "Kay", "Leo", "May", "Ned"]
NAMES += ["Ola", "Pam", "Ray", "Sue", "Tom", "Una", "Vic", "Wes", "Zoe"]
# A relation is what the first is to the second, for a woman and for a man.
GIVEN = {"parent": ("mother", "father"), "child": ("daughter", "son"), "sibling": ("sister", "brother")}
COMPOSED = {
    ("parent", "parent"): ("grandmother", "grandfather"),
    ("parent", "child"): ("wife", "husband"),
    ("parent", "sibling"): GIVEN["parent"],
    ("child", "parent"): GIVEN["sibling"],
    ("child", "child"): ("granddaughter", "grandson"),
    ("child", "sibling"): ("niece", "nephew"),
    ("sibling", "parent"): ("aunt", "uncle"),
    ("sibling", "child"): GIVEN["child"],
    ("sibling", "sibling"): GIVEN["sibling"],
}
RELATIONS = [word for pair in GIVEN.values() for word in pair]
ANSWERS = sorted({word for pair in COMPOSED.values() for word in pair})


class Kinship(Rule):
    """distractors: statements about others, among the two that matter. names: people to choose from."""

    def __init__(self, *, distractors: int, names: int, held_out: float, seed: int) -> None:
        super().__init__(held_out=held_out, seed=seed)
        at_least("kinship", 0, distractors=distractors)
        if not 3 + 2 * distractors <= names <= len(NAMES):
            raise BadInput(
                f"kinship: names={names} has to lie between {3 + 2 * distractors}, three and two for each, "
                f"and {len(NAMES)}"
            )
        self.name = f"kinship_{distractors}"
        self.distractors, self.names = distractors, names
        words = sorted({*RELATIONS, *ANSWERS})
        self.symbols = [f" {name}" for name in NAMES[:names]] + [f" {word}" for word in words]
        self.symbols += [" is", "'s", "."]
        self.is_, self.of, self.stop = range(len(self.symbols) - 3, len(self.symbols))
        self.words = {word: names + i for i, word in enumerate(words)}
        self.given = np.array([self.words[word] for word in RELATIONS])
        self.composed = np.array(
            [
                [self.words[COMPOSED[first, second][woman]] for second in GIVEN for _ in range(2)]
                for first in GIVEN
                for woman in range(2)
            ]
        )

    @property
    def questions(self) -> int:
        statements = 2 + self.distractors
        people = np.prod(np.arange(self.names - statements - self.distractors, self.names + 1, dtype=object))
        return int(people) * len(RELATIONS) ** statements * int(np.prod(np.arange(1, statements + 1)))

    def draw(self, rng: np.random.Generator, n: int) -> Items:
        people = several(rng, n, self.names, 3 + 2 * self.distractors)
        relation = rng.integers(len(RELATIONS), size=(n, 2 + self.distractors))
        who = np.concatenate((people[:, [0, 1]], people[:, 3::2]), axis=1)
        whose = np.concatenate((people[:, [1, 2]], people[:, 4::2]), axis=1)
        told = self._say(who, whose, self.given[relation])
        told = shuffled(rng, told).reshape(n, -1)
        asked = self._say(people[:, :1], people[:, 2:3], relation[:, :1])[:, 0, :4]
        answers = self.composed[relation[:, 0], relation[:, 1]]
        return Items(np.concatenate((told, asked), axis=1), answers[:, None])

    def _say(self, who: np.ndarray, whose: np.ndarray, word: np.ndarray) -> np.ndarray:
        """(n, statements, 6): ` Ann is Bob's mother.`"""
        fixed = [np.full_like(who, symbol) for symbol in (self.is_, self.of, self.stop)]
        return np.stack((who, fixed[0], whose, fixed[1], word, fixed[2]), axis=2)

    def shortcuts(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """The relation that the first person asked about is told to have; or the last one told."""
        told = questions[:, :-4].reshape(len(questions), -1, 6)
        own = (told[:, :, 0] == questions[:, -4:-3]).argmax(axis=1)
        first = np.take_along_axis(told[:, :, 4], own[:, None], axis=1)
        index = np.searchsorted(self.given, first, sorter=self.given.argsort())
        relation = self.given.argsort()[index][:, 0]
        likely = np.array([np.bincount(row).argmax() for row in self.composed])
        return {"its own relation": first, "likeliest for it": likely[relation][:, None]}

"""Linear probes: what a straight map reads off hidden states says that it is written there plainly.

n states of E dimensions, k targets. A probe is fitted on the states of some windows and judged on others'.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from scalelaw.contracts import SEPARATOR, BadInput
from scalelaw.evaluate import conditional
from scalelaw.measures.hidden import named, states
from scalelaw.measures.measure import SEED, Figures, Measure, Subject, counts
from scalelaw.tasks.bracket_depth import BracketDepth
from scalelaw.tasks.fact_recall import FactRecall
from scalelaw.tasks.source import FIRST, TaskSource

ROWS = 1024  # of a forward pass; bounds memory


class BracketProbe(Measure):
    """How many brackets are open, at every bracket of a text: what training with objective=answers never asks
    there. After the last one, where it does, a probe says nothing: at one length the mean of what was read
    tells depth, and a model that has learnt nothing takes it. Nor does it in the first item of a window: what
    begins with equal tokens has equal states all along, where positions are told by distance alone.

    rows: validation windows, half to fit on. layers: as `Representations`. penalty: of the ridge, as a share
    of the states' mean variance.
    """

    def __init__(self, *, along: bool, rows: int, layers: Sequence[str], penalty: float) -> None:
        super().__init__(along=along)
        counts("brackets", rows=rows)
        if rows < 2 or not penalty > 0:
            raise BadInput(f"brackets: rows={rows} at least 2, penalty={penalty} positive")
        self.rows, self.layers, self.penalty = rows, named(layers), penalty

    def check(self, subject: Subject) -> None:
        source = subject.source
        if not isinstance(source, TaskSource) or not isinstance(source.task, BracketDepth):
            raise BadInput("takes data=task data/task=bracket_depth: other brackets are not known")
        if subject.window + 2 < 2 * source.longest:
            raise BadInput(f"window={subject.window}: takes {2 * source.longest - 2}, so that two items fit")

    def __call__(self, subject: Subject) -> Figures:
        """LAYER: share of the depth's variance that the probe tells on windows it has not seen (R^2), and
        LAYER_untrained: of the model as it began, which is what position and random features give."""
        tokens = subject.windows(self.rows)[:, :-1].numpy()
        depth, batch = open_brackets(tokens), subject.batch(self.rows)
        later = (tokens == SEPARATOR).cumsum(axis=1) > 0
        there = later & ((tokens == FIRST) | (tokens == FIRST + 1))
        found: dict[str, float | None] = {}
        for suffix, model in (("", subject.model), ("_untrained", subject.fresh())):
            for name, kept in states(model, batch, self.layers).items():
                found[name + suffix] = self._told(kept, depth, there)
        return found

    def _told(self, kept: torch.Tensor, depth: np.ndarray, there: np.ndarray) -> float:
        state, half = kept.double().cpu().numpy(), self.rows // 2
        seen, unseen = there[:half], there[half:]
        given = state[:half][seen], depth[:half][seen], state[half:][unseen]
        return r_squared(ridge(*given, self.penalty), depth[half:][unseen])


class FactProbe(Measure):
    """Which value a fact has, read off the states of those who were asked for it (`LAYER`), and off those who
    have read its subject alone (`LAYER_subject`): stored with the subject, or put together when asked
    (Allen-Zhu & Li 2023, Physics of Language Models 3.1, section 4)? Told on facts the probe has not seen.

    folds: of the cross-validation. layers, penalty: as `BracketProbe`.
    """

    def __init__(self, *, along: bool, layers: Sequence[str], penalty: float, folds: int) -> None:
        super().__init__(along=along)
        counts("facts", folds=folds)
        if folds < 2 or not penalty > 0:
            raise BadInput(f"facts: folds={folds} at least 2, penalty={penalty} positive")
        self.layers, self.penalty, self.folds = named(layers), penalty, folds

    def check(self, subject: Subject) -> None:
        _, task = _facts(subject)
        if len(task.table) < self.folds:
            raise BadInput(f"folds={self.folds}: of {len(task.table)} subjects")

    def __call__(self, subject: Subject) -> Figures:
        """LAYER, LAYER_subject: share of values told right; both with `_untrained` of the model as it began;
        chance: the share of each relation's commonest value. No LAYER_subject of a model that was taught to
        read whole questions in both directions: it has never seen a subject alone."""
        source, task = _facts(subject)
        table, relations = task.table, task.table.shape[1]
        asked = source.writing.items(task.told())[:, :-1]  # without the separator
        alone = asked[::relations, : task.spelt + 1]  # of every subject its first fact
        whole = any(prefix for prefix, _, _ in subject.objective.splits(subject.window, 1))
        usual = [np.bincount(column).max() / len(column) for column in table.T]
        found: dict[str, float | None] = {"chance": float(np.mean(usual))}
        for suffix, model in (("", subject.model), ("_untrained", subject.fresh())):
            for name, state in self._last(model, asked, subject.device).items():
                found[name + suffix] = self._told(state, table.ravel())
            for name, state in {} if whole else self._last(model, alone, subject.device).items():
                found[f"{name}_subject{suffix}"] = float(np.mean([self._told(state, v) for v in table.T]))
        return found

    def _last(self, model: Any, windows: np.ndarray, device: torch.device) -> Mapping[str, np.ndarray]:
        """By layer, (n, E): states of the last token but one of (n, T + 1) windows, all before it read."""
        parts = [
            states(model, conditional(rows, windows.shape[1] - 1).to(device), self.layers)
            for rows in torch.from_numpy(windows).split(ROWS)
        ]
        return {
            name: np.concatenate([part[name][:, -1].double().cpu().numpy() for part in parts])
            for name in self.layers
        }

    def _told(self, state: np.ndarray, values: np.ndarray) -> float:
        fold = np.random.default_rng(SEED).permutation(len(values)) % self.folds
        right, said = np.eye(values.max() + 1)[values], np.empty(len(values), int)
        for k in range(self.folds):
            seen = fold != k
            said[~seen] = ridge(state[seen], right[seen], state[~seen], self.penalty).argmax(axis=1)
        return float((said == values).mean())


def _facts(subject: Subject) -> tuple[TaskSource, FactRecall]:
    source = subject.source
    if not isinstance(source, TaskSource) or not isinstance(source.task, FactRecall):
        raise BadInput("takes data=task data/task=fact_recall: other facts are not known")
    return source, source.task


def open_brackets(tokens: np.ndarray) -> np.ndarray:
    """(B, T) tokens to (B, T): how many brackets of its own item are open after each."""
    total = ((tokens == FIRST).astype(int) - (tokens == FIRST + 1)).cumsum(axis=1)
    ended = np.where(tokens == SEPARATOR, np.arange(tokens.shape[1]), -1)
    last = np.maximum.accumulate(ended, axis=1)  # where the item before ended; -1: it is the first
    before = np.where(last < 0, 0, np.take_along_axis(total, np.maximum(last, 0), axis=1))
    return (total - before).astype(float)


def ridge(X: np.ndarray, y: np.ndarray, at: np.ndarray, penalty: float) -> np.ndarray:
    """Predictions at (m, E) states of the ridge regression of (n,) or (n, k) targets on (n, E) states.

    The penalty is in units of the states' mean variance; means are not shrunk.
    """
    centre, middle = X.mean(axis=0), y.mean(axis=0)
    Z = X - centre
    gram = Z.T @ Z
    gram[np.diag_indices_from(gram)] += penalty * np.trace(gram) / len(gram)
    return (at - centre) @ np.linalg.solve(gram, Z.T @ (y - middle)) + middle


def r_squared(predicted: np.ndarray, true: np.ndarray) -> float:
    """1 less the squares left over those about the mean; negative where the mean does better."""
    return 1 - float(((predicted - true) ** 2).sum() / ((true - true.mean(axis=0)) ** 2).sum())

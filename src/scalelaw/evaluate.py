"""The common measure: NLL of the same target tokens given the same prefix, whatever the architecture."""

import math

import numpy as np
import torch
from torch import Tensor

from scalelaw.contracts import (
    IGNORE,
    Architecture,
    BadInput,
    Batch,
    Exam,
    Examined,
    Known,
    Mixed,
    Objective,
    Referring,
    Remembering,
    Source,
)
from scalelaw.meeting import continues

CHUNK = 64  # rows a forward pass; bounds memory
OBJECTIVE_SEED = 0  # the drawn splits of the validation loss are the same for every run


class Evaluation:
    """Fixed validation windows, cut once: `prefix` tokens are given, the rest is the target.

    curve_rows: windows used along the run. rows: windows used for the final figures.
    points: how many evaluations a run makes, log-spaced in tokens, the last one at its end.
    prefix: tokens given; None means half the window.
    """

    def __init__(self, *, points: int, curve_rows: int, rows: int, prefix: int | None) -> None:
        if points < 1 or curve_rows < 1 or rows < 1:
            raise BadInput("evaluation.points, .curve_rows and .rows must each be at least 1")
        self.points, self.curve_rows, self.rows, self.prefix = points, curve_rows, rows, prefix

    def given(self, window: int) -> int:
        """Length of the given prefix in tokens. Raises BadInput when no target would be left."""
        prefix = window // 2 if self.prefix is None else self.prefix
        if not 1 <= prefix < window:
            raise BadInput(f"evaluation.prefix = {prefix} leaves no target in a window of {window} tokens")
        return prefix

    def steps(self, total: int) -> set[int]:
        """The steps after which to evaluate: log-spaced over the run's last 1.5 decades, and its end."""
        first = max(1.0, total / 10**1.5)
        return {round(step) for step in np.geomspace(first, total, self.points)} | {total}

    def curve(
        self, model: Architecture, source: Source, window: int, objective: Objective
    ) -> dict[str, float]:
        """{"loss"}: nats per target token on the first look; {"loss_objective"} where nothing taught it."""
        if not continues(objective):
            return {"loss_objective": self._objective(model, source, window, objective, self.curve_rows)}
        nll, tokens, _ = self._targets(model, source, window, self.curve_rows)
        return {"loss": nll / tokens}

    def final(
        self, model: Architecture, source: Source, window: int, objective: Objective
    ) -> dict[str, float]:
        """{"loss", "bits_per_byte", "loss_objective"} on all validation windows; "bayes_loss" if known.

        Where nothing taught to continue a text, there is "loss_objective" alone. Of a mixture there is each
        part's, "loss_NAME", and with a causal one among them "loss_causal": `loss` without its prefix, the
        same targets read in one direction only. No "loss_objective" of an objective with a loss of its own:
        text is not what such a loss is of.
        """
        own = isinstance(objective, Referring)
        found = {} if own else self.objectives(model, source, window, objective)
        if not continues(objective):
            return found
        nll, tokens, text_bytes = self._targets(model, source, window, self.rows)
        bayes = self.bayes(source, window)
        known = {} if bayes is None else {"bayes_loss": bayes}
        common = {"loss": nll / tokens, "bits_per_byte": nll / math.log(2) / text_bytes}
        if isinstance(objective, Mixed) and any(not p for p, _, _ in objective.splits(window, CHUNK)):
            nll, tokens, _ = self._targets(model, source, window, self.rows, causal=True)
            common["loss_causal"] = nll / tokens
        return known | common | found

    def objectives(
        self, model: Architecture, source: Source, window: int, objective: Objective
    ) -> dict[str, float]:
        """{"loss_objective"}, and of a mixture {"loss_NAME"} of each part, all on the same windows.

        The mixture's own is that of the tokens it asks for, in the shares it asks for them.
        """
        if not isinstance(objective, Mixed):
            return {"loss_objective": self._objective(model, source, window, objective, self.rows)}
        each = {
            name: self._asked(model, source, window, part, self.rows)
            for name, part in objective.parts.items()
        }
        weights = objective.weights()
        nll, tokens = (sum(weights[name] * told[k] for name, told in each.items()) for k in (0, 1))
        return {"loss_objective": nll / tokens} | {f"loss_{name}": a / b for name, (a, b) in each.items()}

    def scores(
        self, model: Architecture, source: Source, window: int, *, final: bool
    ) -> dict[str, dict[str, float]]:
        """By task, what `score` says of the source's exams; by its name, the "loss" on other text that it
        holds, as the common measure has it. final: on all validation windows."""
        exams = source.exams if isinstance(source, Examined) else {}
        found = {name: score(model, exam) for name, exam in exams.items()}
        for name, other in (source.others if isinstance(source, Remembering) else {}).items():
            nll, tokens, _ = self._targets(model, other, window, self.rows if final else self.curve_rows)
            found[name] = {"loss": nll / tokens}
        return found

    def bayes(self, source: Source, window: int) -> float | None:
        """The `loss` on all rows of whoever knows the language; None where no one does."""
        nats = source.bayes(self.rows, window=window) if isinstance(source, Known) else None
        return None if nats is None else float(nats[:, self.given(window) :].mean())

    def _targets(
        self, model: Architecture, source: Source, window: int, rows: int, *, causal: bool = False
    ) -> tuple[float, int, int]:
        """Summed NLL in nats, target tokens, and the bytes of text they stand for. causal: no prefix."""
        prefix = self.given(window)
        windows = source.validation(rows, window=window)
        token_bytes = torch.from_numpy(np.asarray(source.token_bytes, dtype=np.int64))
        nll, tokens, text_bytes = 0.0, 0, 0
        with torch.no_grad():
            for chunk in windows.split(CHUNK):
                batch = conditional(chunk, prefix)
                if causal:
                    batch = Batch.of(batch.tokens, batch.labels, torch.zeros_like(batch.prefix))
                nll += float(model.nll(batch.to(_device(model))))
                targets = chunk[:, prefix:]
                tokens += targets.numel()
                text_bytes += int(token_bytes[targets].sum())
        return nll, tokens, text_bytes

    def _objective(
        self, model: Architecture, source: Source, window: int, objective: Objective, rows: int
    ) -> float:
        nll, tokens = self._asked(model, source, window, objective, rows)
        return nll / tokens

    def _asked(
        self, model: Architecture, source: Source, window: int, objective: Objective, rows: int
    ) -> tuple[float, int]:
        """Summed NLL in nats of what the objective asks on the validation windows, and of how many tokens."""
        generator = torch.Generator().manual_seed(OBJECTIVE_SEED)
        nll, tokens = 0.0, 0
        with torch.no_grad():
            for chunk in source.validation(rows, window=window).split(CHUNK):
                batch = objective(chunk, generator)
                nll += float(model.nll(batch.to(_device(model))))
                tokens += int((batch.labels != IGNORE).sum())
        return nll, tokens


def score(model: Architecture, exam: Exam) -> dict[str, float]:
    """How well the answers are known, each item read alone.

    nll: nats an answer token. brier: (1 - p) ** 2 of the token that is right, 0 at best ("target Brier").
    exact: share of items whose every token is the likeliest, which is what greedy decoding says. items: how
    many. tokens: of an answer, on average. `chance`, `chance_nll`, `chance_brier`: what a guess scores.
    facts_bits: of all facts, facts x log2(choices). bits: what is stored of them, those less their NLL.
    """
    nll, brier, exact, tokens, items = 0.0, 0.0, 0, 0, 0
    with torch.no_grad():
        for paper, prefix in exam.papers:
            for chunk in paper.split(CHUNK):
                logits = model(conditional(chunk, prefix).to(_device(model))).double().cpu()  # (b, A, V)
                right = chunk[:, prefix:]
                log_p = logits.log_softmax(-1).gather(-1, right[..., None])[..., 0]
                nll -= float(log_p.sum())
                brier += float((1 - log_p.exp()).square().sum())
                exact += int((logits.argmax(-1) == right).all(dim=1).sum())
                tokens, items = tokens + right.numel(), items + len(right)
    found = {"nll": nll / tokens, "brier": brier / tokens, "exact": exact / items}
    guess = {"chance": exam.chance, "chance_nll": exam.chance_nll, "chance_brier": exam.chance_brier}
    found |= guess | {"items": items, "tokens": tokens / items}
    if exam.memory is not None:
        facts, choices = exam.memory
        found["facts_bits"] = facts * math.log2(choices)
        found["bits"] = facts * (math.log2(choices) - nll / items / math.log(2))
    return found


def conditional(windows: Tensor, prefix: int) -> Batch:
    """Cut (B, T + 1) windows after `prefix` tokens: the rest is to be predicted."""
    labels = windows[:, 1:].clone()
    labels[:, : prefix - 1] = IGNORE
    return Batch.of(windows[:, :-1], labels, torch.full((len(windows),), prefix))


def _device(model: Architecture) -> torch.device:
    return next(model.parameters()).device  # pyright: ignore[reportAttributeAccessIssue]

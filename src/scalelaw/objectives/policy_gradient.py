"""Policy gradient with a reward that can be verified: 1 for an answer that is exactly right, 0 for any other.

Of each question `group` answers are sampled, and an answer's advantage is its reward less the mean of its
group, by the group's standard deviation (GRPO; Shao et al. 2024, section 4.1.2). Every sample serves one
step, so that the ratio that GRPO clips is 1 and there is nothing to clip. As rewards are of whole answers,
log probabilities are summed over its tokens, which is REINFORCE (Williams 1992); Shao's mean over them
would favour short right answers and long wrong ones (Liu et al. 2025).

What is made large is reward - beta KL(p || p0), p0 the model that the run started from (Ouyang et al. 2022,
eq. 2). The KL is exact over the vocabulary at each token sampled, where Ouyang takes the token's own log
ratio and Shao another estimate: there is less noise in it, and the same mean.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scalelaw.contracts import IGNORE, Architecture, BadInput, Batch, Source
from scalelaw.objectives.items import items, laid


@dataclass(frozen=True, kw_only=True)
class Prompts(Batch):
    """A question a row, with its right answer. group: answers to be sampled of each. seed: of the samples."""

    group: int
    seed: int

    @property
    def asked(self) -> int:
        return len(self.tokens)

    @property
    def forwards(self) -> list[tuple[int, int, int, int, int]]:
        """A sample is read anew for each of its tokens."""
        [(rows, window, prefix, start, passes)] = super().forwards
        rows *= self.group
        sampling = [(rows, t + 1, min(prefix, t + 1), t, 1) for t in range(start, window)]
        return [*sampling, (rows, window, prefix, start, passes + 1)]  # and once by p0


@dataclass(frozen=True, kw_only=True)
class PolicyGradient:
    """group: answers of a question. beta: of the KL, in units of the reward a nat. prefix: read questions in
    both directions."""

    group: int
    beta: float
    prefix: bool

    cut_by_text = True

    def check(self, window: int) -> None:
        if not isinstance(self.group, int) or self.group < 2:
            raise BadInput(f"objective.group={self.group!r}: a group is a whole number of at least 2 answers")
        if not self.beta >= 0:
            raise BadInput(f"objective.beta={self.beta!r} cannot be negative")

    def splits(self, window: int, rows: int) -> list[tuple[int, int, float]]:
        """As if windows were read once, as they are. What a run did cost is counted on its batches."""
        return [(window // 2, window // 2 - 1, 1.0)] if self.prefix else [(0, 0, 1.0)]

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Batch:
        batch = laid(items(windows), prefix=self.prefix)
        seed = int(torch.randint(1 << 62, (1,), generator=generator))
        return Prompts(**vars(batch), group=self.group, seed=seed)

    def against(
        self, start: Architecture, source: Source, window: int
    ) -> Callable[[Architecture, Batch], Tensor]:
        def loss(model: Architecture, batch: Batch) -> Tensor:
            assert isinstance(batch, Prompts)
            right = repeated(batch)
            said = sampled(model, right, torch.Generator().manual_seed(batch.seed))
            reward = ((said.labels == right.labels).all(dim=1)).float()
            log_p, kl = compared(model, start, said)
            score = -(advantages(reward.view(-1, self.group)).flatten() * log_p).sum() / self.group
            value = -reward.sum() / self.group
            # The gradient is the score's; the figure that of what is made small.
            return score + (value - score).detach() + self.beta * kl.sum() / self.group

        return loss


def repeated(batch: Prompts) -> Batch:
    """Each row `group` times, one after the other."""
    tokens, labels, prefix = (
        part.repeat_interleave(batch.group, dim=0) for part in (batch.tokens, batch.labels, batch.prefix)
    )
    return Batch(tokens, labels, prefix, batch.start, batch.shortest, batch.longest)


@torch.no_grad()
def sampled(model: Architecture, batch: Batch, generator: torch.Generator) -> Batch:
    """The batch with answers that the model gives in place of its own, of the same lengths.

    By the largest of logits and Gumbel noise, which is drawn on the CPU: the same on every device.
    """
    tokens, labels = batch.tokens.clone(), batch.labels.clone()
    last = tokens.shape[1] - 1
    for t in range(batch.start, last + 1):
        seen = replace(
            batch,
            tokens=tokens[:, : t + 1],
            labels=labels[:, : t + 1],
            prefix=batch.prefix.clamp(max=t + 1),
            start=t,
            shortest=min(batch.shortest, t + 1),
            longest=min(batch.longest, t + 1),
        )
        logits = model(seen)[:, 0].float()
        noise = -torch.empty(logits.shape).exponential_(generator=generator).log()
        drawn = (logits + noise.to(logits.device)).argmax(dim=-1)
        asked = labels[:, t] != IGNORE
        labels[:, t] = torch.where(asked, drawn, labels[:, t])
        if t < last:
            tokens[:, t + 1] = torch.where(asked, drawn, tokens[:, t + 1])
    return replace(batch, tokens=tokens, labels=labels)


def compared(model: Architecture, start: Architecture, batch: Batch) -> tuple[Tensor, Tensor]:
    """(n,) log p of what each row asks for, and (n,) KL(p || p0) at those places, both summed, nats."""
    labels = batch.labels[:, batch.start :]
    asked = labels != IGNORE
    log_p = model(batch).float().log_softmax(dim=-1)
    with torch.no_grad():
        before = start(batch).float().log_softmax(dim=-1)
    said = log_p.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    kl = (log_p.exp() * (log_p - before)).sum(dim=-1)
    return (said * asked).sum(dim=1), (kl * asked).sum(dim=1)


def advantages(reward: Tensor) -> Tensor:
    """(n, group) rewards less their group's mean, by its standard deviation; 0 where all are alike."""
    less = reward - reward.mean(dim=1, keepdim=True)
    spread = reward.std(dim=1, correction=0, keepdim=True)
    return less / torch.where(spread > 0, spread, 1.0)

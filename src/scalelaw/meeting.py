"""Where an objective meets a vocabulary and an architecture: before any work, or not at all."""

from typing import Any

from scalelaw.contracts import BadInput, CutByText, Marked, Mixed, Objective, Restoring


def marked(objective: Objective, vocab_size: int, window: int) -> tuple[Objective, int]:
    """The objective with its marks after the source's `vocab_size` tokens, and the ids there are in all.

    Raises BadInput for an objective that cannot be had in such windows.
    """
    objective.check(window)
    if not isinstance(objective, Marked):
        return objective, vocab_size
    return objective.after(vocab_size, window), vocab_size + objective.marks(window)


def meet(objective: Objective, model: Any) -> None:
    """Raises BadInput where the model's positions cannot be asked what the objective asks.

    What else an architecture cannot read, its `flops` refuses when the run is priced.
    """
    name = type(model).__name__
    for one in single(objective):
        if restores(one) and not model.restores:
            raise BadInput(
                f"{_name(one)} asks for hidden tokens where they stand, which takes sight of both sides: "
                f"architecture=encoder or prefix_decoder, not {name}"
            )
        if not restores(one) and not model.continues:
            raise BadInput(
                f"{_name(one)} asks for the text that follows, and {name} sees it: its objective is masked_lm"
            )


def single(objective: Objective) -> list[Objective]:
    """An objective that is no mixture, by itself; of one that is, all that it is made of."""
    if not isinstance(objective, Mixed):
        return [objective]
    return [one for part in objective.parts.values() for one in single(part)]


def restores(objective: Objective) -> bool:
    return isinstance(objective, Restoring) and objective.restores


def continues(objective: Objective) -> bool:
    """Whether anything in it teaches to continue a text, which the common measure asks for."""
    return not all(restores(one) for one in single(objective))


def varies(objective: Objective, window: int, rows: int) -> bool:
    """Whether batches are cut differently from one to the next: as it is drawn, or as the text says."""
    by_text = any(isinstance(one, CutByText) and one.cut_by_text for one in single(objective))
    return by_text or len(objective.splits(window, rows)) > 1


def _name(objective: Objective) -> str:
    return f"objective {type(getattr(objective, 'part', objective)).__name__}"

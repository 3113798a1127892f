"""What a config would train, before anything is: N, D and C, with no weight allocated."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.tuned import weightless
from scalelaw.budget import resolved
from scalelaw.counting import count, expected_flops


def size(cfg: DictConfig) -> dict[str, float]:
    """N, D and C of the run a config stands for, as its record will have them.

    Reads no text but for the size of its vocabulary. Raises ValueError for a config that no run could have.
    """
    objective = instantiate(cfg.objective)
    objective.check(cfg.window)
    model = weightless(cfg, instantiate(cfg.data).vocab_size)
    batch = {"window": cfg.window, "rows": cfg.rows}
    budget = resolved(instantiate(cfg.budget), model, objective, **batch)
    C = expected_flops(model, objective, **batch) * cfg.rows * budget.steps
    return {"N": count(model)["non_embedding"], "D": budget.D, "C": C}

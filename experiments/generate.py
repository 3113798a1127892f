"""Let a finished run write: python -m experiments.generate run=DIR prompt="The state of"

conf/generate.yaml says what else there is to set.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig

from experiments.door import door
from experiments.saved import saved
from scalelaw.contracts import SEPARATOR, BadInput
from scalelaw.generate import generate


@door("generate")
def main(cfg: DictConfig) -> None:
    found = saved(Path(cfg.run), Path(cfg.cache))
    if not isinstance(cfg.samples, int) or cfg.samples < 1:
        raise BadInput(f"samples must be a whole number of at least 1, not {cfg.samples!r}")
    tokenizer = found.tokenizer
    if tokenizer is None:
        raise BadInput(f"{found.run.name} was trained on data={found.run.data}, which is not text")
    [encoded] = tokenizer.encode([str(cfg.prompt)])
    given = encoded.tolist() or [SEPARATOR]  # after which documents begin
    prompt = torch.tensor([given] * cfg.samples)
    generator = torch.Generator().manual_seed(cfg.seed)
    texts = generate(
        found.model, prompt, tokens=cfg.tokens, temperature=cfg.temperature, generator=generator
    ).tolist()
    if len(given) + cfg.tokens > found.run.window:
        print(f"longer than the window of {found.run.window} tokens that the run was trained on")
    for text in texts:
        print(tokenizer.decode([*given, *text]))


if __name__ == "__main__":
    main()

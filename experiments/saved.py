"""A finished run's model, built again from its record and given its weights."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from experiments.door import cause
from experiments.identity import corpora
from scalelaw import weights
from scalelaw.contracts import BadInput, Source
from scalelaw.data.tokens import Tokenizer
from scalelaw.meeting import marked
from scalelaw.models.base import LanguageModel
from scalelaw.run import Run


@dataclass(frozen=True)
class Saved:
    """A record, the model it tells of with its final weights, on the CPU, and the text it was trained on."""

    run: Run
    model: LanguageModel
    source: Source

    @property
    def tokenizer(self) -> Tokenizer | None:
        return tokenizer(self.source)


def saved(directory: Path, cache: Path) -> Saved:
    """Build what a run's record says and load its weights. cache: where prepared data lies.

    Raises BadInput for a run that is not finished or kept no weights, ValueError for a torn record.
    """
    run = Run.load(directory)
    if not run.finished:
        raise BadInput(f"{directory} is {run.status}: only a finished run has a model")
    config: dict[str, Any] = copy.deepcopy(run.config)
    for data in corpora(config["data"]):  # what its id leaves out
        if "tokenizer" in data:
            data["cache"] = str(cache)
            data.pop("content", None)
    try:
        source = instantiate(config["data"])
        vocabulary = source.vocab_size
        if "objective" in config:  # a model that was adopted was taught elsewhere, and has none
            _, vocabulary = marked(instantiate(config["objective"]), vocabulary, run.window)
        model = instantiate(config["architecture"])(instantiate(config["shape"]), vocabulary)
    except Exception as error:
        raise cause(error) from None
    weights.load(directory, model)
    return Saved(run, model, source)


def tokenizer(source: Source) -> Tokenizer | None:
    """None for symbols that no text is made of."""
    text: Any = getattr(source, "corpus", source)  # of a mixture
    return getattr(text, "tokenizer", None)

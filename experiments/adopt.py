"""A Llama of transformers as a finished run of ours: python -m experiments.adopt from=FOLDER to=DIR data=...

The run took no steps: D and C are 0, and its loss is what the model has on that text. conf/adopt.yaml says
what else there is to set.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.door import CONF, door
from experiments.identity import content, run_id
from experiments.saved import tokenizer
from experiments.tables import origin
from experiments.train import describe
from scalelaw import huggingface, weights
from scalelaw.contracts import BadInput, Source
from scalelaw.counting import count
from scalelaw.models.base import LanguageModel
from scalelaw.models.llama import from_llama
from scalelaw.provenance import utc
from scalelaw.run import RECORD, Run


@door("adopt")
def main(cfg: DictConfig) -> None:
    started, folder, directory = utc(), Path(cfg["from"]), Path(cfg.to)
    model, source = from_llama(*huggingface.read(folder)), instantiate(cfg.data)
    fit(folder, model, source)
    if (directory / RECORD).exists():
        raise BadInput(f"to={directory} is a run already")
    measured = instantiate(cfg.evaluation).final(model, source, cfg.window, instantiate(cfg.objective))
    run = record(cfg, model, source, measured, started)
    weights.save(directory, run.run, dict(weights.whole(model)))
    run.save(directory)
    print(describe(run, directory))


def fit(folder: Path, model: LanguageModel, source: Source) -> None:
    """Raises BadInput where the text's tokens are not those the model was trained on."""
    if model.vocab_size != source.vocab_size:
        raise BadInput(f"data has a vocabulary of {source.vocab_size}, {folder} one of {model.vocab_size}")
    ours, theirs = tokenizer(source), huggingface.vocabulary(folder)
    if ours is not None and theirs not in (None, ours.portable()["model"]["vocab"]):
        raise BadInput(f"{folder / huggingface.FILE} has other tokens than data.tokenizer")


def record(
    cfg: DictConfig, model: LanguageModel, source: Source, measured: dict[str, float], started: str
) -> Run:
    choices: Any = HydraConfig.get().runtime.choices
    architecture: Any = OmegaConf.to_container(OmegaConf.load(CONF / "architecture" / "causal_decoder.yaml"))
    data: Any = OmegaConf.to_container(cfg.data, resolve=True)
    config = {
        "adopted": {"from": str(cfg["from"]), "content": content(Path(cfg["from"]))},
        "architecture": architecture | {"tie_embeddings": model.head is None},
        "shape": {"_target_": "scalelaw.shape.Shape", **asdict(model.shape)},
        "data": data,
    }
    counts = count(model)
    return Run(
        run=run_id(config),
        name=Path(cfg.to).name,
        status="finished",
        architecture="causal_decoder",
        objective=choices.objective,
        data=choices.data,
        study="adopted",
        seed=0,
        depth=model.shape.depth,
        width=model.shape.width,
        N=counts["non_embedding"],
        N_total=counts["total"],
        parameters=counts,
        D=0,
        D_target=0,
        unique_tokens=source.train_tokens,
        window=cfg.window,
        batch_tokens=0,
        steps=0,
        step=0,
        learning_rate=0.0,
        C=0.0,
        C_6ND=0.0,
        timing={"tokens_per_second": 0.0},
        provenance=origin("experiments.adopt", cfg) | {"data": source.manifest},
        config=config,
        started=started,
        ended=utc(),
        loss=measured["loss"],
        loss_objective=measured["loss_objective"],
        bits_per_byte=measured["bits_per_byte"],
    )


if __name__ == "__main__":
    main()

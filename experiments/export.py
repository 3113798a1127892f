"""A finished run in Hugging Face's format: python -m experiments.export run=DIR to=FOLDER"""

from pathlib import Path

from omegaconf import DictConfig

from experiments.door import door
from experiments.saved import saved
from scalelaw import huggingface
from scalelaw.models.llama import to_llama


@door("export")
def main(cfg: DictConfig) -> None:
    found = saved(Path(cfg.run), Path(cfg.cache))
    config, tensors = to_llama(found.model, window=found.run.window)
    huggingface.write(Path(cfg.to), config, tensors, found.tokenizer)
    without = "" if found.tokenizer else ", without a tokenizer: its tokens are no text's"
    print(f"{found.run.name} as LlamaForCausalLM in {cfg.to}{without}")


if __name__ == "__main__":
    main()

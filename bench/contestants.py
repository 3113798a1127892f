"""Who takes part: each contestant builds a model of the given size and trains it, in one of its settings.

All have equal depth, width, heads, vocabulary and tied heads, take whole steps (forward, backward, norm
clipped at 1, fused AdamW) and read the same random tokens. FFNs are as each recipe has them: gated of 8/3 d,
or plain of 4 d, which are the same parameters. No dropout.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import nanogpt_script, ours
from bench.size import Size

CLIP = 1.0
LR = 1e-3
FP32, TRAINER, BF16 = "fp32", "Trainer", "bf16 autocast"
BEST = f"{BF16}, compiled"
SLOW = 4  # some take a quarter of a minute a block to compile


class Turn(Protocol):
    """A contestant ready to train."""

    parameters: int

    def __call__(self, steps: int) -> float:
        """Train that many steps more; the seconds they took."""
        ...


@dataclass(frozen=True)
class Contestant:
    """family: "decoder" or "encoder-decoder"; only those of one family do the same work.

    package: what has to be installed. deepest: blocks a stack beyond which it does not take part.
    """

    who: str
    setting: str
    family: str
    build: Callable[[Size], Turn]
    package: str | None = None
    deepest: int | None = None

    @property
    def name(self) -> str:
        return f"{self.who}, {self.setting}"

    @property
    def compiled(self) -> bool:
        return self.setting == BEST

    @property
    def ours(self) -> bool:
        return self.who.startswith("scalelaw")

    def absent(self, size: Size) -> str | None:
        """Why it does not take part at this size; None where it does."""
        if self.package is not None and not importlib.util.find_spec(self.package):
            return f"{self.package} is not installed"
        if self.deepest is not None and size.depth > self.deepest:
            return f"{self.who} is compiled up to {self.deepest} blocks only"
        return None


class Loop:
    """Turns of a plain loop over `step`."""

    def __init__(self, parameters: int, step: Callable[[], object]) -> None:
        self.parameters, self.step = parameters, step

    def __call__(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - start


def scalelaw(architecture: str, *, precision: str, compile: bool) -> Callable[[Size], Turn]:
    def build(size: Size) -> Turn:
        model = ours.build(architecture, size)
        step = ours.stepper(architecture, [model], size, precision=precision, compile=compile, device="cpu")
        return Loop(count(model), step)

    return build


def plain(
    model: Callable[[Size], nn.Module],
    loss: Callable[[nn.Module, Tensor, Size], Tensor],
    *,
    bf16: bool,
    compile: bool,
) -> Callable[[Size], Turn]:
    """The loop people write around a model; loss: mean nats of a batch of (B, T + 1) tokens."""

    def build(size: Size) -> Turn:
        raw = model(size)
        optim = nanogpt_script.adamw(raw, LR)
        called: Any = torch.compile(raw) if compile else raw
        windows, at = size.windows(), 0

        def step() -> None:
            nonlocal at
            at += 1
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                nll = loss(called, windows[at % len(windows)], size)
            nll.backward()
            nn.utils.clip_grad_norm_(raw.parameters(), CLIP)
            optim.step()
            optim.zero_grad(set_to_none=True)

        return Loop(count(raw), step)

    return build


class Trainer:
    """`transformers.Trainer` with its defaults. A turn is a call of `train`; its seconds are counted inside,
    from the end of the first step to the end of the last, so that start-up is left out."""

    def __init__(self, model: nn.Module, size: Size) -> None:
        self.model, self.size, self.parameters = model, size, count(model)
        self.rows = [{"input_ids": row, "labels": row} for w in size.windows() for row in w[:, :-1]]

    def __call__(self, steps: int) -> float:
        import transformers

        ends: list[float] = []

        class Clock(transformers.TrainerCallback):
            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                ends.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as directory:
            arguments = transformers.TrainingArguments(
                output_dir=directory,
                per_device_train_batch_size=self.size.rows,
                max_steps=1 + steps,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                dataloader_pin_memory=False,  # it warns where there is no accelerator to pin for
                disable_tqdm=True,
            )
            trainer: Any = transformers.Trainer(
                model=self.model,  # pyright: ignore[reportArgumentType]
                args=arguments,
                train_dataset=self.rows,  # pyright: ignore[reportArgumentType]
                callbacks=[Clock()],
            )
            trainer.remove_callback(transformers.PrinterCallback)
            trainer.train()
        return ends[-1] - ends[0]


def hf_trainer(model: Callable[[Size], nn.Module]) -> Callable[[Size], Turn]:
    return lambda size: Trainer(model(size), size)


def llama(size: Size) -> nn.Module:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.gated,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        max_position_embeddings=size.window,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
    )
    return transformers.LlamaForCausalLM(config)


def gpt2(size: Size) -> nn.Module:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=size.window,
        n_embd=size.width,
        n_layer=size.depth,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
        attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
    )
    return transformers.GPT2LMHeadModel(config)


def t5(size: Size) -> nn.Module:
    import transformers

    config = transformers.T5Config(
        vocab_size=size.vocabulary,
        d_model=size.width,
        d_kv=size.width // size.heads,
        d_ff=4 * size.width,
        num_layers=size.depth,
        num_heads=size.heads,
        dropout_rate=0.0,
        decoder_start_token_id=0,  # pyright: ignore[reportCallIssue]
        use_cache=False,
    )
    return transformers.T5ForConditionalGeneration(config)


def nanogpt(size: Size) -> nn.Module:
    return nanogpt_script.GPT(
        depth=size.depth,
        width=size.width,
        heads=size.heads,
        window=size.window,
        vocabulary=size.vocabulary,
    )


def x_transformers(size: Size) -> nn.Module:
    import x_transformers as x  # pyright: ignore[reportMissingImports]

    layers = x.Decoder(
        dim=size.width,
        depth=size.depth,
        heads=size.heads,
        attn_dim_head=size.width // size.heads,
        attn_flash=True,
    )
    return x.TransformerWrapper(
        num_tokens=size.vocabulary, max_seq_len=size.window, attn_layers=layers, tie_embedding=True
    )


def litgpt(size: Size) -> nn.Module:
    import litgpt as lit  # pyright: ignore[reportMissingImports]

    config = lit.Config(
        block_size=size.window,
        vocab_size=size.vocabulary,
        padded_vocab_size=size.vocabulary,
        n_layer=size.depth,
        n_head=size.heads,
        n_embd=size.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=size.gated,
    )
    model = lit.GPT(config)
    model.lm_head.weight = model.transformer.wte.weight  # pyright: ignore
    nn.init.normal_(model.lm_head.weight, std=0.02)  # a table of N(0, 1) would make logits of size sqrt(d)
    return model


def own_labels(model: nn.Module, windows: Tensor, size: Size) -> Tensor:
    """Hugging Face's decoders shift the labels themselves: T - 1 of T positions are asked."""
    tokens = windows[:, :-1]
    return model(input_ids=tokens, labels=tokens).loss


def halves(model: nn.Module, windows: Tensor, size: Size) -> Tensor:
    read, asked = windows[:, : size.prefix], windows[:, size.prefix :].contiguous()  # all that ours is asked
    return model(input_ids=read, labels=asked).loss


def pairs(model: nn.Module, windows: Tensor, size: Size) -> Tensor:
    return model(windows[:, :-1], windows[:, 1:])


def logits(model: nn.Module, windows: Tensor, size: Size) -> Tensor:
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


def chunked(model: nn.Module, windows: Tensor, size: Size) -> Tensor:
    """litgpt's own loss."""
    from litgpt.utils import chunked_cross_entropy  # pyright: ignore[reportMissingImports]

    return chunked_cross_entropy(model(windows[:, :-1]), windows[:, 1:])


def count(model: nn.Module) -> int:
    """Parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _peer(
    who: str,
    package: str | None,
    model: Callable[[Size], nn.Module],
    loss: Callable[[nn.Module, Tensor, Size], Tensor],
    *,
    family: str = "decoder",
    deepest: int | None = None,
) -> list[Contestant]:
    """A peer in a plain loop: as it comes, and in its best setting.

    deepest: the most blocks that are compiled, where that takes minutes; it then takes part in bfloat16
    without a compiler too.
    """

    def one(setting: str, *, bf16: bool, compile: bool, deepest: int | None = None) -> Contestant:
        return Contestant(
            who, setting, family, plain(model, loss, bf16=bf16, compile=compile), package, deepest
        )

    found = [
        one(FP32, bf16=False, compile=False),
        one(BEST, bf16=True, compile=True, deepest=deepest),
    ]
    return found if deepest is None else [*found, one(BF16, bf16=True, compile=False)]


def _ours(architecture: str, family: str, *settings: str) -> list[Contestant]:
    precisions = {FP32: ("float32", False), BF16: ("bfloat16", False), BEST: ("bfloat16", True)}
    return [
        Contestant(
            f"scalelaw {architecture}",
            setting,
            family,
            scalelaw(architecture, precision=precisions[setting][0], compile=precisions[setting][1]),
        )
        for setting in settings
    ]


_ALL = [
    *_ours("causal decoder", "decoder", BEST, BF16, FP32),
    *_ours("prefix decoder", "decoder", BEST),
    *_ours("encoder-decoder", "encoder-decoder", BEST),
    *_peer("nanoGPT", None, nanogpt, pairs),
    *_peer("Hugging Face Llama", "transformers", llama, own_labels),
    Contestant("Hugging Face Llama", TRAINER, "decoder", hf_trainer(llama), "accelerate"),
    *_peer("Hugging Face GPT-2", "transformers", gpt2, own_labels),
    Contestant("Hugging Face GPT-2", TRAINER, "decoder", hf_trainer(gpt2), "accelerate"),
    *_peer("Hugging Face T5", "transformers", t5, halves, family="encoder-decoder", deepest=SLOW),
    *_peer("x-transformers", "x_transformers", x_transformers, logits, deepest=SLOW),
    *_peer("litgpt", "litgpt", litgpt, chunked, deepest=SLOW),
]
CONTESTANTS: dict[str, Contestant] = {contestant.name: contestant for contestant in _ALL}

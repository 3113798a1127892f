r"""A small GPT-2 in a single file, after nanoGPT's published recipe (Karpathy 2022), and its plain loop.

    python bench/nanogpt_script.py --depth 4 --width 32 --heads 4 --vocabulary 256 --window 64 \
        --rows 2 --steps 100

trains one model on random tokens in float32, uncompiled, as nanoGPT's README advises for CPUs, and evaluates
it at the end. Nothing here is ours to use: it is what a sweep of hand-written runs is made of.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 64  # rows of an evaluation's batch


class Block(nn.Module):
    """Pre-norm, causal attention, an MLP of 4 d with GELU; no biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.mlp_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, E = x.shape
        q, k, v = (
            part.view(B, T, self.heads, E // self.heads).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(E, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(B, T, E))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    """Learned positions, a head tied to the embedding."""

    def __init__(self, *, depth: int, width: int, heads: int, window: int, vocabulary: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(window, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(width, bias=False)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = 0.02 / math.sqrt(2 * depth) if "proj" in name else 0.02
                nn.init.normal_(parameter, std=std)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, nats, of (B, T) targets after (B, T) tokens."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def adamw(model: nn.Module, lr: float) -> torch.optim.AdamW:
    """Fused; decay on matrices only."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("depth", "width", "heads", "vocabulary", "window", "rows", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--evaluation-rows", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    torch.manual_seed(asked.seed)
    sizes = {name: getattr(asked, name) for name in ("depth", "width", "heads", "window", "vocabulary")}
    model = GPT(**sizes)
    optim = adamw(model, lr=1e-3)
    start = time.perf_counter()
    for _ in range(asked.steps):
        windows = torch.randint(asked.vocabulary, (asked.rows, asked.window + 1))
        model(windows[:, :-1], windows[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        held_out = torch.randint(asked.vocabulary, (asked.evaluation_rows, asked.window + 1))
        losses = [float(model(w[:, :-1], w[:, 1:])) for w in held_out.split(CHUNK)]
    tokens = asked.steps * asked.rows * asked.window
    print(f"loss {sum(losses) / len(losses):.4f}, {tokens / seconds:,.0f} tokens/s")


if __name__ == "__main__":
    main()

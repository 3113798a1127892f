"""N under every convention, and C: the parameters and the FLOPs of a model, told apart.

Two sources that must agree. `count(model)` adds up a model that exists, by the names of its modules;
`Published` computes the same from a shape alone, for our models and for those of the literature. The FLOPs of
a model that exists are its own `flops` method.

FLOPs are those of matmuls and attention, a multiplication and an addition counted apart; what is elementwise
(norms, activations, rotary positions, softmax) is left out, as in Kaplan et al. 2020 and Chinchilla.
Attention is counted as the rectangles of queries and keys that a CPU is asked for, masked entries included,
the convention of torch's FlopCounterMode; so a run has one C, whatever it runs on, and a kernel that skips
masked blocks does less. The backward pass counts twice the forward pass, attention too: what a fused kernel
computes again in it is not counted.
"""

from dataclasses import dataclass, replace

from torch import nn

from scalelaw.contracts import Architecture, Objective

BACKWARD = 2  # a gradient for the inputs and one for the weights, each a matmul of the forward's size
KINDS: tuple[str, ...] = ("embedding", "head", "cross_attention", "attention", "ffn", "norm")


def count(model: nn.Module) -> dict[str, int]:
    """Exact parameter counts of a model whose modules are named as in scalelaw.models.layers.

    total: everything, tied matrices once.
    non_embedding: N of Kaplan et al. 2020, without the input embedding and the output head.
    with_embedding, with_head: N and one of the two. A tied matrix counts as either.
    embedding, head: tables. A tied model has no head of its own: 0.
    attention (cross-attention included), cross_attention, ffn, norm: by kind.
    encoder, decoder: by stack, norms included; they add up to non_embedding.
    active: those of non_embedding that one token passes through; all but the idle experts of a mixture.
    Raises ValueError naming a parameter that is of no known kind or in no stack.
    """
    kinds, stacks = dict.fromkeys(KINDS, 0), {"encoder": 0, "decoder": 0}
    for name, parameter in model.named_parameters():
        kind = _kind(name)
        kinds[kind] += parameter.numel()
        if kind not in ("embedding", "head"):
            stack = name.split(".")[0]
            if stack not in stacks:
                raise ValueError(f"parameter {name} is in no stack: neither encoder nor decoder")
            stacks[stack] += parameter.numel()
    return conventions(kinds, stacks, idle=sum(getattr(module, "idle", 0) for module in model.modules()))


def conventions(kinds: dict[str, int], stacks: dict[str, int], *, idle: int = 0) -> dict[str, int]:
    """All counts from those by kind (keys of KINDS) and by stack; a head of 0 means a tied one.

    idle: parameters of experts that a token does not pass through."""
    embedding, head = kinds["embedding"], kinds["head"]
    non_embedding = stacks["encoder"] + stacks["decoder"]
    return {
        "total": non_embedding + embedding + head,
        "non_embedding": non_embedding,
        "active": non_embedding - idle,
        "with_embedding": non_embedding + embedding,
        "with_head": non_embedding + (head or embedding),
        "embedding": embedding,
        "head": head,
        "attention": kinds["attention"] + kinds["cross_attention"],
        "cross_attention": kinds["cross_attention"],
        "ffn": kinds["ffn"],
        "norm": kinds["norm"],
        **stacks,
    }


def training_flops(forward: int) -> int:
    """FLOPs of a forward and a backward pass. Exact: every matmul's inputs need a gradient too, those of the
    first block because the embedding below it is trained."""
    return (1 + BACKWARD) * forward


def expected_flops(model: Architecture, objective: Objective, *, window: int, rows: int) -> float:
    """Training FLOPs of one row, averaged over the splits the objective draws."""
    return sum(
        share * training_flops(model.flops(window=window, prefix=prefix, start=start))
        for prefix, start, share in objective.splits(window, rows)
    )


def six_n_d(parameters: float, tokens: float) -> float:
    """C = 6 N D, the usual estimate (Kaplan et al. 2020, section 2.1): 2 N a token forward, 4 N backward.

    It leaves out attention's products of queries and keys and, if N does, the head; and it takes every token
    through every parameter, which an encoder-decoder does not.
    """
    return 6 * parameters * tokens


@dataclass(frozen=True, kw_only=True)
class Published:
    """A transformer as a paper's table gives it: counts and FLOPs in closed form, nothing instantiated.

    encoder, decoder: blocks of each stack; encoder 0 for a decoder-only model.
    width: E. attention_width: heads x head_dim. key_value_width: less than that for grouped queries.
    ffn_matrices: 2, or 3 for a gated FFN. positions: rows of a learned position table.
    relative_biases: parameters of relative positions, in all stacks together: T5's biases, Gopher's matrices.
    biases: in every linear map of the blocks; norm_biases: LayerNorm, not RMSNorm.
    """

    decoder: int
    width: int
    attention_width: int
    key_value_width: int
    ffn_width: int
    vocab_size: int
    ffn_matrices: int
    tied: bool
    biases: bool
    norm_biases: bool
    encoder: int = 0
    positions: int = 0
    relative_biases: int = 0

    def counts(self) -> dict[str, int]:
        """The same keys as `count`; learned positions count as embedding (Kaplan et al. 2020).

        Relative positions count as attention, half of them in each stack."""
        E, A, K, F = self.width, self.attention_width, self.key_value_width, self.ffn_width
        attention = 2 * E * A + 2 * E * K + self.biases * (A + 2 * K + E)
        ffn = self.ffn_matrices * E * F + self.biases * ((self.ffn_matrices - 1) * F + E)
        norm = E * (1 + self.norm_biases)
        crossing = self.decoder if self.encoder else 0
        relative = self.relative_biases // 2 if self.encoder else self.relative_biases
        encoder = self.encoder * (attention + ffn + 2 * norm) + (norm + relative if self.encoder else 0)
        decoder = (
            self.decoder * (attention + ffn + 2 * norm) + crossing * (attention + norm) + norm + relative
        )
        blocks = self.encoder + self.decoder
        kinds = {
            "embedding": (self.vocab_size + self.positions) * E,
            "head": 0 if self.tied else self.vocab_size * E,
            "attention": blocks * attention + self.relative_biases,
            "cross_attention": crossing * attention,
            "ffn": blocks * ffn,
            "norm": (2 * blocks + crossing + (2 if self.encoder else 1)) * norm,
        }
        return conventions(kinds, {"encoder": encoder, "decoder": decoder})

    def flops(self, *, window: int, prefix: int = 0, start: int = 0) -> int:
        """Forward FLOPs of one row: causal, or with an encoder over `prefix` tokens.

        With an encoder, the decoder reads positions start to window. The head runs on these in any case.
        """
        E, A, K, F = self.width, self.attention_width, self.key_value_width, self.ffn_width
        by_query, by_key, ffn = 4 * E * A, 4 * E * K, 2 * self.ffn_matrices * E * F

        def block(tokens: int) -> int:
            return tokens * (by_query + by_key + ffn) + 4 * tokens * tokens * A

        asked = window - start
        head = 2 * asked * E * self.vocab_size
        if not self.encoder:
            return self.decoder * block(window) + head
        crossing = asked * by_query + prefix * by_key + 4 * asked * prefix * A
        return self.encoder * block(prefix) + self.decoder * (block(asked) + crossing) + head


def gpt(*, depth: int, width: int, vocab_size: int, positions: int) -> Published:
    """GPT-2 and GPT-3: biases, LayerNorm, learned positions, an MLP of 4 E, tied (Brown et al. 2020)."""
    return Published(
        decoder=depth,
        width=width,
        attention_width=width,
        key_value_width=width,
        ffn_width=4 * width,
        vocab_size=vocab_size,
        ffn_matrices=2,
        tied=True,
        biases=True,
        norm_biases=True,
        positions=positions,
    )


def llama(*, depth: int, width: int, ffn_width: int, vocab_size: int, tied: bool = False) -> Published:
    """LLaMA, and our decoders: RMSNorm, SwiGLU, rotary positions, no biases (Touvron et al. 2023)."""
    return Published(
        decoder=depth,
        width=width,
        attention_width=width,
        key_value_width=width,
        ffn_width=ffn_width,
        vocab_size=vocab_size,
        ffn_matrices=3,
        tied=tied,
        biases=False,
        norm_biases=False,
    )


def gopher(*, depth: int, width: int, vocab_size: int) -> Published:
    """Gopher and Chinchilla: RMSNorm, an MLP of 4 E, tied; a matrix a block for the distances of relative
    positions (Rae et al. 2021, section 2.1; Dai et al. 2019, Transformer-XL), without which the parameters
    are 258B and not the 280B stated. `flops` leaves its products out, as Hoffmann et al. 2022, appendix F.
    """
    plain = gpt(depth=depth, width=width, vocab_size=vocab_size, positions=0)
    return replace(plain, biases=False, norm_biases=False, relative_biases=depth * width * width)


def t5(*, depth: int, width: int, attention_width: int, heads: int, ffn_width: int) -> Published:
    """T5 1.0, `depth` blocks a stack: RMSNorm, ReLU, tied, 32 relative biases a head (Raffel et al. 2020)."""
    return Published(
        encoder=depth,
        decoder=depth,
        width=width,
        attention_width=attention_width,
        key_value_width=attention_width,
        ffn_width=ffn_width,
        vocab_size=32_128,  # 32,000 pieces and 100 sentinels, rounded up to a multiple of 128
        ffn_matrices=2,
        tied=True,
        biases=False,
        norm_biases=False,
        relative_biases=2 * 32 * heads,
    )


def _kind(name: str) -> str:
    """The kind a parameter's path tells: the outermost module that is named after one."""
    for part in name.split("."):
        for kind in KINDS:
            if part == kind or (kind == "norm" and part.endswith("_norm")):
                return kind
    raise ValueError(
        f"parameter {name} is of no known kind: no module on its path is one of {', '.join(KINDS)}"
    )

"""The layers every architecture is wired from: RMSNorm, rotary positions, attention, SwiGLU, no biases.

B rows, T positions, S positions of an encoder's output, E width, H heads, D head_dim, F ffn_width.

Initial values and names. Matrices start as N(0, 1 / fan_in), those that write to the residual stream divided
further by the number of writes, so that a stack's output keeps its size at any depth (GPT-2; Radford et al.
2019). This and the learning rates of scalelaw.optim are muP for Adam (Yang et al. 2022, Tensor Programs V,
table 3). Parameters are counted by the names of the modules on their path: attention,
cross_attention, ffn, *norm, encoder, decoder (scalelaw.counting).
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelaw.shape import Shape

EPS = 1e-5  # as Llama: far below the mean square of any residual stream, far above fp32's underflow
THETA = 10_000.0  # the longest rotary wavelength is 2 pi THETA positions (Su et al. 2021)

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values (B, H, T, D) to the attended values (B, H, T, D): the one thing masks decide."""

LOG2_E = math.log2(math.e)

# Up to this many keys plain products are faster than the fused kernel, where `_by_products` says they may be.
LONGEST = 512


def attend(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(D)) v, over the keys that the boolean mask (.., T, S) leaves each query.

    torch's fused kernel, but for compiled bfloat16 on CPUs: its backward pass does not use their matrix units
    well, and plain products around a softmax that a compiler fuses take 0.6 of its time or less at 256 keys.
    """
    if not _by_products(k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    score = (q @ k.mT).float()
    if mask is not None:
        score = score.masked_fill(~mask, -torch.inf)
    # Powers of two cost three quarters of those of e. The scale comes after the difference: before it, torch
    # 2.13 sees a softmax of something scaled, and guards it against what cannot be here at half its price.
    gap = score - score.detach().amax(dim=-1, keepdim=True)
    exp = (gap * (q.shape[-1] ** -0.5 * LOG2_E)).exp2()
    return ((exp.to(q.dtype) @ v).float() / exp.sum(dim=-1, keepdim=True)).to(q.dtype)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query sees its own position and all before it."""
    if not _by_products(k):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    at = torch.arange(q.shape[2], device=q.device, dtype=torch.int32)  # as wide as what it masks
    seen = at <= at[:, None]
    # Of 3 queries the second half is one, and what torch 2.13 then compiles for windows of any length reads
    # memory that nothing was written to.
    if q.shape[2] < 4:
        return attend(q, k, v, mask=seen)
    # In two halves a quarter of all products is not taken; more parts do not pay for their calls.
    middle = (q.shape[2] + 1) // 2
    first = (x[:, :, :middle] for x in (q, k, v))
    early = attend(*first, mask=seen[:middle, :middle])
    return torch.cat((early, attend(q[:, :, middle:], k, v, mask=seen[middle:])), dim=2)


def _by_products(keys: Tensor) -> bool:
    return (
        torch.compiler.is_compiling()
        and keys.device.type == "cpu"
        and keys.dtype == torch.bfloat16
        and keys.shape[2] <= LONGEST
    )


class Norm(nn.RMSNorm):
    # A forward pass in words of our own: of a module of torch's alone, torch compiles nothing.
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


def norm(width: int) -> Norm:
    return Norm(width, eps=EPS)


def matrix(fan_in: int, fan_out: int, *, writes: int = 1) -> nn.Linear:
    """A linear map without bias; `writes`: how many layers add to the same residual stream."""
    linear = nn.Linear(fan_in, fan_out, bias=False)
    nn.init.normal_(linear.weight, std=(fan_in * writes) ** -0.5)
    return linear


def rotation(window: int, head_dim: int, device: torch.device) -> Tensor:
    """(2, T, D/2): cosine and sine of every position's angles; Su et al. 2021, equation 15."""
    frequency = THETA ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angle = torch.arange(window, device=device, dtype=torch.float32)[:, None] * frequency
    return torch.stack((angle.cos(), angle.sin()))


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn each pair (i, i + D/2) of (B, H, T, D) by its position's angle: Llama's choice of pairs."""
    cosine, sine = turn.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)


class SelfAttention(nn.Module):
    def __init__(self, shape: Shape, writes: int) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        self.qkv = matrix(shape.width, 3 * shape.width)
        self.out = matrix(shape.width, shape.width, writes=writes)

    def forward(self, x: Tensor, turn: Tensor, attend: Attend) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, 3H, T, D)
        qk, v = heads.split((2 * self.heads, self.heads), dim=1)
        q, k = rotate(qk, turn).chunk(2, dim=1)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))

    def flops(self, positions: int, pairs: int) -> int:
        """`pairs`: the query-key products of one head, masked ones included when they are computed."""
        return _matmul(positions, self.qkv, self.out) + 4 * pairs * self.heads * self.head_dim


class CrossAttention(nn.Module):
    """Queries of one stack on the output of another.

    No rotary positions: they encode the distance of query and key inside one stream, and the encoder's
    outputs carry their positions already (T5 and T5Gemma leave them out here as well).
    """

    def __init__(self, shape: Shape, writes: int) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        self.q = matrix(shape.width, shape.width)
        self.kv = matrix(shape.width, 2 * shape.width)
        self.out = matrix(shape.width, shape.width, writes=writes)

    def forward(self, x: Tensor, memory: Tensor, attend: Attend) -> Tensor:
        q = self.q(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        k, v = self.kv(memory).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).chunk(2, dim=1)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))

    def flops(self, positions: int, memory: int) -> int:
        projections = _matmul(positions, self.q, self.out) + _matmul(memory, self.kv)
        return projections + 4 * positions * memory * self.heads * self.head_dim


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate x) * up x); Shazeer 2020, equation 6."""

    def __init__(self, shape: Shape, writes: int) -> None:
        super().__init__()
        self.writes = writes
        self.gate_up = matrix(shape.width, 2 * shape.ffn_width)
        self.down = matrix(shape.ffn_width, shape.width, writes=writes)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)

    def flops(self, positions: int) -> int:
        return _matmul(positions, self.gate_up, self.down)


class Block(nn.Module):
    """Self-attention, then FFN, each reading a norm of the residual stream and adding to it."""

    def __init__(self, shape: Shape, writes: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = norm(shape.width), SelfAttention(shape, writes)
        self.ffn_norm, self.ffn = norm(shape.width), FeedForward(shape, writes)

    def forward(self, x: Tensor, turn: Tensor, attend: Attend) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turn, attend)
        return x + self.ffn(self.ffn_norm(x))

    def flops(self, positions: int, pairs: int) -> int:
        return self.attention.flops(positions, pairs) + self.ffn.flops(positions)


class CrossBlock(nn.Module):
    """A block of a decoder that also reads an encoder's output, between its attention and its FFN."""

    def __init__(self, shape: Shape, writes: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = norm(shape.width), SelfAttention(shape, writes)
        self.cross_norm, self.cross_attention = norm(shape.width), CrossAttention(shape, writes)
        self.ffn_norm, self.ffn = norm(shape.width), FeedForward(shape, writes)

    def forward(
        self, x: Tensor, turn: Tensor, attend: Attend, memory: Tensor, attend_memory: Attend
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turn, attend)
        x = x + self.cross_attention(self.cross_norm(x), memory, attend_memory)
        return x + self.ffn(self.ffn_norm(x))

    def flops(self, positions: int, pairs: int, memory: int) -> int:
        own = self.attention.flops(positions, pairs) + self.ffn.flops(positions)
        return own + self.cross_attention.flops(positions, memory)


class Stack(nn.Module):
    """Blocks one after the other and a last norm; what is fixed for the batch is passed to each block."""

    def __init__(self, blocks: Sequence[nn.Module], width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(width)

    def forward(self, x: Tensor, start: int, *context: object) -> Tensor:
        """(B, T, E) to (B, T - start, E): the last norm and all after it need no position before `start`."""
        x = x.contiguous()  # what a first block reads lies in memory as for all others: one compilation
        for block in self.blocks:
            x = block(x, *context)
        return self.norm(x[:, start:])

    def flops(self, *sizes: int) -> int:
        return sum(block.flops(*sizes) for block in self.blocks)  # pyright: ignore[reportCallIssue]


def _matmul(positions: int, *linears: nn.Linear) -> int:
    """A product of (m, k) and (k, n) is m k n multiplications and as many additions."""
    return sum(2 * positions * linear.in_features * linear.out_features for linear in linears)

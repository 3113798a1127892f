"""A mixture of experts in place of an FFN: a router sends each token to a few of many SwiGLUs.

B rows, T positions, M = B T tokens, E width, F ffn_width of one expert, X experts, k of them active.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelaw.contracts import BadInput
from scalelaw.models.layers import matrix
from scalelaw.shape import Shape


class Matrices(nn.Module):
    """One linear map an expert, all started as one of `matrix` is."""

    def __init__(self, experts: int, fan_in: int, fan_out: int, *, writes: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, fan_out, fan_in))
        nn.init.normal_(self.weight, std=(fan_in * writes) ** -0.5)

    def flops(self, tokens: int) -> int:
        """Of `tokens` tokens, each through one expert."""
        return 2 * tokens * self.weight[0].numel()


class SparseFeedForward(nn.Module):
    """sum of p_i(x) FFN_i(x) over the k experts i with the largest p = softmax(router x).

    For k > 1 the p of the chosen are divided by their sum (Jiang et al. 2024, section 2.1: the softmax of
    their logits alone). For k = 1 that would be 1 whatever the router says, and leave it without a gradient
    of the NLL: there p stays as it is (Fedus et al. 2021, equation 2). Every token is read by its k experts,
    whatever their load: none is dropped, none waits, and no token's output depends on another. The router
    computes in float32 (Fedus et al. 2021, section 2.4).

    balance: weight of the auxiliary loss. Raises BadInput naming the key for what cannot be had.
    """

    def __init__(self, shape: Shape, writes: int, *, experts: int, active: int, balance: float) -> None:
        super().__init__()
        if not isinstance(experts, int) or experts < 1:
            raise BadInput(f"architecture.experts must be a whole number of at least 1, not {experts!r}")
        if not isinstance(active, int) or not 1 <= active <= experts:
            raise BadInput(f"architecture.active must be from 1 to experts={experts}, not {active!r}")
        if not balance >= 0:
            raise BadInput(f"architecture.balance must be 0 or positive, not {balance!r}")
        self.experts, self.active, self.balance = experts, active, balance
        self.router = matrix(shape.width, experts)
        self.gate_up = Matrices(experts, shape.width, 2 * shape.ffn_width)
        self.down = Matrices(experts, shape.ffn_width, shape.width, writes=writes)
        self.auxiliary = torch.zeros(())
        self.load = torch.full((experts,), 1 / experts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, E) to (B, T, E). With gradients on, `auxiliary` and `load` are those of this pass."""
        tokens = x.flatten(0, -2)  # (M, E)
        with torch.autocast(x.device.type, enabled=False):
            p = F.linear(tokens.float(), self.router.weight.float()).softmax(dim=-1)  # (M, X)
        gate, chosen = p.topk(self.active, dim=-1)  # (M, k)
        if self.active > 1:
            gate = gate / gate.sum(dim=-1, keepdim=True)
        if torch.is_grad_enabled():
            self._balance(p, chosen)
        read = by_expert(tokens, chosen, self.gate_up.weight, self.down.weight)  # (M, k, E)
        return (read * gate[..., None].to(read.dtype)).sum(dim=1).view(x.shape)

    def _balance(self, p: Tensor, chosen: Tensor) -> None:
        """balance * X sum_i f_i P_i: f the share of all choices that fell on an expert, P its mean p. 1 times
        `balance` where all have the same load, up to X times (Fedus et al. 2021, equations 4 to 6)."""
        self.load = F.one_hot(chosen, self.experts).float().mean(dim=(0, 1))
        self.auxiliary = self.balance * self.experts * (self.load * p.mean(dim=0)).sum()

    @property
    def idle(self) -> int:
        """Parameters that a token does not pass through."""
        one = self.gate_up.weight[0].numel() + self.down.weight[0].numel()
        return (self.experts - self.active) * one

    def flops(self, positions: int) -> int:
        router = 2 * positions * self.router.weight.numel()
        through = self.active * positions
        return router + self.gate_up.flops(through) + self.down.flops(through)


def _by_expert(tokens: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """(M, k, E): what the experts each token has `chosen`, (M, k), say of it. Tokens are put in the order of
    their experts, read by one expert after the other, and put back."""
    order = chosen.flatten().argsort(stable=True)
    loads = chosen.flatten().bincount(minlength=len(down)).tolist()
    parts = tokens.index_select(0, order // chosen.shape[1]).split(loads)
    said = [
        F.linear(_swiglu(F.linear(part, into)), out)
        for part, into, out in zip(parts, gate_up, down, strict=True)
    ]
    return torch.cat(said).index_select(0, order.argsort()).view(*chosen.shape, -1)


# The loads are plain numbers, others in each batch: it would be compiled for each anew.
by_expert: Any = torch.compiler.disable(_by_expert)


def _swiglu(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up

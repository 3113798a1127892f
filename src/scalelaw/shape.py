"""The shape of a model: what one rung of a ladder sets, whatever the architecture."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from scalelaw.contracts import BadInput

FFN_STEP = 16  # fp32 lanes of a 512-bit vector register; matmuls with odd inner sizes leave lanes idle


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a transformer.

    depth: blocks of a stack (an encoder-decoder has two stacks).
    width: E, the residual stream. heads: H, each of width / heads. ffn_width: hidden units of an FFN.
    Raises BadInput, naming the key, for sizes that no model can have.
    """

    depth: int
    width: int
    heads: int
    ffn_width: int

    def __post_init__(self) -> None:
        for key in ("depth", "width", "heads", "ffn_width"):
            _positive(key, getattr(self, key))
        if self.width % self.heads:
            raise BadInput(f"width {self.width} cannot be divided into heads={self.heads} equal heads")
        if self.head_dim % 2:
            raise BadInput(f"heads={self.heads} gives heads of {self.head_dim}: rotary positions turn pairs")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def ladder(*, depth: int, width_per_layer: int, head_dim: int, ffn_multiple: float | str) -> Shape:
    """One dial: the depth gives the width, the width gives the rest.

    A fixed aspect ratio (width / depth) keeps rungs comparable; loss depends on it weakly over a wide range
    (Kaplan et al. 2020, section 3.1). A fixed head_dim keeps attention's 1 / sqrt(head_dim) the same on
    every rung, so that the learning rate may transfer over width (Yang et al. 2022, Tensor Programs V); the
    number of heads grows instead).
    ffn_multiple: FFN width per model width, a number or a fraction such as "8/3" (two thirds of 4, so that
    SwiGLU's three matrices cost what an MLP's two do; Shazeer 2020), rounded up to a multiple of 16.
    """
    for key, value in (("depth", depth), ("width_per_layer", width_per_layer), ("head_dim", head_dim)):
        _positive(key, value)
    width = width_per_layer * depth
    if width % head_dim:
        raise BadInput(
            f"head_dim {head_dim} does not divide width {width} = width_per_layer {width_per_layer} "
            f"x depth {depth}"
        )
    steps = ceil(_fraction("ffn_multiple", ffn_multiple) * width / FFN_STEP)
    return Shape(depth=depth, width=width, heads=width // head_dim, ffn_width=FFN_STEP * steps)


def _positive(key: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadInput(f"{key} must be a whole number of at least 1, not {value!r}")


def _fraction(key: str, value: float | str) -> Fraction:
    try:  # through text, so that 2.5 and "8/3" mean what they say and no rounding error is rounded up
        fraction = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        fraction = Fraction(0)
    if fraction <= 0:
        raise BadInput(f"{key} must be a positive number or fraction such as 8/3, not {value!r}")
    return fraction

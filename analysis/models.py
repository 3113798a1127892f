"""What a model of a published shape, or a planned one, takes: parameters, FLOPs, memory, energy and CO2.

Everything is counted from the shape and multiplied by stated factors (analysis.costs); what was published
stands beside it and is never mixed in, but for models whose shape is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from analysis import costs
from analysis.costs import Doubt, Hardware, Site, positive


class Shape(Protocol):
    """A transformer in closed form, as scalelaw.counting.Published is one: E `width`; `encoder` and `decoder`
    blocks; K `key_value_width`, that of all keys of a token in a block together; V `vocab_size`."""

    @property
    def encoder(self) -> int: ...
    @property
    def decoder(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def key_value_width(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...

    def counts(self) -> dict[str, int]: ...
    def flops(self, *, window: int, prefix: int, start: int) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What was said of a model, by whoever trained it unless its yaml says otherwise; None: nothing.

    parameters, FLOPs, hours of one device, MWh, tonnes of CO2 equivalents."""

    parameters: float | None
    flops: float | None
    hours: float | None
    mwh: float | None
    tonnes: float | None


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model and its training.

    shape: None where it is undisclosed; then parameters are those stated, and C is 6 N D. window: tokens of a
    row, of which `prefix` are read by an encoder. tokens: D, inputs and targets; None: undisclosed. passes:
    forward passes' worth of FLOPs, 3, or 4 with everything computed again for the backward pass. confirmed:
    by whoever trained it. Raises ValueError naming the key for a number that cannot be.
    """

    name: str
    shape: Shape | None
    window: int | None
    prefix: int
    tokens: float | None
    passes: int
    hardware: Hardware
    site: Site
    doubt: Doubt
    confirmed: bool
    stated: Stated

    def __post_init__(self) -> None:
        if self.tokens is not None:
            positive("tokens", self.tokens)
        if self.shape is not None:
            window = positive("window", self.window)
            if not 0 <= self.prefix < window or bool(self.prefix) != bool(self.shape.encoder):
                raise ValueError(
                    f"prefix={self.prefix}: what an encoder reads of window={window:g}, 0 without one"
                )
        if self.passes not in (3, 4):
            raise ValueError(f"passes={self.passes}: is 3, or 4 where the forward pass is computed again")

    @property
    def parameters(self) -> float | None:
        return self.stated.parameters if self.shape is None else self.shape.counts()["total"]

    @property
    def flops_6nd(self) -> float | None:
        """6 N D of all parameters (Kaplan et al. 2020, section 2.1)."""
        N, D = self.parameters, self.tokens
        return None if N is None or D is None else 6 * N * D

    @property
    def flops(self) -> float | None:
        """C: products of matrices and attention as counted, in all passes; 6 N D without a shape."""
        if self.shape is None or self.tokens is None or self.window is None:
            return self.flops_6nd
        row = self.shape.flops(window=self.window, prefix=self.prefix, start=self.prefix)
        return self.passes * row * self.tokens / self.window


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """Of a parameter in use and in training, with gradients and the optimizer's states; of an entry of the
    cache."""

    weights: float
    training: float
    cache: float


@dataclass(frozen=True, kw_only=True)
class Text:
    """So many bytes of text in so many parameters, of which each can store `capacity` bits."""

    size: float
    parameters: float
    bits_per_byte: float
    capacity: float

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            positive(f"text.{key}", value)

    def told(self) -> dict[str, float]:
        """raw: bits of text a parameter, eight a byte. compressed: as the model says it. stored: the share of
        these that the parameters can hold, at most."""
        raw = 8 * self.size / self.parameters
        compressed = self.bits_per_byte * self.size / self.parameters
        return {"raw": raw, "compressed": compressed, "stored": min(1.0, self.capacity / compressed)}


def textbook(shape: Shape) -> int:
    """N of textbooks, 12 L E^2 + V E: attention of 4 E^2 and an MLP of 8 E^2 a block, 4 E^2 more for the look
    across of a decoder beside an encoder. It knows neither other widths nor norms, biases and positions."""
    blocks = 12 * (shape.encoder + shape.decoder) + (4 * shape.decoder if shape.encoder else 0)
    return blocks * shape.width**2 + shape.vocab_size * shape.width


def cache(shape: Shape, *, window: int, prefix: int) -> int:
    """Entries of one sequence's cache once `window` tokens are read: keys and values of every block.

    With an encoder, the decoder's own of the tokens after the prefix, and those across of the prefix: as many
    as without one, for the decoder's blocks alone."""
    own = window - prefix if shape.encoder else window
    across = prefix if shape.encoder else 0
    return 2 * shape.decoder * (own + across) * shape.key_value_width


def figures(model: Model, size: Bytes) -> dict[str, Any]:
    """Every figure of a model by its name, None where something undisclosed is needed; *95 its interval.

    parameters, textbook; tokens; flops, flops_6nd; weights, training, cache in bytes, of one sequence;
    hours of one device, mwh, tonnes.
    """
    N, C, shape = model.parameters, model.flops, model.shape
    found: dict[str, Any] = dict.fromkeys(("textbook", "cache", "hours", "mwh", "tonnes"))
    found |= {"parameters": N, "tokens": model.tokens, "flops": C, "flops_6nd": model.flops_6nd}
    found |= {key: None if N is None else N * getattr(size, key) for key in ("weights", "training")}
    if shape is not None and model.window is not None:
        entries = cache(shape, window=model.window, prefix=model.prefix)
        found |= {"textbook": textbook(shape), "cache": entries * size.cache}
    return found if C is None else found | _spent(model, C)


def _spent(model: Model, C: float) -> dict[str, Any]:
    spent = costs.cost(model.hardware.hours(C), model.hardware, model.site)
    values = {"hours": spent.hours, "mwh": spent.kwh / 1e3, "tonnes": spent.grams / 1e6}
    factors = ("utilisation", "watts", "pue", "carbon")
    return values | {
        f"{key}95": model.doubt.around(value, *factors[:count])
        for (key, value), count in zip(values.items(), (1, 3, 4), strict=True)
    }


def compared(model: Model, found: Mapping[str, Any]) -> dict[str, float]:
    """Counted over stated, for what was stated and is counted without it."""
    said = {key: value for key, value in vars(model.stated).items() if value is not None}
    if model.shape is None:
        said.pop("parameters", None)
    return {key: found[key] / value for key, value in said.items() if found[key] is not None}

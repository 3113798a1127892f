"""What computing costs: FLOPs, hours of a device, kWh, grams of CO2 and money, and back to FLOPs.

All of it is multiplication by stated factors (conf/hardware, conf/site), as in Patterson et al. 2021
(arXiv:2104.10350, section 2.2): energy = hours x watts x PUE, emissions = energy x carbon intensity.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SECONDS = 3600  # an hour
WATTS = 1000  # a kilowatt


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One device, as a scheduler hands it out: a GPU, a TPU chip, a core of a processor.

    kind: torch's name of its type, as "cpu" or "cuda". peak: FLOP/s of dense matrix products. utilisation:
    the share of it that training reaches, above 0 to 1. watts: that one busy device draws, without the
    building. price: of an hour of it, in any one currency; None: not known.
    Raises ValueError naming the key for a number that cannot be.
    """

    name: str
    kind: str
    peak: float
    utilisation: float
    watts: float
    price: float | None

    def __post_init__(self) -> None:
        for key in ("peak", "utilisation", "watts"):
            positive(f"hardware.{key}", getattr(self, key))
        if self.utilisation > 1:
            raise ValueError(f"hardware.utilisation={self.utilisation}: is a share of the peak, at most 1")
        if self.price is not None:
            positive("hardware.price", self.price)

    def hours(self, flops: float) -> float:
        """Hours of one device that so many FLOPs take; of n devices an n-th."""
        return flops / (self.peak * self.utilisation) / SECONDS

    def flops(self, hours: float) -> float:
        """FLOPs of so many hours of one device."""
        return hours * SECONDS * self.peak * self.utilisation


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where it stands. pue: energy of the building over that of its machines, at least 1. carbon: grams of
    CO2 equivalents a kWh. Raises ValueError naming the key for a number that cannot be."""

    name: str
    pue: float
    carbon: float

    def __post_init__(self) -> None:
        if positive("site.pue", self.pue) < 1:
            raise ValueError(f"site.pue={self.pue}: at least 1, since the building has its machines in it")
        if not 0 <= self.carbon < math.inf:
            raise ValueError(f"site.carbon={self.carbon}: grams of CO2 a kWh are not negative")


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """How many times too high or too low each stated factor may be: half of a 95 % interval in its logarithm.

    Raises ValueError naming the key for one below 1.
    """

    utilisation: float
    watts: float
    pue: float
    carbon: float

    def __post_init__(self) -> None:
        for key, factor in vars(self).items():
            if positive(f"doubt.{key}", factor) < 1:
                raise ValueError(f"doubt.{key}={factor}: is a factor either way, at least 1")

    def around(self, value: float, *factors: str) -> tuple[float, float]:
        """95 % interval of a product of these factors: their logarithms' doubts, taken as independent, add
        up in squares."""
        times = math.exp(math.hypot(*(math.log(getattr(self, key)) for key in factors)))
        return value / times, value * times


@dataclass(frozen=True)
class Cost:
    """hours: of one device. kwh: the building's share included. grams: of CO2 equivalents. price: in the
    currency of `Hardware.price`; None where that is not known."""

    hours: float
    kwh: float
    grams: float
    price: float | None


def cost(hours: float, hardware: Hardware, site: Site) -> Cost:
    """What so many hours of one device cost."""
    kwh = hours * hardware.watts / WATTS * site.pue
    price = None if hardware.price is None else hours * hardware.price
    return Cost(hours, kwh, kwh * site.carbon, price)


def flops(budget: Mapping[str, float | None], hardware: Hardware, site: Site) -> float:
    """FLOPs that a budget buys: one of flops, gpu_hours (hours of one device, whatever it is), money or kwh,
    the others None. Raises ValueError naming the key: none given, several, or not a positive number."""
    given = {key: amount for key, amount in budget.items() if amount is not None}
    if len(given) != 1:
        several = " and ".join(f"{key}={amount}" for key, amount in given.items())
        raise ValueError(f"{several or 'no budget'}: give one of {', '.join(BUYS)}")
    ((key, amount),) = given.items()
    return BUYS[key](positive(key, amount), hardware, site)


def _of_money(amount: float, hardware: Hardware, site: Site) -> float:
    if hardware.price is None:
        raise ValueError(f"money={amount:g}: {hardware.name} has no price, so give hardware.price too")
    return hardware.flops(amount / hardware.price)


def _of_energy(amount: float, hardware: Hardware, site: Site) -> float:
    return hardware.flops(amount * WATTS / hardware.watts / site.pue)


BUYS: Mapping[str, Callable[[float, Hardware, Site], float]] = {
    "flops": lambda amount, hardware, site: amount,
    "gpu_hours": lambda amount, hardware, site: hardware.flops(amount),
    "money": _of_money,
    "kwh": _of_energy,
}


def positive(key: str, value: Any) -> float:
    """The value as a float. Raises ValueError naming the key for anything but a positive finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ValueError(f"{key}={value}: has to be a positive number")
    return float(value)

"""The few pieces of HTML the page is made of. Text is escaped here and nowhere else."""

import re
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np


class Raw(str):
    """Text that already is HTML."""


def text(value: object) -> str:
    return value if isinstance(value, Raw) else escape(str(value), quote=True)


# What captions and formulas write in plain text: alpha_N, N^alpha, C^0.53, N_opt, 2.2e+14.
MARKUP = (
    (r"\balpha(?=\b|_)", "α"),
    (r"\bbeta\b", "β"),
    (r"\ba([NDC])\b", r"α_\1"),
    (r"\b([NDC])c\b", r"\1_c"),
    (r"\b([A-Zxα])_(opt|total|target|c|[NDC])\b", r"\1<sub>\2</sub>"),
    (r"\^(-?[\d.]*\d|[αβa](?:<sub>.</sub>)?)", r"<sup>\1</sup>"),
    (r"\b(\d(?:\.\d+)?)e\+?(-?)0*(\d+)\b", r"\1&thinsp;×&thinsp;10<sup>\2\3</sup>"),
)


def prose(plain: str) -> Raw:
    """Escaped text with its exponents, subscripts and powers of ten set."""
    out = escape(plain)
    for pattern, replacement in MARKUP:
        out = re.sub(pattern, replacement, out)
    return Raw(out)


def tag(name: str, *children: object, **attributes: str) -> Raw:
    """<name attribute="...">children</name>; a trailing underscore spells `class_`."""
    inside = "".join(f' {key.rstrip("_")}="{escape(value, quote=True)}"' for key, value in attributes.items())
    return Raw(f"<{name}{inside}>{''.join(map(text, children))}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Raw:
    return Raw(between.join(map(text, parts)))


def table(head: Iterable[object], rows: Iterable[Sequence[object]], *, class_: str = "") -> Raw:
    """A table; a column is right-aligned where its cells are numbers (`Num`)."""
    body = join(tag("tr", *(_cell(value) for value in row)) for row in rows)
    top = tag("tr", *(tag("th", value) for value in head))
    return tag("div", tag("table", tag("thead", top), tag("tbody", body), class_=class_), class_="scroll")


class Num(Raw):
    """A number as shown, with its value kept for sorting."""

    value: float

    def __new__(cls, shown: str, value: float | None) -> "Num":
        out = super().__new__(cls, shown)
        out.value = float("nan") if value is None else float(value)
        return out


def _cell(value: object) -> Raw:
    if isinstance(value, Num):
        return Raw(f'<td class="num" data-v="{value.value:.10g}">{value}</td>')
    return tag("td", value)


def sig(value: float | None, digits: int = 4) -> Num:
    """A number to so many significant digits, the zeros kept; an en dash for none."""
    if value is None or not np.isfinite(value):
        return Num("–", None)
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return sci(value, digits)
    shown = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")
    return Num(shown.replace("-", "−"), value)


def sci(value: float | None, digits: int = 3) -> Num:
    """2.5 × 10<sup>11</sup>."""
    if value is None or not np.isfinite(value) or value == 0:
        return Num("–" if not value else str(value), value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return Num(f"{mantissa}&thinsp;×&thinsp;10<sup>{int(exponent)}</sup>", value)


def percent(value: float | None, digits: int = 2) -> Num:
    if value is None or not np.isfinite(value):
        return Num("–", None)
    return Num(f"{100 * value:+.{digits}f}&thinsp;%".replace("-", "−"), value)


def whole(value: float | None) -> Num:
    """An integer with thin spaces between thousands."""
    if value is None or not np.isfinite(value):
        return Num("–", None)
    return Num(f"{round(value):,}".replace(",", "&#8239;"), value)


def bounds(pair: Sequence[float] | None, digits: int = 4) -> Num:
    if pair is None or np.isnan(pair).any():
        return Num("–", None)
    low, high = ("∞" if np.isposinf(value) else sig(value, digits) for value in pair)
    return Num(f"[{low}, {high}]", pair[0])

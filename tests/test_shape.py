"""One dial gives a shape; shapes no model can have are refused by name."""

from fractions import Fraction

import pytest

from scalelaw.contracts import BadInput
from scalelaw.shape import Shape, ladder

DIALS = {"depth": 4, "width_per_layer": 12, "head_dim": 12, "ffn_multiple": "8/3"}


def test_one_dial_gives_the_rest() -> None:
    assert ladder(**DIALS) == Shape(depth=4, width=48, heads=4, ffn_width=128)


@pytest.mark.parametrize("depth", range(1, 40))
def test_the_ladder_keeps_its_ratios(depth: int) -> None:
    shape = ladder(**{**DIALS, "depth": depth})
    assert shape.width == 12 * depth
    assert shape.head_dim == 12
    assert shape.ffn_width % 16 == 0
    assert 0 <= shape.ffn_width - Fraction(8, 3) * shape.width < 16


@pytest.mark.parametrize(
    ("multiple", "expected"), [("8/3", 128), (4, 192), (2.5, 128), (8 / 3, 128), ("4", 192)]
)
def test_the_ffn_multiple_is_exact(multiple: float | str, expected: int) -> None:
    """8/3 of 48 is 128 and not, by a rounding error upwards, 144."""
    assert ladder(**{**DIALS, "ffn_multiple": multiple}).ffn_width == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[(key, bad) for key in ("depth", "width_per_layer", "head_dim") for bad in (0, -1, 2.0, "3", True)],
        *[("ffn_multiple", bad) for bad in (0, -1, "x", "1/0", None, "nan")],
        ("head_dim", 7),
    ],
)
def test_a_bad_dial_is_named(key: str, value: object) -> None:
    with pytest.raises(BadInput, match=key):
        ladder(**{**DIALS, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [("depth", 0), ("width", -4), ("heads", 5), ("heads", 16), ("ffn_width", 1.5), ("heads", 0)],
)
def test_a_bad_size_is_named(key: str, value: object) -> None:
    """5 heads do not divide 48; 16 heads have 3 dimensions, which rotary positions cannot pair."""
    sizes = {"depth": 4, "width": 48, "heads": 4, "ffn_width": 128}
    with pytest.raises(BadInput, match=key):
        Shape(**{**sizes, key: value})

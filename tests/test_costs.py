"""Hours, kWh, CO2 and money from FLOPs, against figures worked by hand and published ones."""

import pytest
from commands import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf

from analysis import costs
from analysis.costs import Hardware, Site

DEVICE = Hardware(name="a device", kind="cuda", peak=1e15, utilisation=0.4, watts=500, price=2.0)
PLACE = Site(name="a place", pue=1.2, carbon=400)
NONE: dict[str, float | None] = dict.fromkeys(costs.BUYS)


def option(group, name):
    return instantiate(OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml"))


def test_gpt_3_cost_what_patterson_et_al_published():
    """arXiv:2104.10350, table 4: 3.14e23 FLOPs, 10,000 V100 for 14.8 days, 1,287 MWh, 552 t of CO2."""
    v100, site = option("hardware", "v100"), option("site", "patterson")
    found = costs.cost(v100.hours(3.14e23), v100, site)
    assert found.hours / 10_000 / 24 == pytest.approx(14.8, abs=0.05)
    assert found.kwh / 1e3 == pytest.approx(1287, abs=0.5)
    assert found.grams / 1e6 == pytest.approx(552.1, abs=0.2)
    assert found.price is None


def test_an_hour_worked_by_hand():
    """1e15 x 0.4 x 3600 FLOPs; half a kilowatt for an hour, a fifth on top; 400 g a kWh; 2 an hour."""
    assert DEVICE.hours(1.44e18) == pytest.approx(1.0)
    found = costs.cost(1.0, DEVICE, PLACE)
    assert (found.kwh, found.grams, found.price) == pytest.approx((0.6, 240.0, 2.0))


@pytest.mark.parametrize(
    ("key", "amount", "hours"),
    [("flops", 1.44e18, 1), ("gpu_hours", 3, 3), ("money", 5, 2.5), ("kwh", 6, 10)],
)
def test_every_budget_buys_its_flops(key, amount, hours):
    assert costs.flops(NONE | {key: amount}, DEVICE, PLACE) == pytest.approx(hours * 1.44e18)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({}, "no budget: give one of flops, gpu_hours, money, kwh"),
        ({"kwh": 3, "money": 5}, "money=5 and kwh=3: give one of"),
        ({"kwh": 0}, "kwh=0: has to be a positive number"),
        ({"flops": -1e18}, "flops=-1e"),
        ({"money": float("inf")}, "money=inf"),
        ({"gpu_hours": True}, "gpu_hours=True"),
        ({"gpu_hours": "ten"}, "gpu_hours=ten"),
    ],
)
def test_a_budget_that_is_none_is_told_by_its_key(budget, told):
    with pytest.raises(ValueError, match=told.replace("+", r"\+")):
        costs.flops(NONE | budget, DEVICE, PLACE)


def test_money_needs_a_price():
    with pytest.raises(ValueError, match=r"money=5: V100 has no price, so give hardware\.price"):
        costs.flops(NONE | {"money": 5}, option("hardware", "v100"), PLACE)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"peak": 0}, "hardware.peak=0"),
        ({"utilisation": 40}, "hardware.utilisation=40: is a share"),
        ({"watts": None}, "hardware.watts=None"),
        ({"price": -1}, "hardware.price=-1"),
    ],
)
def test_hardware_that_cannot_be_is_told_by_its_key(given, told):
    with pytest.raises(ValueError, match=told):
        Hardware(**vars(DEVICE) | given)


@pytest.mark.parametrize(
    ("given", "told"), [({"pue": 0.9}, "site.pue=0.9"), ({"carbon": -1}, "site.carbon=-1")]
)
def test_a_site_that_cannot_be_is_told_by_its_key(given, told):
    with pytest.raises(ValueError, match=told):
        Site(**vars(PLACE) | given)


@pytest.mark.parametrize("path", sorted((ROOT / "conf/hardware").glob("*")), ids=lambda path: path.stem)
def test_every_hardware_draws_less_than_a_server(path):
    """Picojoules a FLOP: an H100 at 40 % takes 1.8, a core of a processor some tens."""
    device = instantiate(OmegaConf.load(path))
    assert 0.5 < 1e12 * device.watts / (device.peak * device.utilisation) < 100


@pytest.mark.parametrize("path", sorted((ROOT / "conf/site").glob("*")), ids=lambda path: path.stem)
def test_every_site_is_on_earth(path):
    site = instantiate(OmegaConf.load(path))
    assert 1 <= site.pue < 2
    assert 0 < site.carbon < 1000  # coal alone

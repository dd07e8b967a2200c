"""What the sandbox's bills cost and which powers they tell: plausible, declared as made up, the same whatever `until` is."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

import pytest

from ingestion.sandbox.stock import POWER_TIGHT, POWER_TOO_HIGH, RATES
from ingestion.sandbox.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_bills_cost_what_such_buildings_pay(world: World) -> None:
    """Without tax, a kWh as billed: in wide limits that a slip of a unit leaves; heat networks with their fixed part."""
    limits = {"electricity": (0.14, 0.22), "gas": (0.07, 0.11), "heat_network": (0.09, 0.16), "fuel_oil": (0.1, 0.13), "wood": (0.06, 0.09)}
    paid, taken, area = defaultdict[str, float](float), defaultdict[str, float](float), world.area.sum()
    for bill in world.bills:
        if bill["amount_excluding_tax"] is not None and bill["quantity"]:
            paid[bill["energy"]] += bill["amount_excluding_tax"]
            taken[bill["energy"]] += bill["quantity"] * (1000 if bill["unit"] == "MWh" else 1)
            assert 0.05 < bill["tax_amount"] / bill["amount_excluding_tax"] < 0.55
    assert paid.keys() == limits.keys()
    for energy, (low, high) in limits.items():
        assert low < paid[energy] / taken[energy] < high, energy
    assert 15 < sum(paid.values()) / 2 / area < 35, "euros a m2 and year"


def test_a_bill_without_amount_has_none_and_no_zero(world: World) -> None:
    without = [bill for bill in world.bills if bill["amount_excluding_tax"] is None]
    assert 0 < len(without) < 4 * RATES["without_amount"] * len(world.bills)
    assert all(bill["tax_amount"] is None for bill in without)
    assert all(bill["currency"] == "EUR" for bill in world.bills)
    (note,) = world.credit_notes
    assert note["quantity"] == 0 and note["amount_excluding_tax"] < 0
    beside = [bill for bill in world.bills if (bill["contract_id"], bill["from_date"]) == (note["contract_id"], note["from_date"])]
    assert len(beside) == 2, "it takes from a bill"


def test_bills_of_electricity_are_what_meters_count(world: World) -> None:
    """A year of bills against the index, which is read at UTC midnights: equal but for an hour or two."""
    counted = world.midnights[:2].sum(axis=0)
    first, last = ((day - dt.date(2023, 12, 1)).days for day in (dt.date(2024, 1, 1), dt.date(2025, 1, 1)))
    for i, name in enumerate(world.building_ids):
        billed = sum(b["quantity"] for b in world.electricity_bills if b["building_id"] == name and b["from_date"].year == 2024)
        assert billed == pytest.approx(counted[i, last] - counted[i, first], rel=0.001)


def test_powers_are_as_the_meters_say_some_too_high_some_exceeded(world: World) -> None:
    subscribed = {row["building_id"]: row["subscribed_power_kva"] for row in world.meters}
    shares = defaultdict[str, list[float]](list)
    for bill in world.electricity_bills:
        assert bill["subscribed_power_kva"] == subscribed[bill["building_id"]]
        shares[bill["building_id"]].append(bill["highest_power_kva"] / bill["subscribed_power_kva"])
    high = {name: max(found) for name, found in shares.items()}
    assert high[world.building_ids[POWER_TOO_HIGH]] < 0.5
    tight = shares[world.building_ids[POWER_TIGHT]]
    assert 0 < sum(share > 1 for share in tight) < len(tight)
    assert all(share <= 1 for name, found in shares.items() if name != world.building_ids[POWER_TIGHT] for share in found)


def test_a_later_until_only_adds_bills_of_electricity(world: World) -> None:
    early = World(until=dt.date(2024, 10, 9))
    known = {bill["bill_id"]: bill for bill in world.bills}
    assert early.electricity_bills and all(known[bill["bill_id"]] == early.priced(bill) for bill in early.electricity_bills)


def test_the_obligation_has_its_cases(world: World) -> None:
    rows = world.buildings
    assert len({row["efa_id"] for row in rows[:2]}) == 1 and len({row["site_id"] for row in rows[:2]}) == 1
    areas = defaultdict[str, float](float)
    for row in rows:
        areas[row["site_id"]] += row["tertiary_area_m2"]
        assert row["tertiary_area_m2"] <= row["floor_area_m2"]
    assert any(area < 1000 for area in areas.values()) and any(row["efa_id"] is None for row in rows)
    declared = [row for row in rows if row["subject_from_year"]]
    assert declared and all(areas[row["site_id"]] < 1000 for row in declared)
    entered = {row["efa_id"] for row in world.tertiary_entries}
    assert entered < {row["efa_id"] for row in rows}, "some refer to nothing yet"
    assert all(row["reference_year"] >= 2010 for row in world.tertiary_entries)

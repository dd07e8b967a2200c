"""The energy signature and what rests on it, scored: the models' own SQL, run in plain DuckDB over bills whose truth is known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pytest

from flows.dbt_process import DBT_PROJECT
from ingestion.sandbox.noise import uniform
from ingestion.sandbox.stock import FIRST_DAY
from ingestion.sandbox.world import World
from tests.fixtures.compiled import Compiled

SEEDS = range(1, 11)
STATION = "35281001"
CHAIN = [
    "int_calendar_days",
    "int_days_with_degree_days",
    "int_months_with_degree_days",
    "int_energy_thresholds_pivoted",
    "int_meters_expected_by_day",
    "int_contracts_expected_by_day",
    "int_supplies_expected_by_day",
    "int_bills_by_day",
    "int_bill_periods_by_day",
    "int_signature_days",
    "int_energy_signatures_fitted",
    "int_bills_shared_by_day",
    "int_consumptions_billed_by_day",
    "int_consumptions_by_building_month",
    "int_consumptions_judged",
    "int_consumptions_compared",
    "int_consumptions_corrected",
]


def run(models: dict[str, str], world: World, bills: list[dict[str, Any]], buildings: list[tuple[str, str]]) -> duckdb.DuckDBPyConnection:
    """The chain over bills (building, contract, energy, from_date, to_date, quantity, unit) under a world's weather."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'; attach ':memory:' as warehouse; use warehouse")
    for schema in ("staging", "seeds", "intermediate"):
        connection.execute(f"create schema {schema}")
    for seed in ("energies", "energy_units", "energy_thresholds"):
        dates = "types = {'valid_from': 'date', 'valid_to': 'date', 'verified_on': 'date'}"
        connection.execute(f"create table seeds.{seed} as from read_csv('{DBT_PROJECT}/seeds/energy/{seed}.csv', {dates})")
    days = (world.until - FIRST_DAY).days + 1
    weather = world.daily_weather(FIRST_DAY, days)
    connection.execute("""
        create table staging.stg_meteo_stations__daily (
            station_id text, observation_date date, month_date date, temperature_min_c double, temperature_max_c double);
        create table staging.stg_patrimoine_bati__buildings (building_id text, heating_energy text);
        create table staging.stg_patrimoine_bati__contracts (
            contract_id text, building_id text, energy text, valid_from_date date, valid_to_date date);
        create table staging.stg_patrimoine_bati__meters (
            meter_id text, building_id text, deveui text, energy text, valid_from_at timestamptz, valid_to_at timestamptz);
        create table staging.stg_patrimoine_bati__bills (
            bill_id text, building_id text, contract_id text, energy text, from_date date, to_date date, quantity double, unit text,
            cost_excluding_tax_eur double, cost_eur double);
        create table intermediate.int_consumptions_metered_by_day (
            building_id text, energy text, consumption_source text, day_date date, apportionment_method text, is_apportioned boolean,
            is_conversion_verified boolean, is_known boolean, consumption_kwh double, produced_kwh double, apportioned_kwh double,
            covered_hours double, reset_count bigint, outlier_count bigint, implausible_count bigint, month_date date);
    """)
    rows = [
        (STATION, day, day.replace(day=1), float(low), float(high))
        for day, low, high in zip((FIRST_DAY + dt.timedelta(days=n) for n in range(days)), weather["tn"], weather["tx"], strict=True)
    ]
    connection.executemany("insert into staging.stg_meteo_stations__daily values (?, ?, ?, ?, ?)", rows)
    connection.executemany("insert into staging.stg_patrimoine_bati__buildings values (?, ?)", buildings)
    keys = ("bill_id", "building_id", "contract_id", "energy", "from_date", "to_date", "quantity", "unit")
    told = [tuple(bill[key] for key in keys) for bill in bills]
    connection.executemany("insert into staging.stg_patrimoine_bati__bills values (?, ?, ?, ?, ?, ?, ?, ?, null, null)", told)
    for name in CHAIN:
        connection.execute(f"create table intermediate.{name} as {models[name]}")
    return connection


def cold_of(world: World) -> dict[dt.date, float]:
    """Degree-days of each day, base 18 °C, professional method: written here from its text."""
    days = (world.until - FIRST_DAY).days + 1
    weather, found = world.daily_weather(FIRST_DAY, days), {}
    for n, (low, high) in enumerate(zip(weather["tn"].tolist(), weather["tx"].tolist(), strict=True)):
        mean = 18 - (low + high) / 2
        across = 0.0 if low >= 18 else (18 - low) * (0.08 + 0.42 * (18 - low) / (high - low)) if high > low else mean
        found[FIRST_DAY + dt.timedelta(days=n)] = mean if high < 18 else across
    return found


def periods(first: dt.date, until: dt.date, months: int) -> Iterator[tuple[dt.date, dt.date]]:
    start = first
    while (end := dt.date(start.year + (start.month + months - 1) // 12, (start.month + months - 1) % 12 + 1, start.day)) <= until:
        yield start, end
        start = end


def bills_of(building: str, cold: dict[dt.date, float], months: int, a: float, b: float, noise: int | None = None, less: float = 0.0,
             energy: str = "gas") -> list[dict[str, Any]]:  # fmt: skip
    """Bills of a kWh a day and b a degree-day, each off by at most 5 % as the sandbox's are; `less` of it after the first year."""
    found = []
    for start, end in periods(FIRST_DAY, max(cold) + dt.timedelta(days=1), months):
        days = [start + dt.timedelta(days=n) for n in range((end - start).days)]
        amount = a * len(days) + b * sum(cold[day] for day in days)
        amount *= 1 if noise is None else 0.95 + 0.1 * float(uniform(noise, "bill", end.year * 12 + end.month))
        amount *= 1 - less * (start.year > FIRST_DAY.year)
        found.append({"bill_id": f"{building}-{start}", "building_id": building, "contract_id": building, "energy": energy,
                      "from_date": start, "to_date": end, "quantity": amount, "unit": "kWh"})  # fmt: skip
    return found


@pytest.fixture(scope="module")
def made_up(compiled: Compiled) -> duckdb.DuckDBPyConnection:
    """Pools billed every two months (exact, and by ten seeds of noise), a flat use, and one that takes 2.2 % less."""
    world = World(seed=35)
    cold, bills = cold_of(world), []
    bills += bills_of("pool", cold, 2, 1400, 130)
    bills += bills_of("monthly", cold, 1, 1400, 130)
    bills += bills_of("flat", cold, 2, 900, 0)
    bills += bills_of("less", cold, 2, 300, 130, less=0.022)
    bills += bills_of("cooks", cold, 2, 300, 130)
    for seed in SEEDS:
        bills += bills_of(f"noise{seed}", cold, 2, 1400, 130, noise=seed)
        bills += bills_of(f"flat{seed}", cold, 2, 900, 0, noise=seed)
    names = {bill["building_id"] for bill in bills}
    return run(compiled.models, world, bills, [(name, "wood" if name == "cooks" else "gas") for name in sorted(names)])


def fits(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    cursor = connection.execute("from intermediate.int_energy_signatures_fitted")
    names = [column[0] for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {row["building_id"]: row for row in rows}


def test_without_noise_the_signature_is_the_truth_and_july_is_right(made_up: duckdb.DuckDBPyConnection) -> None:
    found = fits(made_up)
    for name in ("pool", "monthly"):
        assert found[name]["refusal_reason"] is None
        assert found[name]["slope_kwh_per_degree_day"] == pytest.approx(130, rel=0.05)
        assert found[name]["base_kwh_per_day"] == pytest.approx(1400, rel=0.05)
    assert abs(found["flat"]["slope_kwh_per_degree_day"]) < 1, "a flat use has no slope"
    cold = cold_of(World(seed=35))
    asked = "select month_date, consumption_kwh from intermediate.int_consumptions_by_building_month where building_id = 'pool'"
    months = dict(made_up.execute(asked).fetchall())
    for month in (dt.date(2024, 7, 1), dt.date(2024, 1, 1), dt.date(2025, 7, 1), dt.date(2025, 10, 1)):
        truth = 1400 * 31 + 130 * sum(cold[month + dt.timedelta(days=n)] for n in range(31))
        assert months[month] == pytest.approx(truth, rel=0.03), month


def test_with_the_noise_of_the_sandbox_nine_slopes_of_ten_are_within_a_tenth(
    made_up: duckdb.DuckDBPyConnection, record_property: Any
) -> None:
    found = fits(made_up)
    off = [abs(found[f"noise{seed}"]["slope_kwh_per_degree_day"] / 130 - 1) for seed in SEEDS]
    assert sum(each <= 0.1 for each in off) >= 9, off
    # The standard error tells how far a slope is off: most are within two of them, and it is not so wide that all are.
    errors = [found[f"noise{seed}"]["slope_standard_error"] for seed in SEEDS]
    assert (
        sum(abs(found[f"noise{seed}"]["slope_kwh_per_degree_day"] - 130) <= 2 * error for seed, error in zip(SEEDS, errors, strict=True))
        >= 8
    )
    assert all(0.2 < error < 13 for error in errors), errors
    assert all(0.005 < found[f"noise{seed}"]["cvrmse"] < 0.06 for seed in SEEDS)
    flat = [abs(found[f"flat{seed}"]["slope_kwh_per_degree_day"]) for seed in SEEDS]
    assert max(flat) < 12, "5 % of noise makes little of a slope out of 900 kWh a day"
    assert all(found[f"flat{seed}"]["refusal_reason"] in ("weak_fit", "negative_slope") for seed in SEEDS)
    record_property("shown", f"signature of a pool, bills of two months, ten seeds: slopes off by {min(off):.1%} to {max(off):.1%}")


def test_a_change_is_told_raw_and_at_the_same_weather(made_up: duckdb.DuckDBPyConnection) -> None:
    asked = """
        select month_date, change_share, corrected_change_share, avoided_kwh from intermediate.int_consumptions_corrected
        where building_id = ? and month_date >= date '2025-01-01' and change_share is not null order by month_date
    """
    same, less = (made_up.execute(asked, [name]).fetchall() for name in ("pool", "less"))
    assert len(same) == len(less) == 12
    assert [row[2] for row in same] == pytest.approx([0.0] * 12, abs=0.005), "the same building, whatever the weather"
    assert max(abs(row[1]) for row in same) > 0.05, "the weather alone moves the raw change"
    assert [row[2] for row in less] == pytest.approx([-0.022] * 12, abs=0.006)
    assert all(row[3] > 0 for row in less)
    ((corrected,),) = made_up.execute(
        "select count(corrected_kwh) from intermediate.int_consumptions_corrected where building_id = 'cooks'"
    ).fetchall()
    assert corrected == 0, "gas does not heat what wood heats"


def test_bills_of_the_sandbox_give_back_its_key(compiled: Compiled, record_property: Any) -> None:
    off, count = [], 0
    for seed in SEEDS:
        world = World(seed=seed)
        # The key says kWh PCI, bills of gas kWh PCS.
        names, pcs = ("base_kwh_per_day", "slope_kwh_per_degree_day"), {"gas": 1.11}
        heated = [row for row in world.signatures if names[0] in row]
        truth = {row["building_id"]: {name: row[name] * pcs.get(row["energy"], 1) for name in names} for row in heated}
        rows = [(row["building_id"], row["heating_energy"]) for row in world.buildings]
        heats = [bill for bill in world.bills if bill["energy"] != "electricity"]
        with run(compiled.models, world, heats, rows) as connection:
            found = fits(connection)
        assert found.keys() == truth.keys()
        for name, told in truth.items():
            fit = found[name]
            assert fit["refusal_reason"] is None, (seed, name, fit)
            off.append(fit["slope_kwh_per_degree_day"] / told["slope_kwh_per_degree_day"] - 1)
            mean = told["base_kwh_per_day"] + told["slope_kwh_per_degree_day"] * np.mean(list(cold_of(world).values()))
            count += abs(fit["base_kwh_per_day"] - told["base_kwh_per_day"]) <= 0.05 * mean
    right = sum(abs(each) <= 0.1 for each in off)
    record_property(
        "shown",
        f"signatures of the sandbox, ten seeds: {right} of {len(off)} slopes within 10 % of the key, worst {max(map(abs, off)):.1%}",
    )
    assert right >= 0.9 * len(off)
    assert count >= 0.9 * len(off), "the base is within 5 % of the mean consumption"
    assert abs(float(np.mean(off))) < 0.02, "slopes are not all too low, or too high"

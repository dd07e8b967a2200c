"""The energy marts against an oracle in plain Python, on cases generated to be nasty: one real chain, compared row by row."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from fixtures.alerts_oracle import events, heating_excess
from fixtures.cost_oracle import add_costs, add_obligation, by_entity, by_year, with_costs
from fixtures.energy_oracle import DAY, PARIS, Case, Key, Oracle, Row, midnight, month_of

from flows import steps
from ingestion.journal import Journal
from ingestion.lake import PROJECT
from tests.fixtures.chain import Chain, chain_in
from tests.fixtures.compiled import Compiled

SEED = 20240229
FIRST, LAST = dt.date(2023, 12, 20), dt.date(2025, 3, 10)
HOUR = dt.timedelta(hours=1)
COLUMNS = {"buildings": "building_id name use floor_area_m2 commune_code longitude latitude heating_energy heat_network operator"
                        " is_publishable",
           "meters": "meter_id building_id deveui energy subscribed_power_kva valid_from valid_to",
           "declared_indexes": "meter_id measure_name read_on index_kwh",
           "contracts": "contract_id building_id energy valid_from valid_to",
           "bills": "bill_id building_id contract_id energy from_date to_date quantity unit updated_at"}  # fmt: skip
MONTHS, COMMUNES, ANOMALIES, ALERTS = (
    "energy_by_building_month", "public_buildings_energy_by_commune_month", "energy_anomalies_by_building_day", "energy_alerts_by_event",
)  # fmt: skip
YEARS, ENTITIES = "energy_by_building_year", "tertiary_obligation_by_entity_year"
GRAINS = {YEARS: ("building_id", "year", "energy"), ENTITIES: ("efa_id", "year"),
          MONTHS: ("building_id", "month_date", "energy"), COMMUNES: ("commune_code", "month_date", "energy"),
          ANOMALIES: ("building_id", "energy", "day_date", "anomaly_kind"),
          ALERTS: ("building_id", "energy", "anomaly_kind", "start_date")}  # fmt: skip
# Half of the last decimal that is shown, and a little more: sums are of figures that were rounded.
OF_MONTHS = {
    **dict.fromkeys(("consumption_kwh", "consumption_kwh_pci", "produced_kwh", "apportioned_kwh", "emissions_kgco2e"), 0.21),
    **dict.fromkeys(("corrected_kwh", "expected_kwh", "avoided_kwh", "reference_year_kwh"), 0.051),
    **dict.fromkeys(("meteo_degree_days", "professional_degree_days"), 0.051),
    **dict.fromkeys(("completeness_share", "covered_building_share"), 0.000101),
    **dict.fromkeys(("signature_r2", "signature_cvrmse"), 0.000051),
    **dict.fromkeys(("change_share", "corrected_change_share"), 0.000051),
    **dict.fromkeys(("signature_slope_kwh_per_degree_day", "signature_slope_standard_error"), 0.00051),
    **dict.fromkeys(("signature_base_kwh_per_day", "consumption_kwh_pci_per_m2"), 0.0051),
    "consumption_kwh_pci_12_months": 0.051,
    **dict.fromkeys(("billed_cost_eur", "billed_cost_excluding_tax_eur"), 0.0051),
    "cost_completeness_share": 0.000051,
}
OF_YEARS = OF_MONTHS | {
    **dict.fromkeys(("consumption_kwh", "consumption_kwh_pci", "produced_kwh", "emissions_kgco2e", "yearly_kwh_pci_per_m2"), 0.051),
    **dict.fromkeys(("completeness_share", "year_before_change_share", "year_before_corrected_change_share"), 0.000051),
    "yearly_cost_eur_per_m2": 0.0051, "highest_power_share": 0.00051,
}  # fmt: skip
OF_ENTITIES = {
    **dict.fromkeys(("consumption_kwh_pci", "tertiary_kwh_pci_per_m2", "reference_kwh_per_m2", "target_kwh_per_m2"), 0.051),
    **dict.fromkeys(("completeness_share", "reduction_share", "gap_to_target_share", "indicative_line_share"), 0.000051),
    "gap_to_indicative_line_share": 0.000051,
    "gap_to_absolute_kwh_per_m2": 0.051,
}
ROUNDED = {
    YEARS: OF_YEARS, ENTITIES: OF_ENTITIES, MONTHS: OF_MONTHS, COMMUNES: OF_MONTHS, ANOMALIES: {"excess_kwh": 0.0501} | dict.fromkeys(
        ("observed_value", "expected_value", "observed_ratio", "threshold_ratio"), 0.00051),
    ALERTS: dict.fromkeys(("excess_kwh", "excess_kwh_pci"), 0.0501) | dict.fromkeys(("observed_value", "expected_value"), 0.00051),
}  # fmt: skip
"""Half of the last digit that a mart shows, by mart and column."""
BY_UNIT_TESTS = frozenset((
    "is_open", "is_factor_verified", "is_seen", "action", "action_owner", "saving_method", "event_rank",
    "excess_emissions_kgco2e", "excess_cost_eur", "smallest_detectable_excess_kwh", "answer_count", "effect_expected_kwh",
    "saving_day_count", "saved_kwh", "saved_cost_eur", "saved_kgco2e", "seen_on", "acted_on", "closed_on",
))  # fmt: skip
"""Columns of alerts and years that dbt's unit tests hold, and tests/test_alarms.py."""
TERRITORY = yaml.safe_load((PROJECT / "territory.yml").read_text(encoding="utf-8"))


def local(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=PARIS).astimezone(dt.UTC)


class Maker:
    """Makes a case from a seed: what falls where is chosen to be nasty, figures, losses and delays are drawn."""

    def __init__(self, seed: int) -> None:
        self.draw, self.case, self.mean = random.Random(seed), Case(list), {}

    def make(self) -> Case:
        self.weather()
        self.referentials()
        self.devices()
        self.bills()
        self.odd_meters()
        return self.case

    def row(self, table: str, *values: Any) -> None:
        self.case[table].append(dict(zip(COLUMNS[table].split(), values, strict=True)))

    def weather(self) -> None:
        """Two stations; a warm half year, days absent, a minimum absent, cold, warm and mixed days, and an end before the readings end."""
        for i in range((LAST - dt.date(2023, 11, 1)).days - 4):
            day = dt.date(2023, 11, 1) + DAY * i
            mean = 12 - 9 * math.cos((day.timetuple().tm_yday - 20) / 365 * 2 * math.pi) + self.draw.gauss(0, 2)
            if dt.date(2024, 5, 1) <= day < dt.date(2024, 11, 1):  # half a year without degree-days
                mean = self.draw.uniform(23, 30)
            low, high = round(mean - self.draw.uniform(0, 5), 1), round(mean + self.draw.uniform(0, 5), 1)
            self.mean[day] = mean
            gone = dt.date(2023, 12, 9) < day < dt.date(2023, 12, 13)
            seen = [(TERRITORY["reference_station"], None if day == dt.date(2024, 12, 20) else low, high)] * (not gone)
            for station, tn, tx in [*seen, ("35228001", low - 9, high)]:
                self.case["weather"].append({"NUM_POSTE": station, "AAAAMMJJ": day, "TN": tn, "TX": tx})

        draw, start = random.Random(SEED), dt.datetime(2023, 12, 1, tzinfo=dt.UTC)
        for i in range((LAST - dt.date(2023, 12, 1)).days * 24):  # some hours have no temperature, and some are absent
            moment, luck = start + HOUR * i, draw.random()
            warmth = round(self.mean.get(moment.date(), 9) - 3 * math.cos((moment.hour - 3) / 12 * math.pi) + draw.gauss(0, 0.5), 1)
            for station, shift in ((TERRITORY["reference_station"], 0), ("35228001", 20)):
                if luck > 0.02:
                    value = None if luck < 0.04 else warmth + shift
                    self.case["hourly"].append({"NUM_POSTE": station, "at": moment.isoformat(), "T": value})

    def referentials(self) -> None:
        kinds = ["kgco2e_per_kwh", "vintage", "basis", "source", "valid_from", "valid_to", "verified_on"]
        for energy, network, *values in (
            ("electricity", None, 0.05, "v1", "final", "one", "2010-01-01", "2024-10-01", "2024-01-02"),
            ("electricity", None, 0.06, "v2", "final", "two", "2024-10-01", None, None),
            ("gas", None, 0.227, "v1", "PCI", "one", "2010-01-01", None, "2024-01-02"),
            ("heat_network", None, 0.116, "v1", "delivered", "mean", "2010-01-01", None, "2024-01-02"),
            ("heat_network", "En'RnoV", 0.09, "v1", "delivered", "decree", "2024-06-01", "2024-12-01", None),
            ("heat_network", "Enersud", 0.01, "v1", "delivered", "decree", "2010-01-01", None, None),
            ("wood", None, 0.03, "v1", "PCI", "one", "2024-06-01", None, None),
        ):
            found = dict(zip(kinds, values, strict=True)) | {"energy": energy, "heat_network": network}
            for name in ("valid_from", "valid_to"):
                found[name] = found[name] and dt.date.fromisoformat(found[name])
            self.case["factors"].append(found)
        for code, people in (("35238", 230000), ("35047", 19000), ("35051", 0)):
            self.case["communes"] += [{"TYPECOM": kind, "COM": code, "LIBELLE": f"{kind} {code}"} for kind in ("COMD", "COM")]
            self.case["members"].append(
                {"siren": TERRITORY["epci_code"], "insee": code, "nom_membre": f"Member {code}", "pmun_2025": people}
            )
        self.case["communes"].append({"TYPECOM": "COM", "COM": "35999", "LIBELLE": "Outside"})
        self.case["members"].append({"siren": "200000000", "insee": "35999", "nom_membre": "Outside", "pmun_2025": 500})
        for n, use, area, commune, energy, network in (
            (1, "school", 1000.0, "35238", "electricity", None),
            (2, "offices", None, "35238", "gas", None),
            (3, "pool", 0.0, "35047", "heat_network", "En'RnoV"),
            (4, "library", 1500.0, "35047", "heat_network", None),
            (5, "nursery", 400.0, "35238", "wood", None),
            (6, "technical", 300.0, "35999", "fuel_oil", None),
            (7, "school", 700.0, "35051", "gas", None),
            (8, "cultural", 900.0, "35051", "fuel_oil", None),
            (9, "pool", 2000.0, "35047", "gas", None),
            (10, "offices", 800.0, "35047", "propane", None),
            (11, "school", 500.0, "35047", "gas", None),
        ):
            operator = {4: "enterprise", 7: None, 9: "epci"}.get(n, "commune")  # 10: the steward has not told; 11: no
            place = -1.68 + n / 100, 48.11 - n / 50
            self.row(
                "buildings",
                f"B{n}",
                f"Building {n}",
                use,
                area,
                commune,
                *place,
                energy,
                network,
                operator,
                {10: None, 11: False}.get(n, True),
            )
        for contract, building, since, until in (("CA", "B9", None, None), ("CB", "B9", "2024-01-01", None),
                                                 ("CC", "B9", None, "2024-01-01"),
                                                 ("CD", "B10", "2024-01-10", None)):  # fmt: skip
            days = (text and dt.date.fromisoformat(text) for text in (since, until))
            self.row("contracts", contract, building, "propane" if building == "B10" else "gas", *days)

    def counter(self, base: float, active: float, heat: float, changes: dict[str, tuple[float, float]]) -> Callable[[dt.datetime], float]:
        """An index that never falls, from loads (kW) and the factors of base and activity from some days on."""
        start, total, sums = midnight(FIRST - DAY), self.draw.uniform(0, 50000), []
        for i in range(((LAST - FIRST).days + 3) * 24):
            moment = (start + HOUR * i).astimezone(PARIS)
            day, factors = moment.date(), (1.0, 1.0)
            for since, told in changes.items():
                factors = told if day.isoformat() >= since else factors
            sums.append(total)
            cold = max(0.0, 18 - self.mean.get(day, 9))
            weather = heat * cold if heat > 0 else heat * (cold - 20) / 10  # what does not heat falls with the cold
            total += base * factors[0] + active * factors[1] * (8 <= moment.hour < 18) + weather + self.draw.uniform(0, 0.1)

        def index(moment: dt.datetime) -> float:
            hour, rest = divmod((moment - start) / HOUR, 1)
            return sums[int(hour)] + rest * (sums[int(hour) + 1] - sums[int(hour)])

        return index

    def device(
        self, deveui: str, names: dict[str, int], step: int | None = None, paths: tuple[str, ...] = ("EAP_s",), **validity: Any
    ) -> None:
        """Declare a device: the names of its measures and their natures."""
        since = dt.date(2023, 12, 1)
        days = dict.fromkeys(("enabledon", "updatedon"), since) | {"disabledon": None, "reprisedon": since}
        self.case["sensors"].append({"deveui": deveui, **days})
        own = ["EAP_s", "EAP_i"][: len(paths)]
        self.case["parameters"].append({"deveui": deveui, "global_key_names": ["PTCOUR1"], "global_value_paths": ["PTCOUR1"],
            "unique_key_names": [*own, "T"], "unique_value_paths": [], "data_keys": [], "data_value_paths": [*paths, "T"],
            "user_prefix": []})  # fmt: skip
        for name, nature in names.items():
            row = {"channel": f"{deveui}{nature}", "deveui": deveui, "enabledon": since, "disabledon": None, "step": step}
            self.case["measures"].append(row | {"measurenatureid": nature, "unitid": 2, "dataparameter": f"PTCOUR1:{name}"} | validity)

    def send(self, deveui: str, moment: dt.datetime, data: Row) -> None:
        """Some frames are late by a day or two, some come twice, some are repeated in the next day's folder."""
        day, luck = moment.astimezone(PARIS).date(), self.draw.random()
        frame = {"deveui": deveui, "sensor_id": deveui, "timestamp": moment.astimezone(PARIS).isoformat(), "payload_ciphered": None,
                 "payload_deciphered": "00", "data": data, "lorawan": {}, "lora": {}, "gateway": {}, "gps": []}  # fmt: skip
        folders = (
            [day + DAY * (1 + (luck < 0.02))] if luck < 0.05 else [day, day] if luck < 0.08 else [day, day + DAY] if luck < 0.1 else [day]
        )
        self.case["frames"].append(frame)
        paths = (f"{folder:year=%Y/month=%m/day=%d}/{deveui}/{moment:%d%H%M%S}-{n}.json" for n, folder in enumerate(folders))
        self.case["files"] += [{"path": path, "frame": frame} for path in paths]

    def history(
        self, deveui: str, index: Callable[[dt.datetime], float], step: int, count: int, minute: int, gaps: tuple[str, ...]
    ) -> None:
        """One frame a day, newest value first; histories overlap, some values are unreadable, comma decimals or bare numbers."""
        for i in range((LAST - FIRST).days + 1):
            moment = dt.datetime.combine(FIRST + DAY * i, dt.time(5, minute), dt.UTC)
            if self.draw.random() < 0.015 or (FIRST + DAY * i).isoformat() in gaps:
                continue
            values: list[Any] = [round(index(moment - dt.timedelta(seconds=step * k)), 2) for k in range(count) if i or k < 3]
            values = [f"{v}kWh".replace(".", ",") if k % 3 else v for k, v in enumerate(values)]
            if self.draw.random() < 0.1 and len(values) > 6:
                values[self.draw.randrange(len(values))] = self.draw.choice(["abc", None, "", "12/34"])
            self.send(deveui, moment, {"PTCOUR1": "BASE", "EAP_s": values, "T": 20.5})

    def devices(self) -> None:
        draw, placed = self.draw, midnight(dt.date(2023, 12, 1)).isoformat()
        base, temperature = {"BASE:EAP_s": 7}, {"BASE:T": 1}

        def meter(name: str, building: str, deveui: str | None, power: float | None, energy: str = "electricity", **told: str) -> None:
            self.row("meters", name, building, deveui, energy, power, told.get("since", placed), told.get("until"))

        # Hourly on the hour; a leak at night in the second winter; B2 has two meters, a leak in autumn and a drift.
        self.device("d1", base | temperature, 3600)
        meter("M1", "B1", "d1", 60)
        self.history("d1", self.counter(2, 8, 1.5, {"2025-01-15": (9, 1)}), 3600, 30, 0, ("2024-11-12", "2024-11-13"))
        changes = {"2024-09-30": (2.2, 1), "2024-11-04": (1, 1), "2025-01-06": (1, 1.6)}
        for name, device, changed, step in (("M2a", "d2a", changes, 3600), ("M2b", "d2b", {}, 7200)):
            self.device(device, base, step)
            meter(name, "B2", device, 30)
            self.history(device, self.counter(1.5, 5, 0, changed), step, 26 * 3600 // step, 17, ("2024-05-31", "2024-06-01"))
        meter("G2", "B2", None, None, energy="gas")
        # Irregular scalars: a declared swap, a reset, an impossible rise, a reset across a month's end, meter without power.
        swap, fall, jump, across = map(local, ("2024-10-08T07:30", "2024-05-17T10:00", "2024-06-11T03:00", "2024-08-01T02:00"))
        self.device("d3", base)
        meter("M3", "B3", "d3", 25, until=swap.isoformat())
        meter("M3-B", "B3", "d3", None, since=swap.isoformat())
        index, moment = self.counter(6, 3, -0.5, {}), midnight(FIRST) + HOUR * 2
        steps_of = ((fall, -index(fall) + 3), (jump, 5000), (across, -2000), (swap, -5000 - index(swap) + index(fall) + 2000))
        while moment < midnight(LAST):
            quiet = across - HOUR * 6 < moment < across + HOUR * 7 or moment.astimezone(PARIS).date().isoformat() == "2024-03-31"
            if not quiet:
                value = index(moment) + sum(rise for since, rise in steps_of if since <= moment)
                self.send("d3", moment, {"PTCOUR1": "BASE", "EAP_s": round(value, 3)})
            moment = swap if moment < swap <= moment + HOUR * 8 else moment + dt.timedelta(minutes=draw.randrange(360, 780))
        last = index(swap) + sum(rise for since, rise in steps_of[:3] if since <= swap)
        self.row("declared_indexes", "M3", "PTCOUR1:BASE:EAP_s", swap.isoformat(), round(last + 1, 2))
        self.row("declared_indexes", "M3-B", "PTCOUR1:BASE:EAP_s", swap.isoformat(), 1.5)
        # Two registers on local time with injection, nested paths and comma decimals; silent all April; injection falls once.
        self.device("d4", {"HPE:EAP_s": 3, "HPE:EAP_i": 4, "HCE:EAP_s": 5, "HCE:EAP_i": 6}, paths=("E_AP_s", "E_AP_i"))
        meter("M4", "B4", "d4", 40)
        registers = {name: self.counter(2, 1, 0, {}) for name in ("HPEs", "HPEi", "HCEs", "HCEi")}
        for i in range((LAST - FIRST).days):
            day = FIRST + DAY * i
            for period, clock in (("HCE", dt.time(2, 30)), ("HPE", dt.time(8, 30)), ("HPE", dt.time(20, 0))):
                moment = dt.datetime.combine(day, clock, PARIS).astimezone(dt.UTC)
                if "2024-03-29" <= day.isoformat() < "2024-05-04" or draw.random() < 0.03:
                    continue
                s, e = (registers[period + flow](moment) - 1000 * (flow == "i" and day > dt.date(2024, 8, 9)) for flow in "si")
                text = "abc" if draw.random() < 0.03 else f"{s:,.2f} kWh".replace(",", " ").replace(".", ",")
                self.send("d4", moment, {"PTCOUR1": period, "E": {"AP": {"s": text, "i": f"{e:.1f}"}}})
        # Sparse readings beside a meter that no device reads; a device that no referential knows; a meter of one autumn.
        self.device("d5", base, disabledon=dt.date(2024, 7, 1))
        self.case["measures"].append(
            self.case["measures"][-1] | {"channel": "d5-new", "enabledon": dt.date(2024, 7, 1), "disabledon": None}
        )
        meter("M5", "B5", "d5", 20)
        meter("M5-B", "B5", None, 20)
        index, moment = self.counter(0.2, 1, 0, {}), midnight(FIRST) + HOUR * 11
        while moment < midnight(LAST):
            self.send("d5", moment, {"PTCOUR1": "BASE", "EAP_s": f"{index(moment):.0f}kWh"})
            moment += dt.timedelta(minutes=draw.randrange(1200, 12000))
        meter("M7", "B7", "d7", 20)
        self.send("d7", local("2024-02-01T10:00"), {"PTCOUR1": "BASE", "EAP_s": 5})
        self.device("d8", base, enabledon=dt.date(2024, 8, 20), disabledon=dt.date(2024, 11, 10))
        change = local("2024-10-10T06:00").isoformat()  # a swap that nobody declared, at the instant of a reading
        meter("M10", "B10", "d10", 60, since=local("2024-05-28T00:00").isoformat())
        self.device("d10", base, enabledon=dt.date(2024, 5, 28))
        index = self.counter(1, 2, 0, {})
        for i in range((LAST - dt.date(2024, 5, 28)).days * 24):
            if not 200 <= i < 230:
                moment = local("2024-05-28T00:00") + HOUR * i
                self.send("d10", moment, {"PTCOUR1": "BASE", "EAP_s": round(index(moment), 2)})
        meter("M8", "B8", "d8", 30, "gas", since=local("2024-08-14T12:00").isoformat(), until=change)
        meter("M8-B", "B8", "d8", 30, "gas", since=change, until=local("2024-11-20T09:00").isoformat())
        count, stuck, freed = self.counter(3, 3, 0, {}), local("2024-09-20T09:00"), local("2024-09-27T09:00")

        def index(moment: dt.datetime) -> float:  # frozen for a week, then it catches up
            return count(stuck if stuck <= moment < freed else moment)

        for i in range(110 * 4):
            moment = local("2024-08-14T00:00") + HOUR * 6 * i
            self.send("d8", moment, {"PTCOUR1": "BASE", "EAP_s": [index(moment), index(moment - HOUR)]})

    def odd_meters(self) -> None:
        """A reading a day, indexes that freeze, stale values and bursts, registers that nobody knows: one building each."""
        draw, since = random.Random(SEED), midnight(dt.date(2023, 12, 1)).isoformat()

        def place(n: int, names: dict[str, int], base: float) -> tuple[str, Callable[[dt.datetime], float]]:
            self.row(
                "buildings",
                f"B{n}",
                f"Building {n}",
                "school",
                800.0,
                "35238",
                -1.68 + n / 100,
                48.11 - n / 50,
                "gas",
                None,
                "commune",
                True,
            )
            self.row("meters", f"M{n}", f"B{n}", f"d{n}", "electricity", 60, since, None)
            self.device(f"d{n}", names)
            return f"d{n}", self.counter(base, 4, 0, {})

        def days(hours: tuple[int, ...]) -> Iterator[dt.datetime]:
            for i in range((LAST - FIRST).days):
                for hour in hours:
                    yield dt.datetime.combine(FIRST + DAY * i, dt.time(hour), PARIS).astimezone(dt.UTC)

        def send(device: str, moment: dt.datetime, index: float, period: str = "BASE") -> None:
            self.send(device, moment, {"PTCOUR1": period, "EAP_s": f"{index:.0f}kWh"})

        daily, index = place(29, {"BASE:EAP_s": 7}, 2)
        for moment in days((6,)):
            moment += dt.timedelta(seconds=draw.randrange(-20, 21))
            send(daily, moment, index(moment))
        frozen, index = place(30, {"BASE:EAP_s": 7}, 1)
        # For ten days in June, then for good; five days in March are no fault, nor thirty in July in which the steward went there.
        spells = [tuple(map(local, spell)) for spell in (
            ("2024-03-04T12:00", "2024-03-09T12:00"), ("2024-06-03T12:00", "2024-06-13T12:00"), ("2024-07-03T12:00", "2024-08-02T12:00"),
            ("2025-01-10T12:00", "2025-06-01T12:00"))]  # fmt: skip
        for moment in days((5, 17)):
            stopped = next((start for start, end in spells if start <= moment < end), moment)
            send(frozen, moment, index(stopped))
        for day in ("2024-07-09T16:00", "2024-07-30T16:00"):
            self.row("declared_indexes", "M30", "PTCOUR1:BASE:EAP_s", local(day).isoformat(), float(f"{index(spells[2][0]):.0f}"))
        odd, index = place(31, {"BASE:EAP_s": 7}, 3)
        for n, moment in enumerate(days((1, 9, 17))):
            send(odd, moment, index(moment - DAY * 3 * (n % 21 in (4, 5) if n > 400 else n % 21 == 4)))  # one a week, then two in a row
            if n % 30 == 7:  # a unit of the index within 20 seconds
                send(odd, moment + dt.timedelta(seconds=20), float(f"{index(moment):.0f}") + 1)
        # HPH and HCH are known by their names; HPX, that month's peak hours, is declared with a nature that nobody knows.
        names, indexes = {"HPE:EAP_s": 3, "HCE:EAP_s": 5, "HPH:EAP_s": 91, "HCH:EAP_s": 92, "HPX:EAP_s": 93}, {}
        seasonal, index = place(32, names, 2)
        for moment in days((3, 15, 21)):
            day = moment.astimezone(PARIS)
            period = ("HC" if day.hour == 3 else "HP") + ("H" if day.month in (11, 12, 1, 2, 3) else "E")
            is_odd = (day.year, day.month, period) == (2024, 12, "HPH") or f"{day:%Y-%m-%dT%H}" == "2024-02-10T15"
            period = "HPX" if is_odd else period
            indexes[period] = indexes.get(period, 500.0) + draw.uniform(5, 30)
            send(seasonal, moment, indexes[period], period)

    def bills(self) -> None:
        def bill(
            building: str,
            energy: str,
            start: str | dt.date,
            end: str | dt.date,
            quantity: float | None,
            unit: str | None = "kWh",
            contract: str | None = None,
        ) -> None:
            first, last = (day if isinstance(day, dt.date) else dt.date.fromisoformat(day) for day in (start, end))
            self.row(
                "bills", f"F{len(self.case['bills'])}", building, contract, energy, first, last, quantity, unit, "2025-03-01T08:00:00+00:00"
            )

        start = dt.date(2023, 11, 5)
        while start < LAST:  # never on the month's first day, so always shared
            end = start + DAY * self.draw.randrange(20, 41)
            heat = sum(max(0.0, 18 - self.mean.get(start + DAY * i, 9)) for i in range((end - start).days))
            bill("B2", "gas", start, end, round(300 + 40 * heat, 1), "kWh_pcs")
            start = end
        bill("B2", "gas", "2024-05-10", "2024-06-20", 123.4, "kWh_pcs")
        bill("B2", "electricity", "2024-05-15", "2024-07-02", 4000)
        for n in range(15):  # whole months: one absent, one of which a part is billed again
            month = dt.date(2023 + (n + 11) // 12, (n + 11) % 12 + 1, 1)
            cold = sum(max(0.0, 18 - self.mean.get(month + DAY * i, 9)) for i in range(28))
            if n != 12:
                bill("B3", "heat_network", month, month_of(month + 31 * DAY), round(cold / 9, 3) if n not in (7, 8) else 0, "MWh")
            bill("B6", "fuel_oil", month, month_of(month + 31 * DAY), 0)
            bill("B5", "heat_network", month, month_of(month + 31 * DAY), 33.3)
            bill("B8", "fuel_oil", month, month_of(month + 31 * DAY), 100 + n % 3)
            if 5 <= n < 11 or n == 13:  # months of the reference year that all have the same weather
                bill("B7", "wood", month, month_of(month + 31 * DAY), 100 + n)
            if n < 4:
                bill("B7", "gas", month, month_of(month + 31 * DAY), 10 * cold, "kWh_pcs")
        bill("B3", "heat_network", "2025-01-10", "2025-01-20", 0.5, "MWh")
        for start_text, end_text in (("2023-10-15", "2023-12-10"), ("2023-12-10", "2024-01-20"), ("2024-04-01", "2024-05-01")):
            bill("B4", "electricity", start_text, end_text, 777)
        for start_text, end_text in (("2024-01-10", "2024-05-20"), ("2024-05-20", "2024-06-16"), ("2024-06-20", "2024-09-02")):
            bill("B5", "wood", start_text, end_text, 2)
        bill("B5", "wood", "2024-07-05", "2024-07-12", 1, "MWh")
        bill("B6", "heat_network", "2024-04-01", "2024-04-28", 1.25, "MWh")  # 27 days of 30: complete, just
        bill("B6", "heat_network", "2024-02-01", "2024-02-27", 1.25, "MWh")  # 26 of 29: not
        bill("B6", "gas", "2024-03-05", "2024-03-20", 50, "litre")  # a unit that no seed knows: a row without consumption
        bill("B6", "gas", "2024-07-05", "2024-07-20", 50, None)  # refused, as the next one
        bill("B6", "gas", "2024-05-05", "2024-05-20", None)
        bill("B6", "gas", "2024-05-15", "2024-05-25", 7)
        bill("B6", "gas", "2024-08-05", "2024-08-05", 50)
        bill("B6", "electricity", "2022-01-20", "2022-02-10", 90)
        bill("B7", "fuel_oil", "2025-01-01", "2025-02-01", 90)  # nothing in the reference year
        bill("B8", "gas", "2024-07-20", "2024-08-11", 90)
        # A pool of two contracts, one of which lacks two bills of the next year.
        for n in range(14):
            start, end = (dt.date(2024 + m // 12, m % 12 + 1, 1) for m in (n, n + 1))
            days = (end - start).days
            cold = sum(max(0.0, 18 - self.mean.get(start + DAY * i, 9)) for i in range(days))
            bill("B9", "gas", start, end, round((1400 * days + 130 * cold) * self.draw.uniform(0.95, 1.05)), "kWh_pcs", "CA")
            if n < 12:
                bill("B9", "gas", start, end, 10 * days, "m3", "CB")
        for n in range(7):
            start, end = (dt.date(2024 + m // 12, m % 12 + 1, 1) for m in (2 * n, 2 * n + 2))
            days = (end - start).days
            cold = sum(max(0.0, 18 - self.mean.get(start + DAY * i, 9)) for i in range(days))
            bill("B11", "gas", start, end, (1400 * days + 130 * cold) * (1.3 if n == 6 else 1), "kWh_pcs")
            bill("B10", "electricity", start, end, 30 * days)
        bill("B10", "propane", "2024-01-10", "2024-03-01", 800, "kg", "CD")
        bill("B10", "propane", "2024-03-01", "2024-05-10", 600, "kg", "CD")
        bill("B10", "peat", "2024-03-01", "2024-05-01", 600)  # an energy that no seed knows
        bill("B10", "fuel_oil", "2024-03-01", "2024-05-01", 600, "litre")


def lay(case: Case, drops: Path, seeds: Path) -> None:
    """Lay the case as the files of the four bricks, and its emission factors as a seed."""
    marker = json.dumps({"synthetic": True, "now": dt.datetime.combine(LAST, dt.time(20), dt.UTC).isoformat()})
    for brick in ("lora_batiments", "patrimoine_bati", "meteo_stations/QUOT", "meteo_stations/HOR", "insee_cog"):
        (drops / brick).mkdir(parents=True)
        (drops / brick.split("/")[0] / "SANDBOX.json").write_text(marker)
    for file in case["files"]:
        path = drops / "lora_batiments" / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(file["frame"]))
    (path.parent / "broken.json").write_text('{"deveui": "d1", "timest')
    table(drops / "lora_batiments/sensors.csv", case["sensors"])
    table(drops / "lora_batiments/measure_information.csv", case["measures"])
    for name in ("buildings", "meters", "declared_indexes", "contracts", "bills", "tertiary_entries", "parameters"):
        brick = "lora_batiments" if name == "parameters" else "patrimoine_bati"
        (drops / brick / f"{name}.ndjson").write_text("".join(json.dumps(row, default=str) + "\n" for row in case[name]))
    place = {"NOM_USUEL": "Somewhere", "LAT": 48.1, "LON": -1.7, "ALTI": 36}
    for years, is_new in (("previous-1950-2024", False), ("latest-2025-2026", True)):
        days = [
            row | place | {"RR": 0.0, "AAAAMMJJ": f"{row['AAAAMMJJ']:%Y%m%d}"}
            for row in case["weather"]
            if (row["AAAAMMJJ"].year > 2024) == is_new
        ]
        table(drops / f"meteo_stations/QUOT/Q_35_{years}_RR-T-Vent.csv.gz", days, ";")
        hours = [
            {"NUM_POSTE": row["NUM_POSTE"], **place, "AAAAMMJJHH": f"{moment:%Y%m%d%H}", "RR1": 0.0, "T": row["T"], "U": 80}
            for row in case["hourly"]
            if ((moment := dt.datetime.fromisoformat(row["at"])).year > 2024) == is_new
        ]
        table(drops / f"meteo_stations/HOR/H_35_{years.replace('1950', '2020')}.csv.gz", hours, ";")
    table(drops / "insee_cog/cog_communes.csv", [{**row, "REG": "53", "DEP": "35", "COMPARENT": ""} for row in case["communes"]])
    told = {"raison_sociale": "Rennes", "nature_juridique": "METRO", "ptot_2025": 1}
    table(drops / "insee_cog/perimetre-epci-a-fp.csv", [{**row, **told} for row in case["members"]], ";")
    seed = seeds / "energy/emission_factors.csv"
    names = next(csv.reader(seed.read_text(encoding="utf-8").splitlines()))
    table(seed, [{name: row.get(name) for name in names} for row in case["factors"]])


def table(path: Path, rows: list[Row], separator: str = ",") -> None:
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, compiled: Compiled) -> Iterator[tuple[Oracle, Chain]]:
    folder = tmp_path_factory.mktemp("oracle")
    case = Maker(SEED).make()
    add_costs(case, SEED)
    add_obligation(case)
    with chain_in(folder, compiled.parsed) as chain:
        lay(case, folder / "drops", chain.project / "seeds")
        limits = csv.DictReader((chain.project / "seeds/energy/energy_thresholds.csv").read_text(encoding="utf-8").splitlines())
        oracle = Oracle(case, TERRITORY, {row["threshold_code"]: float(row["threshold_value"]) for row in limits})
        chain.run()
        yield oracle, chain


def differences(chain: Chain, mart: str, expected: dict[Key, Row], aside: frozenset[str] = frozenset()) -> list[str]:
    """Say what differs from the oracle: the row, the column, what was expected and what was found."""
    with duckdb.connect(str(chain.lake.state / "warehouse.duckdb"), read_only=True) as connection:
        cursor = connection.execute(f"select * from marts.{mart}")
        names = [column[0] for column in cursor.description]
        found = {tuple(row[names.index(name)] for name in GRAINS[mart]): dict(zip(names, row, strict=True)) for row in cursor.fetchall()}
    told = [f"{mart} {' '.join(map(str, key))}: row expected, none found" for key in sorted(expected.keys() - found.keys())]
    told += [f"{mart} {' '.join(map(str, key))}: row found, none expected" for key in sorted(found.keys() - expected.keys())]
    told += [f"{mart}: column {name} is not compared" for name in {*names} - {*GRAINS[mart]}.union(aside, *expected.values())]
    for key in sorted(expected.keys() & found.keys()):
        for column, value in expected[key].items():
            if not is_same(value, found[key][column], ROUNDED.get(mart, {}).get(column, 1e-6)):
                told.append(f"{mart} {' '.join(map(str, key))} {column}: expected {value!r}, found {found[key][column]!r}")
    return told


def is_same(expected: Any, found: Any, within: float) -> bool:
    if isinstance(expected, set):  # reasons: one of those that hold, none when none does
        return found in expected if expected else found is None
    if isinstance(expected, (int, float)) and isinstance(found, (int, float)) and not isinstance(expected, bool):
        return math.isclose(expected, found, rel_tol=1e-6, abs_tol=within)  # the models round to 6 decimals
    return expected == found


@pytest.mark.chain
def test_marts_are_those_of_the_oracle(built: tuple[Oracle, Chain]) -> None:
    oracle, chain = built
    months, anomalies = oracle.by_building(), oracle.anomalies() | heating_excess(oracle)
    assert len(months) > 150
    told_of = {name: {str(row[name]) for row in months.values()} for name in ("apportionment_method", "consumption_source")}
    assert told_of["apportionment_method"] == {"time", "signature", "degree_days", "mixed", "None"}
    assert told_of["consumption_source"] == {"meter", "bill"}
    against = set().union(*(row["correction_refusal_reason"] for row in months.values()))
    assert against == {"no_consumption", "incomplete_month", "open_month", "no_reference_period", "too_few_days", "too_few_periods",
                       "same_weather_every_period", "not_heating_energy", "negative_slope", "weak_fit", "incomplete_weather"}  # fmt: skip
    for name in ("corrected_kwh", "avoided_kwh", "corrected_change_share", "emissions_kgco2e", "produced_kwh"):
        assert any(row[name] for row in months.values()), f"the case has no {name}"
    sources = [months["B10", dt.date(2024, month, 1), "electricity"]["consumption_source"] for month in (5, 6)]
    assert sources == ["bill", "meter"], "the meter came on the 28th of May"
    assert {kind for *_, kind in anomalies} == {"night_base_load", "drift", "heating_excess", "missing_meter", "frozen_index"}
    told = differences(chain, MONTHS, with_costs(oracle, months))
    communes = oracle.by_commune()
    assert {row["counted_building_count"] >= 3 for row in communes.values()} == {True, False}, "some are shown, some hidden"
    told += differences(chain, COMMUNES, communes)
    told += differences(chain, ANOMALIES, anomalies)
    alerts = events(anomalies, oracle.limits["event_gap_day_count"])
    assert any(row["excess_kwh"] and row["excess_kwh_pci"] is None for row in alerts.values()), "no alert whose days another counts"
    told += differences(chain, ALERTS, alerts, BY_UNIT_TESTS)
    assert told == [], "\n".join(told[:50])


@pytest.mark.chain
def test_costs_years_and_the_obligation_are_those_of_the_oracle(built: tuple[Oracle, Chain]) -> None:
    oracle, chain = built
    months = with_costs(oracle, oracle.by_building())
    years = by_year(oracle, months)
    entities = by_entity(oracle, years)
    assert {row["year_state"] for row in years.values()} == {"whole", "incomplete", "partial", "open"}
    for name in (
        "yearly_cost_eur_per_m2",
        "corrected_change_share",
        "year_before_corrected_change_share",
        "highest_power_share",
    ):
        assert any(row[name] for row in years.values()), f"the case has no {name}"
    assert any(row["consumption_kwh_pci_12_months"] for row in months.values())
    assert {0 < row["cost_completeness_share"] < 1 for row in months.values()} == {True, False}
    against = {row["comparison_refusal_reason"] for row in entities.values()}
    assert {None, "year_not_whole", "no_reference_year", "heating_energy_not_known", "mixed_use"} <= against
    assert {row["is_subject"] for row in entities.values()} == {True, False, None}
    told = differences(chain, YEARS, years, BY_UNIT_TESTS) + differences(chain, ENTITIES, entities)
    assert told == [], "\n".join(told[:50])


@pytest.mark.chain
def test_odd_meters_say_what_they_are_worth(built: tuple[Oracle, Chain]) -> None:
    oracle, chain = built

    def month(building: str, day: str) -> tuple[float | None, float, int]:
        asked = f"select consumption_kwh, completeness_share, reset_count from marts.{MONTHS} "
        return chain.read(f"{asked} where building_id = '{building}' and month_date = '{day}' and energy = 'electricity'")[0]

    # A reading a day, at about the same hour, covers its month.
    assert all(month("B29", f"2024-{n:02}-01")[1] > 0.999 for n in range(1, 13))
    # A frozen index is no consumption; five days of closure are, and so is what the steward saw on the meter.
    assert month("B30", "2025-02-01")[:2] == (None, 0)
    assert 0.6 < month("B30", "2024-06-01")[1] < 0.7
    assert month("B30", "2024-03-01")[1] > 0.999 and month("B30", "2024-07-01")[1] > 0.9
    told = "select distinct frozen_since_at from intermediate.int_intervals_by_month where is_frozen"
    assert len(chain.read(told)) == 2
    # One stale value a week, and a unit of the index within 20 seconds, move nothing.
    for n in range(1, 12):
        opens, closes = (
            sorted(at for at in oracle.readings["M31", "PTCOUR1:BASE:EAP_s"] if at <= midnight(dt.date(2024, m, 1)))[-1] for m in (n, n + 1)
        )
        kwh, share, resets = month("B31", f"2024-{n:02}-01")
        indexes = oracle.readings["M31", "PTCOUR1:BASE:EAP_s"]
        assert share > 0.999 and resets == 0 and kwh == pytest.approx(indexes[closes] - indexes[opens], rel=0.03)
    (dropped,) = chain.read("select sum(outlier_count) from intermediate.int_intervals_by_month where meter_id = 'M31'")[0]
    assert dropped >= 60
    # Winter registers are known by their names; one that nobody knows leaves its month without completeness, and is told.
    assert month("B32", "2024-11-01")[1] > 0.99 and month("B32", "2025-01-01")[1] > 0.97
    assert month("B32", "2024-12-01")[1] == 0 and month("B32", "2024-12-01")[0] is not None
    assert month("B32", "2024-02-01")[1] < 0.4, "it was read from the 10th on"
    assert month("B32", "2024-06-01")[1] > 0.99
    told = "select meter_id, measure_name, sum(measure_count), set_aside_reason from marts.measures_set_aside_by_device_month"
    found = chain.read(f"{told} where is_register_unknown group by all")
    assert found == [("M32", "PTCOUR1:HPX:EAP_s", len(oracle.unknown["M32", "PTCOUR1:HPX:EAP_s"]), "nature_not_known")]
    published = steps.publish(chain.lake, Journal(chain.lake), "r").entry
    assert (
        published
        and published["marts"]["measures_set_aside_by_device_month"]["row_count"]
        == chain.read("select count(*) from marts.measures_set_aside_by_device_month")[0][0]
    )

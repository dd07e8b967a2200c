"""What registers say of the buildings: rows of the department's tables, bills, and the key of what was planted in them."""

import csv
import datetime as dt
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ingestion.sandbox.clock import PARIS, epoch_hour, to_instant
from ingestion.sandbox.stock import (
    DRIFT_PER_MONTH,
    FIRST_DAY,
    FROZEN_DAYS,
    GAP_DAYS,
    HEATING_BELOW,
    HEATING_EMPTY,
    HEATING_PRESENT,
    IN_PLACE,
    LEAK_FACTOR,
    PLANTED_EVERY,
    POWER_TIGHT,
    POWER_TOO_HIGH,
    RATES,
    Stock,
)

TARIFFS = {
    "electricity": (0.155, 0.0, 0.05, 0.0205, 0.2), "gas": (0.072, 1.2, 0.0, 0.0163, 0.2), "heat_network": (0.075, 0.012, 0.0, 0.0, 0.055),
    "fuel_oil": (0.115, 0.0, 0.0, 0.0, 0.2), "wood": (0.07, 0.0, 0.0, 0.0, 0.1),
}  # fmt: skip
"""Made up, of the order of what is paid: EUR a kWh as billed, a day (heat network: a day and m2), a day and kVA; excise a kWh; VAT."""
REFERENCES = {
    "school": 150, "gymnasium": 170, "pool": 650, "offices": 190, "library": 190, "nursery": 230, "cultural": 200, "technical": 210,
}  # fmt: skip
"""Made up: final kWh a m2 of tertiary area in the reference year of the entity, as entered in OPERAT."""


def read_communes() -> list[dict[str, str]]:
    """The 43 communes of Rennes Métropole: codes, names, populations (INSEE, DGCL 2025) and a point inside."""
    with (Path(__file__).parent / "communes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    article = {"2": "Le ", "3": "La ", "5": "L'"}
    return [row | {"name": article.get(row["tncc"], "") + row["nccenr"]} for row in rows]


class World(Stock):
    """The synthetic territory as it is known at `until`, 23:00 UTC."""

    @cached_property
    def planted(self) -> list[dict[str, Any]]:
        """What was planted up to `until`, for the key file: kind, where, from, to and its parameters."""
        now, found = self.now.timestamp() / 3600, []
        params: dict[str, dict[str, Any]] = {
            "night_leak": {"night_base_factor": LEAK_FACTOR, "local_hours": [22, 6]},
            "drift": {"rise_per_month": DRIFT_PER_MONTH, "month_days": 30.4375, "months_at_most": 24},
            "gap": {"folder_days": GAP_DAYS},
            "frozen_index": {"days": FROZEN_DAYS},
        }

        def add(kind: str, i: int, start: float, end: float | None, extra: dict[str, Any]) -> None:
            where = {"building_id": self.building_ids[i], "meter_id": self.meter_ids[i], "deveui": self.deveuis[i]}
            span = {"from": to_instant(start).isoformat(), "to": to_instant(end).isoformat() if end else None}
            found.append({"kind": kind, "brick": "lora_batiments", **where, **span, "params": extra})

        for kind, hours in self.fault_hours.items():
            for i in np.flatnonzero(hours <= now).tolist():
                lasts = {"gap": GAP_DAYS, "frozen_index": FROZEN_DAYS}.get(kind)
                end = hours[i] + lasts * 24 if lasts else None
                fall = {"index_before_kwh": float(self.events[1][i]), "index_after_kwh": self.restart(i)}
                add(kind, i, hours[i], end, params.get(kind, fall))
        for i, one in enumerate(self.types):
            if one.planted in ("photovoltaic", "comma_decimals"):
                extra = {"peak_kw": round(float(self.kwp[i]), 1)} if one.planted == "photovoltaic" else {}
                add(one.planted, i, epoch_hour(IN_PLACE), None, extra)
        for i in range(self.size):
            power = {POWER_TOO_HIGH: "power_too_high", POWER_TIGHT: "power_exceeded"}.get(i % 12)
            if power and i // 12 % PLANTED_EVERY == 0:
                add(power, i, epoch_hour(IN_PLACE), None, {"subscribed_power_kva": float(self.power[i])})
                found[-1]["brick"] = "patrimoine_bati"
        for i, (first, mended, rise) in self.not_set_back.items():
            if first <= self.until:
                where = {"building_id": self.building_ids[i], "meter_id": None, "deveui": None}
                span = {"from": str(first), "to": str(mended) if mended and mended <= self.until else None}
                heats = {"energy": self.types[i].heating, "heating_rise_share": rise}
                found.append({"kind": "heating_not_set_back", "brick": "patrimoine_bati", **where, **span, "params": heats})
        for bill in self.all_bills:
            if bill["corrected_at"] and bill["corrected_at"] <= self.now:
                where = {"building_id": bill["building_id"], "meter_id": None, "deveui": None}
                span = {"from": str(bill["from_date"]), "to": str(bill["to_date"])}
                extra = {"bill_id": bill["bill_id"], "first_quantity": bill["quantity"], "quantity": bill["corrected"]}
                found.append({"kind": "corrected_bill", "brick": "patrimoine_bati", **where, **span, "params": extra})
        return found

    # -- the department's tables ----------------------------------------------------------------------------------

    @cached_property
    def buildings(self) -> list[dict[str, Any]]:
        """Rows of `batiments-publics`."""
        communes = read_communes()
        codes = [row["commune_code"] for row in communes]
        weights = np.cumsum([int(row["municipal_population"]) for row in communes])
        drawn = np.searchsorted(weights / weights[-1], self.draw("commune", self.index), side="right")
        rows = []
        for i, kind in enumerate(self.types):
            fixed = i < 12 or kind.heating == "heat_network"
            commune = communes[codes.index(kind.commune) if fixed else int(drawn[i])]
            east, north = ((self.draw(axis, i) - 0.5) * 0.008 for axis in ("east", "north"))
            network = ("En'RnoV", "Enersud")[i // 12 % 2] if kind.heating == "heat_network" else None
            rows.append({
                "building_id": self.building_ids[i], "name": f"{kind.label} {i + 1:03d} (fictif), {commune['name']}",
                "use": kind.use, "floor_area_m2": float(self.area[i]), "commune_code": commune["commune_code"],
                "longitude": round(float(commune["longitude"]) + float(east), 5),
                "latitude": round(float(commune["latitude"]) + float(north), 5),
                "heating_energy": kind.heating, "heat_network": network,
                "operator": self.operator(i), "is_publishable": i % 12 != 8,  # a technical centre is not shown
                **self.obligation(i),
            })  # fmt: skip
        return rows

    def operator(self, i: int) -> str:
        """Who runs a building: one pool in two is delegated to an enterprise, offices are the metropole's."""
        kind = self.types[i].use
        return "enterprise" if kind == "pool" and i // 12 % 2 else "epci" if kind == "offices" else "commune"

    def obligation(self, i: int) -> dict[str, Any]:
        """What the steward says of the tertiary obligation: the first two schools of a block are one entity on one site."""
        first = i - (i % 12 == 1)
        area = round(float(self.area[i]) * (0.8 if self.types[i].use == "technical" else 0.9))
        entity = None if i % 12 == 11 else f"EFA-{first + 1:05d}"  # nobody declared that of a gymnasium
        return {"efa_id": entity, "site_id": f"SIT-{first + 1:05d}", "tertiary_area_m2": float(area),
                "valid_from": None, "valid_to": None, "subject_from_year": 2020 if i % 12 == 8 else None}  # fmt: skip

    @cached_property
    def tertiary_entries(self) -> list[dict[str, Any]]:
        """Rows of `saisies-operat-batiments-publics`: some refer to 2024, which is computed, some to nothing yet."""
        rows: list[dict[str, Any]] = []
        for i, kind in enumerate(self.types):
            if i % 12 in (1, 5, 11):  # of another entity's building, not entered, not declared
                continue
            is_known = i % 12 not in (0, 2)
            year = 2012 + int(self.draw("reference", i) * 8) if is_known else 2024
            past = round(REFERENCES[kind.use] * (0.9 + 0.2 * float(self.draw("operat", i)))) if is_known else None
            target = round(REFERENCES[kind.use] * 0.62) if is_known else None
            rows.append({"efa_id": f"EFA-{i + 1:05d}", "milestone_year": 2030, "absolute_value_kwh_per_m2": target,
                         "reference_year": year, "reference_kwh_per_m2": past, "entered_on": dt.date(2023, 6, 1 + i % 28)})  # fmt: skip
        return rows

    @cached_property
    def contracts(self) -> list[dict[str, Any]]:
        """Rows of `contrats-energie-batiments-publics`: the electricity of each building, and what else heats it."""
        electricity = [
            {"contract_id": f"PDL-{i + 1:05d}", "building_id": self.building_ids[i], "energy": "electricity",
             "valid_from": FIRST_DAY, "valid_to": None}
            for i in range(self.size)
        ]  # fmt: skip
        return electricity + [
            {"contract_id": f"CTR-{i + 1:05d}", "building_id": self.building_ids[i], "energy": kind.heating,
             "valid_from": FIRST_DAY.replace(day=15 if i % 12 == 2 else 1), "valid_to": None}
            for i, kind in enumerate(self.types) if kind.heating != "electricity"
        ]  # fmt: skip

    @cached_property
    def meters(self) -> list[dict[str, Any]]:
        """Rows of `compteurs-batiments-publics`: one a meter, a second one where a swap was declared."""
        rows: list[dict[str, Any]] = []
        swaps = self.fault_hours["meter_swap"]
        for i in range(self.size):
            swap = to_instant(swaps[i]) if swaps[i] <= self.now.timestamp() / 3600 else None
            start = dt.datetime.combine(IN_PLACE, dt.time(), PARIS).astimezone(dt.UTC)
            where = {"meter_id": self.meter_ids[i], "building_id": self.building_ids[i], "deveui": self.deveuis[i]}
            what = {"energy": "electricity", "subscribed_power_kva": float(self.power[i])}
            row = {**where, **what, "valid_from": start, "valid_to": swap}
            rows.append(row)
            if swap:
                rows.append(row | {"meter_id": self.meter_ids[i] + "-B", "valid_from": swap, "valid_to": None})
        return rows

    @cached_property
    def declared_indexes(self) -> list[dict[str, Any]]:
        """Rows of `index-releves-compteurs`: at each swap, the last index of the old meter and the first of the new."""
        rows = []
        for i in np.flatnonzero(self.fault_hours["meter_swap"] <= self.now.timestamp() / 3600).tolist():
            common = {"measure_name": "PTCOUR1:BASE:EAP_s", "read_on": to_instant(self.events[0][i])}
            for suffix, index in (("", float(self.events[1][i])), ("-B", self.restart(i))):
                rows.append({"meter_id": self.meter_ids[i] + suffix, **common, "index_kwh": index})
        return rows

    # -- bills ----------------------------------------------------------------------------------------------------

    @cached_property
    def signatures(self) -> list[dict[str, Any]]:
        """What heats each building, for the key file: kWh a day without heating, and kWh more for each degree-day.

        They are kWh PCI of the energy that is billed. A meter of a building heated by electricity follows the hours
        below `threshold_c` instead: W for each degree, when nobody is there and when somebody is.
        """
        found: list[dict[str, Any]] = []
        for i, kind in enumerate(self.types):
            told = {"building_id": self.building_ids[i], "energy": kind.heating}
            if kind.heating == "electricity":
                watts = [float(self.area[i]) * each for each in (HEATING_EMPTY, HEATING_EMPTY + HEATING_PRESENT)]
                power = {"watts_per_degree_empty": watts[0], "watts_per_degree_present": watts[1]}
                found.append(told | power | {"threshold_c": HEATING_BELOW})
                continue
            per_day = float(self.area[i]) * (0.35 if kind.use == "pool" else 0.015)
            per_degree_day = float(self.area[i]) * (0.032 + 0.016 * float(self.draw("envel", i)))
            found.append(told | {"base_kwh_per_day": per_day, "slope_kwh_per_degree_day": per_degree_day})
        return found

    @cached_property
    def all_bills(self) -> list[dict[str, Any]]:
        """Every bill issued by `until` as first issued, with its correction: a x days + b x degree-days + noise.

        Degree-days are those of energy contracts (professional method), which the signature is fitted on.
        """
        days = (self.until - FIRST_DAY).days + 1
        weather = self.daily_weather(FIRST_DAY, days)
        low, high = weather["tn"], weather["tx"]
        across = (18 - low) * (0.08 + 0.42 * (18 - low) / np.maximum(high - low, 0.1))
        of_day = np.where(high < 18, 18 - (low + high) / 2, np.where(low >= 18, 0, across))
        degree_days = np.concatenate([[0], of_day.cumsum()])
        rows: list[dict[str, Any]] = []
        for i, kind in enumerate(self.types):
            if kind.heating == "electricity":
                continue
            unit, factor = {"gas": ("kWh_pcs", 1.11), "heat_network": ("MWh", 0.001)}.get(kind.heating, ("kWh", 1.0))
            per_day, per_degree_day = (self.signatures[i][name] for name in ("base_kwh_per_day", "slope_kwh_per_degree_day"))
            start = FIRST_DAY.replace(day=15 if i % 12 == 2 else 1)
            while (end := (start + dt.timedelta(days=32)).replace(day=start.day)) <= self.until:
                a, b = (start - FIRST_DAY).days, (end - FIRST_DAY).days
                month = end.year * 12 + end.month
                noise, wrong, wait, later = (float(self.draw(t, i, month)) for t in ("bill", "wrong", "wait", "later"))
                amount = per_day * (b - a) + per_degree_day * float(degree_days[b] - degree_days[a])
                if i in self.not_set_back:
                    first, mended, rise = self.not_set_back[i]
                    since, until = ((min(max(day, start), end) - FIRST_DAY).days for day in (first, mended or end))
                    amount += rise * per_degree_day * float(degree_days[until] - degree_days[since])
                amount *= factor * (0.95 + 0.1 * noise)
                issued = dt.datetime.combine(end, dt.time(8), dt.UTC) + dt.timedelta(hours=round(120 + 360 * wait))
                corrected = wrong < RATES["corrected_bill"]
                if issued <= self.now:
                    rows.append({
                        "bill_id": f"FAC-{i + 1:05d}-{start:%Y%m}", "building_id": self.building_ids[i],
                        "contract_id": f"CTR-{i + 1:05d}", "energy": kind.heating, "from_date": start, "to_date": end,
                        "quantity": round(amount * (1.3 if corrected else 1), 3), "unit": unit, "updated_at": issued,
                        "corrected_at": issued + dt.timedelta(days=20 + round(later * 25)) if corrected else None,
                        "corrected": round(amount, 3),
                    })  # fmt: skip
                start = end
        return rows

    @cached_property
    def bills(self) -> list[dict[str, Any]]:
        """Rows of `factures-energie-batiments-publics` at `until`: corrections replace what they correct."""
        rows = []
        for bill in self.all_bills:
            done = bill["corrected_at"] is not None and bill["corrected_at"] <= self.now
            row = {k: v for k, v in bill.items() if not k.startswith("corrected")}
            rows.append(row | {"quantity": bill["corrected"], "updated_at": bill["corrected_at"]} if done else row)
        return [self.priced(row) for row in [*rows, *self.electricity_bills]] + self.credit_notes

    @cached_property
    def credit_notes(self) -> list[dict[str, Any]]:
        """What the supplier of a cultural centre gives back, once: no quantity, amounts below 0, beside the month's bill."""
        start, end = dt.date(2025, 3, 1), dt.date(2025, 4, 1)
        issued = dt.datetime.combine(end + dt.timedelta(days=20), dt.time(8), dt.UTC)
        return [
            {"bill_id": f"AVO-{i + 1:05d}-{start:%Y%m}", "building_id": self.building_ids[i], "contract_id": f"CTR-{i + 1:05d}",
             "energy": "gas", "from_date": start, "to_date": end, "quantity": 0.0, "unit": "kWh_pcs", "updated_at": issued,
             "amount_excluding_tax": -150.0, "tax_amount": -30.0, "currency": "EUR", "subscribed_power_kva": None,
             "highest_power_kva": None}
            for i in range(self.size) if i % 12 == 7 and i // 12 % PLANTED_EVERY == 0 and issued <= self.now
        ]  # fmt: skip

    @cached_property
    def electricity_bills(self) -> list[dict[str, Any]]:
        """Every bill of electricity issued by `until`: what the meter counted in a local month, and its highest power."""
        rows: list[dict[str, Any]] = []
        start = FIRST_DAY
        while (end := (start + dt.timedelta(days=32)).replace(day=1)) <= self.until:
            first, last = (round(dt.datetime.combine(day, dt.time(), PARIS).timestamp() / 3600) for day in (start, end))
            load = self.energy(first, last - first)[:2].sum(axis=0)
            month = end.year * 12 + end.month
            for i in range(self.size):
                wait = float(self.draw("pdl", i, month))
                issued = dt.datetime.combine(end, dt.time(8), dt.UTC) + dt.timedelta(hours=round(96 + 240 * wait))
                if issued > self.now:
                    continue
                # Ten minutes reach above the mean of their hour.
                highest = float(load[i].max()) * (1 + 0.06 * float(self.draw("peak", i, month)))
                rows.append({
                    "bill_id": f"ELE-{i + 1:05d}-{start:%Y%m}", "building_id": self.building_ids[i],
                    "contract_id": f"PDL-{i + 1:05d}", "energy": "electricity", "from_date": start, "to_date": end,
                    "quantity": round(float(load[i].sum())), "unit": "kWh", "updated_at": issued,
                    "subscribed_power_kva": float(self.power[i]), "highest_power_kva": round(highest, 1),
                })  # fmt: skip
            start = end
        return rows

    def priced(self, bill: dict[str, Any]) -> dict[str, Any]:
        """The bill with what it costs, some of them without: made up, by the energy's tariff."""
        i, month = int(bill["building_id"][4:]) - 1, bill["to_date"].year * 12 + bill["to_date"].month
        per_kwh, per_day, per_kva, excise, vat = TARIFFS[bill["energy"]]
        days, kwh = (bill["to_date"] - bill["from_date"]).days, bill["quantity"] * (1000 if bill["unit"] == "MWh" else 1)
        fixed = per_day * (float(self.area[i]) if bill["energy"] == "heat_network" else 1) + per_kva * bill.get("subscribed_power_kva", 0)
        amount = (per_kwh * kwh + fixed * days) * 1.03 ** (bill["from_date"].year - FIRST_DAY.year)
        tax = excise * kwh + vat * (amount + excise * kwh)
        electric = bill["energy"] == "electricity"
        is_known = float(self.draw("unpriced", i, month, electric)) >= RATES["without_amount"]
        return {"subscribed_power_kva": None, "highest_power_kva": None, "currency": "EUR"} | bill | {
            "amount_excluding_tax": round(amount, 2) if is_known else None, "tax_amount": round(tax, 2) if is_known else None,
        }  # fmt: skip

"""Makes up the territory's buildings, meters, weather and energy: any hour of it from (seed, scale), vectorised.

Randomness is a hash of (seed, what, who, when), never a stream: a day is the same whatever `until` is and whatever
was asked before. Import this module late: it needs numpy.
"""

import csv
import datetime as dt
import math
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

PARIS = ZoneInfo("Europe/Paris")
FIRST_DAY = dt.date(2024, 1, 1)
IN_PLACE = dt.date(2023, 12, 1)
"""Day on which every meter and sensor was put in place; history arrays of the first frames reach before FIRST_DAY."""
HISTORY = 24
"""Elements of a history array, one an hour, newest first."""
RATES = {"late": 0.005, "duplicate": 0.005, "malformed": 0.0015, "corrected_bill": 0.04, "without_amount": 0.01}
"""Share of frames late by 1 or 2 days, sent twice, unreadable; share of bills corrected later, and of bills without amount."""
DRIFT_PER_MONTH, LEAK_FACTOR, GAP_DAYS, FROZEN_DAYS = 0.02, 2.0, 7, 21
HEATING_BELOW, HEATING_EMPTY, HEATING_PRESENT = 16.5, 1.2, 1.0
"""Electric heating: the outside temperature (°C) below which it runs, W/m2 a degree at all hours, and more when in use."""
PLANTED_EVERY = 4
"""One block of 12 buildings in four holds the planted faults, the first block always."""

# Zone B school holidays, [first day, day of return), from summer 2023 to summer 2026; later years repeat the last one.
_VACATIONS = tuple(
    """
    2023-07-08 2023-09-04 2023-10-21 2023-11-06 2023-12-23 2024-01-08 2024-02-24 2024-03-11 2024-04-20
    2024-05-06 2024-07-06 2024-09-02 2024-10-19 2024-11-04 2024-12-21 2025-01-06 2025-02-08 2025-02-24
    2025-04-05 2025-04-22 2025-07-05 2025-09-01 2025-10-18 2025-11-03 2025-12-20 2026-01-05 2026-02-14
    2026-03-02 2026-04-11 2026-04-27 2026-07-04 2026-09-01
    """.split()  # noqa: SIM905
)
# Use: opening hour, closing hour, then presence on Saturdays, Sundays and holidays, and weekdays of school holidays.
_USES = {
    "school": (7, 18, 0, 0, 0.12), "gymnasium": (9, 22, 0.8, 0.5, 0.5), "pool": (6, 22, 1, 0.8, 1.1),
    "offices": (8, 18, 0.05, 0, 0.8), "library": (9, 19, 1, 0, 0.8), "nursery": (7, 19, 0, 0, 0.7),
    "cultural": (10, 22, 1, 0.6, 0.6), "technical": (6, 20, 0.3, 0.1, 0.9),
}  # fmt: skip


class Archetype(NamedTuple):
    """One of the twelve buildings of a block; powers in W/m2, `kind` says how its meter speaks."""

    use: str
    label: str
    area: int
    base: float
    active: float
    heating: str
    kind: str
    planted: str | None
    commune: str


ARCHETYPES = (
    Archetype("school", "École", 2400, 2.0, 9, "gas", "base", "frozen_index", "35238"),
    Archetype("school", "École", 3100, 2.2, 9, "heat_network", "base", "night_leak", "35238"),
    Archetype("gymnasium", "Gymnase", 1900, 1.8, 14, "gas", "base", "meter_swap", "35047"),
    Archetype("pool", "Piscine", 3600, 22.0, 16, "gas", "two", "frozen_index", "35051"),
    Archetype("offices", "Bureaux", 5200, 3.5, 12, "heat_network", "two", "photovoltaic", "35238"),
    Archetype("library", "Bibliothèque", 1500, 2.5, 12, "electricity", "base", None, "35024"),
    Archetype("nursery", "Crèche", 900, 2.5, 10, "electricity", "base", None, "35281"),
    Archetype("cultural", "Centre culturel", 2700, 3.0, 11, "gas", "base", "drift", "35210"),
    Archetype("technical", "Centre technique", 1400, 3.0, 8, "fuel_oil", "base", "meter_reset", "35240"),
    Archetype("school", "École", 1300, 2.0, 9, "wood", "base_scalar", "gap", "35208"),
    Archetype("offices", "Mairie", 1700, 3.0, 11, "gas", "scalar", None, "35278"),
    Archetype("gymnasium", "Gymnase", 1600, 1.8, 13, "electricity", "base", "comma_decimals", "35334"),
)
_FAULTS = {"night_leak": "2025-02-10", "meter_swap": "2024-10-08T07:30", "drift": "2024-09-01",
           "meter_reset": "2025-05-14T10:00", "gap": "2024-11-11", "frozen_index": "2025-01-15T09:00"}  # fmt: skip
TARIFFS = {
    "electricity": (0.155, 0.0, 0.05, 0.0205, 0.2), "gas": (0.072, 1.2, 0.0, 0.0163, 0.2), "heat_network": (0.075, 0.012, 0.0, 0.0, 0.055),
    "fuel_oil": (0.115, 0.0, 0.0, 0.0, 0.2), "wood": (0.07, 0.0, 0.0, 0.0, 0.1),
}  # fmt: skip
"""Made up, of the order of what is paid: EUR a kWh as billed, a day (heat network: a day and m2), a day and kVA; excise a kWh; VAT."""
POWER_TOO_HIGH, POWER_TIGHT = 8, 10
"""Buildings of a planted block that pay for 1.6 times the power of the others, and for what their hours just stay within."""
REFERENCES = {
    "school": 150, "gymnasium": 170, "pool": 650, "offices": 190, "library": 190, "nursery": 230, "cultural": 200, "technical": 210,
}  # fmt: skip
"""Made up: final kWh a m2 of tertiary area in the reference year of the entity, as entered in OPERAT."""
_NOT_SET_BACK: dict[int, tuple[str, str | None]] = {4: ("2025-01-13", None), 10: ("2025-01-13", "2025-04-01")}
"""Archetypes of which the heating is no longer set back at night, from a day on and until another (none: it lasts)."""
STATIONS = (
    ("35281001", "RENNES-ST JACQUES", 48.0688, -1.7340, 36, 0.0),
    ("35228001", "DINARD", 48.5848, -2.0763, 65, -0.6),
    ("35110002", "FEINS SA", 48.3267, -1.5994, 110, -0.9),
)
"""Number, name, latitude, longitude, altitude in metres, and our own offset of temperature in degrees."""
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def uniform(seed: int, tag: str, *keys: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend only on their keys (integers, broadcast together): splitmix64 of them."""
    state: Any = np.uint64((int.from_bytes(tag.encode(), "big") * 1_000_003 + seed) % 2**64)
    with np.errstate(over="ignore"):
        for key in keys:
            spread = np.asarray(key, dtype=np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            state = state ^ spread
            for shift, factor in zip((30, 27), _MIX, strict=True):
                state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state >> np.uint64(11), dtype=np.float64) / 2.0**53


def wave(seed: int, tag: str, hours: NDArray[np.int64], period: int) -> NDArray[np.float64]:
    """Smooth noise of mean 0 and variance about 1, with a new target every `period` hours."""
    step, rest = np.divmod(hours, period)
    part = rest / period
    ease = part * part * (3 - 2 * part)
    low, high = (uniform(seed, tag, step + i) for i in (0, 1))
    return (low + (high - low) * ease - 0.5) * math.sqrt(12) * 1.2


def epoch_hour(day: dt.date) -> int:
    """Hours from 1970 to midnight UTC of that day."""
    return (day - dt.date(1970, 1, 1)).days * 24


def to_instant(hour: float) -> dt.datetime:
    """The instant, in UTC, of a number of hours since 1970."""
    return dt.datetime.fromtimestamp(round(hour * 3600), dt.UTC)


def local_hours(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hours since 1970 on the clocks of Paris, for UTC hours: the last Sundays of March and October at 01:00 UTC."""
    years = range(int(hours.min()) // 8766 + 1969, int(hours.max()) // 8766 + 1972)
    changes = []
    for year in years:
        for month in (3, 10):
            last = dt.date(year, month, 31)
            changes.append(epoch_hour(last - dt.timedelta(days=(last.weekday() + 1) % 7)) + 1)
    return hours + 1 + np.searchsorted(np.array(changes), hours, side="right") % 2


def day_kind(day: dt.date) -> int:
    """0 for a weekday, 1 Saturday, 2 Sunday or bank holiday, 3 weekday of school holidays (zone B)."""
    golden, century = day.year % 19, day.year // 100
    epact = (century - century // 4 - (8 * century + 13) // 25 + 19 * golden + 15) % 30
    moon = epact - (epact // 28) * (1 - (29 // (epact + 1)) * ((21 - golden) // 11))
    sunday = moon - (day.year + day.year // 4 + moon + 2 - century + century // 4) % 7
    easter = dt.date(day.year, 3, 28) + dt.timedelta(days=sunday)
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    if day.weekday() == 6 or (day.month, day.day) in fixed or (day - easter).days in (1, 39, 50):
        return 2
    if day.weekday() == 5:
        return 1
    while day >= dt.date(2026, 9, 1):
        day -= dt.timedelta(days=364)
    return 3 if any(a <= day.isoformat() < b for a, b in zip(_VACATIONS[::2], _VACATIONS[1::2], strict=True)) else 0


def read_communes() -> list[dict[str, str]]:
    """The 43 communes of Rennes Métropole: codes, names, populations (INSEE, DGCL 2025) and a point inside."""
    with (Path(__file__).parent / "communes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    article = {"2": "Le ", "3": "La ", "5": "L'"}
    return [row | {"name": article.get(row["tncc"], "") + row["nccenr"]} for row in rows]


class World:
    """The synthetic territory as it is known at `until`, 23:00 UTC."""

    def __init__(self, scale: float = 1.0, until: dt.date | None = None, seed: int = 35) -> None:
        """Nothing is generated before it is asked for; `scale` 1 is 12 buildings, 12 meters and 6 thermometers."""
        self.scale, self.seed, self.until = scale, seed, until or dt.date(2025, 12, 31)
        if scale <= 0 or self.until < FIRST_DAY:
            raise ValueError(f"sandbox: scale {scale} must be above 0 and until {self.until} on or after {FIRST_DAY}")
        self.now = dt.datetime.combine(self.until, dt.time(23), dt.UTC)
        self.size = max(1, round(12 * scale))
        self.index = np.arange(self.size)
        self.types = [ARCHETYPES[i % 12] for i in range(self.size)]
        self.area = (np.array([kind.area for kind in self.types]) * (0.8 + 0.4 * self.draw("area", self.index))).round()
        heated = [22.0 * 2.8 if kind.heating == "electricity" else 0.0 for kind in self.types]
        peak = [k.base * LEAK_FACTOR + k.active * 1.1 + heat for k, heat in zip(self.types, heated, strict=True)]
        self.power = np.ceil(self.area * np.array(peak) / 1000 * 1.3 / 6) * 6
        for i in range(self.size):
            if i // 12 % PLANTED_EVERY == 0 and i % 12 == POWER_TOO_HIGH:
                self.power[i] = np.ceil(self.power[i] * 1.6)
            elif i // 12 % PLANTED_EVERY == 0 and i % 12 == POWER_TIGHT:
                self.power[i] = np.ceil(self.area[i] * (self.types[i].base + self.types[i].active) * 1.15 / 1000)
        self.electric = np.array([kind.heating == "electricity" for kind in self.types])
        self.meter_ids = [f"CPT-{i + 1:05d}" for i in range(self.size)]
        self.building_ids = [f"BAT-{i + 1:05d}" for i in range(self.size)]
        self.deveuis = [f"70b3d5e75e{0x1000 + i:06x}" for i in range(self.size)]
        self.thermometers = [f"0018b21000{0x2000 + i:06x}" for i in range(-(-self.size // 2))]
        self.kwp = np.where([kind.planted == "photovoltaic" for kind in self.types], self.area * 0.03, 0.0)

    def draw(self, tag: str, *keys: ArrayLike) -> NDArray[np.float64]:
        """`uniform` with the world's seed."""
        return uniform(self.seed, tag, *keys)

    # -- what is planted ------------------------------------------------------------------------------------------

    @cached_property
    def fault_hours(self) -> dict[str, NDArray[np.float64]]:
        """For each kind of fault and building, the hour since 1970 at which it starts, infinite when it never does."""
        hours = {}
        for kind, text in _FAULTS.items():
            start = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() / 3600
            moves = (self.index >= 12) | (kind == "frozen_index")
            shift = (self.draw("shift", self.index) * 60).astype(int) * 24 * moves
            has = [t.planted == kind and i // 12 % PLANTED_EVERY == 0 for i, t in enumerate(self.types)]
            hours[kind] = np.where(has, start + shift, np.inf)
        return hours

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

    @cached_property
    def not_set_back(self) -> dict[int, tuple[dt.date, dt.date | None, float]]:
        """Buildings whose heating is no longer set back at night: first day, day on which it is mended, what it takes more."""
        found = {}
        for i in range(self.size):
            if i % 12 in _NOT_SET_BACK and i // 12 % PLANTED_EVERY == 0:
                shift = dt.timedelta(days=int(self.draw("set back", i) * 60) * (i >= 12))
                first, mended = _NOT_SET_BACK[i % 12]
                until = dt.date.fromisoformat(mended) + shift if mended else None
                found[i] = dt.date.fromisoformat(first) + shift, until, round(0.2 + 0.1 * float(self.draw("rise", i)), 3)
        return found

    # -- weather --------------------------------------------------------------------------------------------------

    def weather(self, hours: NDArray[np.int64], station: int = 0) -> dict[str, NDArray[np.float64]]:
        """Temperature (°C), humidity (%), rain of the hour before (mm), cloud (0 to 1), sine of the sun's height."""
        year = (hours - 20 * 24) / 8766 * 2 * math.pi
        season = -np.cos(year)
        cloud = np.clip(0.55 + 0.38 * wave(self.seed, "cloud", hours, 37), 0, 1)
        swing = -(2.2 + 1.6 * season) * (1.35 - 0.8 * cloud) * np.cos((hours % 24 - 3.5) / 12 * math.pi)
        slow = 3.0 * wave(self.seed, "slow", hours, 131) + 1.6 * wave(self.seed, "days", hours, 34)
        name, offset = STATIONS[station][0], STATIONS[station][5]
        local = 0.5 * wave(self.seed, "t" + name[2:6], hours, 7)
        temperature = 12.4 + 6.9 * season + swing + slow + local + offset
        wet = 0.75 * wave(self.seed, "front", hours, 43) + 0.75 * wave(self.seed, "r" + name[2:6], hours, 5) - 1.4
        humidity = np.clip(80 - 4.2 * swing + 7 * wave(self.seed, "humid", hours, 26) + 10 * (wet > 0), 28, 100)
        tilt = 0.409 * np.sin((hours - 80 * 24) / 8766 * 2 * math.pi)
        lean = math.radians(48.1)
        sun = math.sin(lean) * np.sin(tilt) - math.cos(lean) * np.cos(tilt) * np.cos((hours % 24 + 0.4) / 12 * math.pi)
        return {"t": temperature.round(1), "u": humidity.round(), "rr": np.clip(wet * 1.6, 0, None).round(1),
                "cloud": cloud, "sun": np.clip(sun, 0, None)}  # fmt: skip

    def daily_weather(self, first: dt.date, days: int, station: int = 0) -> dict[str, NDArray[np.float64]]:
        """TN over 18 h to 18 h UTC, TX and RR over 6 h to 6 h of the next day, as the network does; one a day."""
        start = epoch_hour(first) - 24
        hours = self.weather(np.arange(start, start + (days + 3) * 24), station)
        low = np.array([hours["t"][i * 24 + 18 : i * 24 + 43].min() for i in range(days)])
        high = np.array([hours["t"][i * 24 + 30 : i * 24 + 55].max() for i in range(days)])
        rain = hours["rr"][31 : 31 + days * 24].reshape(days, 24).sum(axis=1).round(1)
        return {"tn": low, "tx": np.maximum(high, low), "rr": rain}

    # -- electricity ----------------------------------------------------------------------------------------------

    @cached_property
    def presence(self) -> NDArray[np.float64]:
        """Share of people present: building x kind of day x hour of the local clock."""
        table = np.zeros((self.size, 4, 24))
        for i, kind in enumerate(self.types):
            opening, closing, *others = _USES[kind.use]
            for j, factor in enumerate((1, *others)):
                table[i, j, opening:closing] = factor
                table[i, j, [opening, closing - 1]] *= 0.6
        return table

    def energy(self, first: int, count: int) -> NDArray[np.float64]:
        """Energy of `count` hours from hour `first`, kWh: 4 registers x meter x hour.

        The registers are withdrawn, withdrawn off-peak, injected, injected off-peak. Off-peak (HCE) is
        22:00 to 06:00 on local clocks for the meters of two periods; the others have one register.
        """
        hours = np.arange(first, first + count)
        clock = local_hours(hours)
        night = (clock % 24 >= 22) | (clock % 24 < 6)
        days, place = np.unique(clock // 24, return_inverse=True)
        kinds = np.array([day_kind(dt.date(1970, 1, 1) + dt.timedelta(days=int(d))) for d in days])[place]
        weather = self.weather(hours)
        who, presence = self.index[:, None], self.presence[:, kinds, clock % 24]
        base, active = (np.array([kind[field] for kind in self.types], float)[:, None] for field in (3, 4))
        leak = hours >= self.fault_hours["night_leak"][:, None]
        watts = base * (1 + (LEAK_FACTOR - 1) * (leak & night)) + active * presence
        cold = np.clip(HEATING_BELOW - weather["t"], 0, None)
        watts = watts + self.electric[:, None] * cold * (HEATING_EMPTY + HEATING_PRESENT * (presence > 0))
        months = np.clip((hours - self.fault_hours["drift"][:, None]) / (30.4375 * 24), 0, 24)
        noise = 1 + 0.16 * (self.draw("hour", who, hours) - 0.5) + 0.14 * (self.draw("day", who, clock // 24) - 0.5)
        load = self.area[:, None] * watts / 1000 * noise * (1 + DRIFT_PER_MONTH) ** months
        sun = self.kwp[:, None] * weather["sun"] * (1 - 0.75 * weather["cloud"]) * 0.9
        parts = np.stack([np.clip(load - sun, 0, None), np.clip(sun - load, 0, None)])
        off = night & np.array([not kind.kind.startswith("base") for kind in self.types])[:, None]
        return np.stack([parts[0] * ~off, parts[0] * off, parts[1] * ~off, parts[1] * off])

    @cached_property
    def midnights(self) -> NDArray[np.float64]:
        """Energy counted since IN_PLACE at each midnight UTC, kWh: 4 registers x meter x day, whole months long."""
        month, parts = IN_PLACE, [np.zeros((4, self.size, 1))]
        while month <= self.until + dt.timedelta(days=3):
            after = (month + dt.timedelta(days=32)).replace(day=1)
            days = (after - month).days
            parts.append(self.energy(epoch_hour(month), days * 24).reshape(4, self.size, days, 24).sum(axis=3))
            month = after
        return np.concatenate(parts, axis=2).cumsum(axis=2)

    def counted(self, day: dt.date, days: int) -> NDArray[np.float64]:
        """Energy counted since IN_PLACE at each hour from midnight UTC of `day`, kWh: 4 x meter x (24 days + 1)."""
        grown = self.energy(epoch_hour(day), days * 24).cumsum(axis=2)
        start = self.midnights[:, :, (day - IN_PLACE).days, None]
        return np.concatenate([start, start + grown], axis=2)

    @cached_property
    def first_index(self) -> NDArray[np.float64]:
        """Index of each register on the day the meter was put in place."""
        most = np.array([90_000, 40_000, 20_000, 900])[:, None]
        has = np.stack([np.ones(self.size), [not k.kind.startswith("base") for k in self.types], self.kwp > 0, self.kwp > 0])
        return np.floor(self.draw("first", np.arange(4)[:, None], self.index) * most) * has

    def restart(self, i: int) -> float:
        """Index from which a replaced or reset meter counts, kWh."""
        return float(int(self.draw("again", i) * 9))

    @cached_property
    def events(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each meter: the hour of its swap or reset (infinite: none), its index just before, the fall of it."""
        when = np.minimum(self.fault_hours["meter_swap"], self.fault_hours["meter_reset"])
        before, fall = np.zeros(self.size), np.zeros(self.size)
        for i in np.flatnonzero(when <= self.now.timestamp() / 3600).tolist():
            day, hour = divmod(when[i], 24)
            counted = self.counted(dt.date(1970, 1, 1) + dt.timedelta(days=int(day)), 1)[0, i]
            before[i] = math.floor(self.first_index[0, i] + np.interp(hour, np.arange(25), counted))
            fall[i] = before[i] - self.restart(i)
        return when, before, fall

    @cached_property
    def freezes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each meter: the hour at which it freezes (infinite: never), its registers then, what they lose by it.

        They are kWh counted since IN_PLACE. A reader that was stuck catches up; one that missed pulses does not.
        """
        start, now = self.fault_hours["frozen_index"], self.now.timestamp() / 3600
        held, lost = (np.zeros((4, self.size)) for _ in range(2))
        caught_up = self.draw("caught", self.index) < 0.5
        for i in np.flatnonzero(start <= now).tolist():
            held[:, i] = self.counted_at(start[i])[:, i]
            if start[i] + FROZEN_DAYS * 24 <= now and not caught_up[i]:
                lost[:, i] = self.counted_at(start[i] + FROZEN_DAYS * 24)[:, i] - held[:, i]
        return start, held, lost

    def counted_at(self, hour: float) -> NDArray[np.float64]:
        """Energy counted since IN_PLACE at a whole hour since 1970, kWh: 4 registers x meter."""
        day, rest = divmod(int(hour), 24)
        return self.counted(dt.date(1970, 1, 1) + dt.timedelta(days=day), 1)[:, :, rest]

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

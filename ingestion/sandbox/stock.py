"""Makes up the buildings and their meters, the weather and the energy: any hour of it from (seed, scale), vectorised.

A day is the same whatever `until` is and whatever was asked before. Import this module late: it needs numpy.
"""

import datetime as dt
import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ingestion.sandbox.clock import day_kind, epoch_hour, local_hours
from ingestion.sandbox.noise import uniform, wave

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
POWER_TOO_HIGH, POWER_TIGHT = 8, 10
"""Buildings of a planted block that pay for 1.6 times the power of the others, and for what their hours just stay within."""
_NOT_SET_BACK: dict[int, tuple[str, str | None]] = {4: ("2025-01-13", None), 10: ("2025-01-13", "2025-04-01")}
"""Archetypes of which the heating is no longer set back at night, from a day on and until another (none: it lasts)."""
STATIONS = (
    ("35281001", "RENNES-ST JACQUES", 48.0688, -1.7340, 36, 0.0),
    ("35228001", "DINARD", 48.5848, -2.0763, 65, -0.6),
    ("35110002", "FEINS SA", 48.3267, -1.5994, 110, -0.9),
)
"""Number, name, latitude, longitude, altitude in metres, and our own offset of temperature in degrees."""

# Use: opening hour, closing hour, then presence on Saturdays, Sundays and holidays, and weekdays of school holidays.
_USES = {
    "school": (7, 18, 0, 0, 0.12), "gymnasium": (9, 22, 0.8, 0.5, 0.5), "pool": (6, 22, 1, 0.8, 1.1),
    "offices": (8, 18, 0.05, 0, 0.8), "library": (9, 19, 1, 0, 0.8), "nursery": (7, 19, 0, 0, 0.7),
    "cultural": (10, 22, 1, 0.6, 0.6), "technical": (6, 20, 0.3, 0.1, 0.9),
}  # fmt: skip
_FAULTS = {"night_leak": "2025-02-10", "meter_swap": "2024-10-08T07:30", "drift": "2024-09-01",
           "meter_reset": "2025-05-14T10:00", "gap": "2024-11-11", "frozen_index": "2025-01-15T09:00"}  # fmt: skip


class Archetype(NamedTuple):
    """One of the twelve buildings of a block; powers in W/m2, `kind` says how its meter speaks.

    They stand in three communes: a town has several buildings, and open figures count three at least.
    """

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
    Archetype("gymnasium", "Gymnase", 1900, 1.8, 14, "gas", "base", "meter_swap", "35051"),
    Archetype("pool", "Piscine", 3600, 22.0, 16, "gas", "two", "frozen_index", "35051"),
    Archetype("offices", "Bureaux", 5200, 3.5, 12, "heat_network", "two", "photovoltaic", "35238"),
    Archetype("library", "Bibliothèque", 1500, 2.5, 12, "electricity", "base", None, "35278"),
    Archetype("nursery", "Crèche", 900, 2.5, 10, "electricity", "base", None, "35278"),
    Archetype("cultural", "Centre culturel", 2700, 3.0, 11, "gas", "base", "drift", "35051"),
    Archetype("technical", "Centre technique", 1400, 3.0, 8, "fuel_oil", "base", "meter_reset", "35278"),
    Archetype("school", "École", 1300, 2.0, 9, "wood", "base_scalar", "gap", "35278"),
    Archetype("offices", "Mairie", 1700, 3.0, 11, "gas", "scalar", None, "35051"),
    Archetype("gymnasium", "Gymnase", 1600, 1.8, 13, "electricity", "base", "comma_decimals", "35278"),
)


class Stock:
    """The buildings, their meters and thermometers, as they are until `until`, 23:00 UTC."""

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

    def counted_at(self, hour: float) -> NDArray[np.float64]:
        """Energy counted since IN_PLACE at a whole hour since 1970, kWh: 4 registers x meter."""
        day, rest = divmod(int(hour), 24)
        return self.counted(dt.date(1970, 1, 1) + dt.timedelta(days=day), 1)[:, :, rest]

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

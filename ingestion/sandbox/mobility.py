"""Plays STAR: shared bicycles (GBFS 2.3), timetables (GTFS) and how late trips are (GTFS Realtime)."""

import csv
import datetime as dt
import io
import zipfile
from functools import cached_property
from typing import Any

from ingestion.sandbox.clock import PARIS, epoch_hour
from ingestion.sandbox.files import FlatTree
from ingestion.sandbox.server import Answer, as_json
from ingestion.sandbox.stock import IN_PLACE
from ingestion.sandbox.world import World, read_communes

BIKE_STATIONS, PLACED_WITHIN = 24, 0.05  # around the point of Rennes, degrees
TTL = 60
# Line and its type (1: metro, 3: bus), then the codes of the communes that it stops in.
LINES = (
    ("0801", "a", 1, ("35238", "35278")),
    ("0802", "b", 1, ("35238", "35281", "35051")),
    ("0001", "C1", 3, ("35238", "35051", "35055")),
    ("0006", "C6", 3, ("35238", "35281", "35047")),
    ("0050", "50", 3, ("35238", "35278", "35024")),
    ("0055", "55", 3, ("35238", "35240", "35210")),
)
RUN_MINUTES = 4  # from a stop to the next
FIRST_RUN, LAST_RUN = 6, 26  # hours of the service day, the last one left out: after midnight it goes on beyond 24


class Bikes:
    """The index and two feeds of the shared bicycles, as they were made at 23:00 UTC."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world

    @cached_property
    def stations(self) -> list[dict[str, Any]]:
        """What `station_information` says of each station."""
        rennes = next(row for row in read_communes() if row["commune_code"] == "35238")
        rows = []
        for i in range(BIKE_STATIONS):
            east, north = (float(self.world.draw(axis, i) - 0.5) * PLACED_WITHIN for axis in ("bike east", "bike north"))
            place = {"lat": round(float(rennes["latitude"]) + north, 6), "lon": round(float(rennes["longitude"]) + east, 6)}
            capacity = 16 + 2 * int(self.world.draw("docks", i) * 8)
            rows.append({"station_id": f"{5501 + i}", "name": f"Station {i + 1} (fictive)", **place, "capacity": capacity})
        return rows

    def status(self) -> list[dict[str, Any]]:
        """What `station_status` says of each station now; one in twelve is closed."""
        hour, now, rows = epoch_hour(self.world.until) + 23, int(self.world.now.timestamp()), []
        for i, station in enumerate(self.stations):
            bikes = int(self.world.draw("bikes", i, hour) * (station["capacity"] + 1))
            told = {"num_bikes_available": bikes, "num_docks_available": station["capacity"] - bikes, "last_reported": now - 30 * (i % 4)}
            is_open = i % 12 != 11
            flags = {"is_installed": True, "is_renting": is_open, "is_returning": is_open}
            rows.append({"station_id": station["station_id"], **told, **flags})
        return rows

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """The index, or one of its feeds."""
        feeds = {"station_information": lambda: self.stations, "station_status": self.status}
        name = parts[-1].removesuffix(".json") if parts else "gbfs"
        if name == "gbfs":
            root = f"http://{headers.get('host', '')}/star_velos"
            data: dict[str, Any] = {"fr": {"feeds": [{"name": each, "url": f"{root}/{each}.json"} for each in feeds]}}
        elif name in feeds:
            data = {"stations": feeds[name]()}
        else:
            return as_json({"error": "not found"}, 404)
        return as_json({"last_updated": int(self.world.now.timestamp()), "ttl": TTL, "version": "2.3", "data": data})


class Network:
    """The lines of the synthetic network: their stops, and the trips of a service day."""

    def __init__(self, world: World) -> None:
        """Two stops a commune and line, so that lines meet in none; one trip an hour and direction."""
        self.world, self.communes = world, {row["commune_code"]: row for row in read_communes()}

    def stops_of(self, line: int) -> list[dict[str, Any]]:
        """The stops of a line, in the order of its direction 0."""
        rows = []
        for place, code in enumerate(LINES[line][3]):
            commune = self.communes[code]
            for side in (0, 1):
                number = line * 10 + place * 2 + side
                north, east = (float(self.world.draw(axis, number) - 0.5) * 0.01 for axis in ("stop north", "stop east"))
                where = {
                    "stop_lat": round(float(commune["latitude"]) + north, 6),
                    "stop_lon": round(float(commune["longitude"]) + east, 6),
                }
                name = f"{commune['name']} {side + 1} ({LINES[line][1]}, fictif)"
                rows.append({"stop_id": f"{1000 + number}", "stop_code": f"{1000 + number}", "stop_name": name, **where})
        return rows

    def trips(self) -> list[tuple[str, int, int, int]]:
        """The trips of a day: identifier, number of the line, direction, hour of the service day at which it leaves."""
        hours = range(FIRST_RUN, LAST_RUN)
        return [(f"{LINES[i][0]}-{way}-{hour:02}", i, way, hour) for i in range(len(LINES)) for way in (0, 1) for hour in hours]

    def calls(self, line: int, way: int, hour: int) -> list[tuple[str, int]]:
        """The stops that a trip calls at, in order, with the minute of the service day."""
        stops = [row["stop_id"] for row in self.stops_of(line)]
        return [(stop, hour * 60 + n * RUN_MINUTES) for n, stop in enumerate(reversed(stops) if way else stops)]


class TimetableTree(FlatTree):
    """The archive of the timetables, under the name that the producer gives it."""

    @cached_property
    def names(self) -> list[str]:
        """Paths of the files, from the root."""
        return ["GTFS_STAR_BUS_METRO_EN_COURS.zip"]

    def make(self, path: str) -> tuple[bytes, float]:
        """The archive, the same bytes each time: agency, stops, routes, trips, stop_times, calendar."""
        network = Network(self.world)
        trips = network.trips()
        tables: dict[str, list[dict[str, Any]]] = {
            "agency": [
                {"agency_id": "1", "agency_name": "STAR (fictif)", "agency_url": "https://www.star.fr", "agency_timezone": "Europe/Paris"}
            ],
            "stops": [row for i in range(len(LINES)) for row in network.stops_of(i)],
            "routes": [
                {"route_id": code, "route_short_name": name, "route_long_name": f"Ligne {name} (fictive)", "route_type": kind}
                for code, name, kind, _ in LINES
            ],
            "trips": [
                {"route_id": LINES[i][0], "service_id": "every-day", "trip_id": trip, "direction_id": way} for trip, i, way, _ in trips
            ],
            "stop_times": [
                {"trip_id": trip, "arrival_time": f"{at // 60:02}:{at % 60:02}:00", "departure_time": f"{at // 60:02}:{at % 60:02}:00",
                 "stop_id": stop, "stop_sequence": n}
                for trip, i, way, hour in trips for n, (stop, at) in enumerate(network.calls(i, way, hour), 1)
            ],
            "calendar": [{"service_id": "every-day", **dict.fromkeys(
                ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), 1
            ), "start_date": "20231201", "end_date": "20301231"}],
        }  # fmt: skip
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for name, rows in tables.items():
                text = io.StringIO()
                writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\r\n")
                writer.writeheader()
                writer.writerows(rows)
                archive.writestr(zipfile.ZipInfo(f"{name}.txt", (2023, 12, 1, 0, 0, 0)), text.getvalue().encode())
        return held.getvalue(), epoch_hour(IN_PLACE) * 3600.0


class Delays:
    """The feed of updates of trips: how late those are that run at 23:00 UTC, and which vehicle makes them."""

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world

    def running(self) -> list[tuple[str, int, int, int, int]]:
        """Trips that have begun less than an hour ago: as those of the network, and the seconds by which each is late."""
        network, local = Network(self.world), self.world.now.astimezone(PARIS)
        hour = local.hour + 24 * (local.date() > self.world.until)
        late = [int(self.world.draw("late trip", n, self.world.until.toordinal()) * 600) - 60 for n in range(len(network.trips()))]
        return [(*trip, late[n]) for n, trip in enumerate(network.trips()) if trip[3] == hour]

    def cancelled(self) -> Any:
        """The first trip of the next day, which does not run."""
        from google.transit.gtfs_realtime_pb2 import TripDescriptor

        tomorrow = self.world.until + dt.timedelta(days=1)
        trip = Network(self.world).trips()[0][0]
        return TripDescriptor(trip_id=trip, start_date=f"{tomorrow:%Y%m%d}", schedule_relationship=TripDescriptor.CANCELED)

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> Answer:
        """The feed, in Protocol Buffers."""
        from google.transit.gtfs_realtime_pb2 import FeedMessage

        if parts != ("star-rennes-integration-gtfs-rt-trip-update",):
            return as_json({"error": "not found"}, 404)
        feed, network = FeedMessage(), Network(self.world)
        feed.header.gtfs_realtime_version, feed.header.timestamp = "2.0", int(self.world.now.timestamp())
        midnight = dt.datetime.combine(self.world.until, dt.time(), PARIS)
        for number, (trip, line, way, hour, late) in enumerate(self.running()):
            entity = feed.entity.add(id=trip)
            update = entity.trip_update
            update.trip.trip_id, update.trip.route_id, update.trip.direction_id = trip, LINES[line][0], way
            update.trip.start_date = f"{self.world.until:%Y%m%d}"
            update.vehicle.id = f"vehicle-{number}"  # the real feed says it, and it follows a driver: it must not land
            for n, (stop, minute) in enumerate(network.calls(line, way, hour), 1):
                call = update.stop_time_update.add(stop_id=stop, stop_sequence=n)
                call.arrival.delay = late
                call.arrival.time = int(midnight.timestamp()) + minute * 60 + late
        feed.entity.add(id="cancelled").trip_update.trip.CopyFrom(self.cancelled())
        return 200, feed.SerializeToString(), {"Content-Type": "application/x-protobuf"}


PLAYS = {"star_velos": Bikes, "star_horaires": TimetableTree, "star_retards": Delays}

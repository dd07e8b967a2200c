"""Answers as the Explore API v2.1 of Opendatasoft does, on the tables of the department of buildings, and on open data of the metropole.

Read in recorded answers: error bodies of `limit` and of ODSQL, the cap of 10,000 on offset + limit, date32 and UTC
timestamps in Parquet, ISO instants with offset in JSON. From memory: the messages of the other errors, the BOM of CSV.
"""

import datetime as dt
import hmac
import io
import json
import os
import re
import threading
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qs

from ingestion.sandbox.places import car_parks, drop_off_centres
from ingestion.sandbox.stock import IN_PLACE
from ingestion.sandbox.world import World

Datasets = dict[str, tuple[Callable[[World], list[dict[str, Any]]], str, dict[str, str]]]
_BUILDINGS: Datasets = {
    "batiments-publics": (attrgetter("buildings"), "Bâtiments publics (données fictives)", {
        "building_id": "text", "name": "text", "use": "text", "floor_area_m2": "double", "commune_code": "text",
        "longitude": "double", "latitude": "double", "heating_energy": "text", "heat_network": "text",
        "operator": "text", "is_publishable": "boolean", "efa_id": "text", "site_id": "text", "tertiary_area_m2": "double",
        "valid_from": "date", "valid_to": "date", "subject_from_year": "int"}),
    "compteurs-batiments-publics": (attrgetter("meters"), "Compteurs des bâtiments publics (données fictives)", {
        "meter_id": "text", "building_id": "text", "deveui": "text", "energy": "text", "subscribed_power_kva": "double",
        "valid_from": "datetime", "valid_to": "datetime"}),
    "index-releves-compteurs": (attrgetter("declared_indexes"), "Index relevés des compteurs (données fictives)", {
        "meter_id": "text", "measure_name": "text", "read_on": "datetime", "index_kwh": "double"}),
    "contrats-energie-batiments-publics": (attrgetter("contracts"), "Contrats d'énergie des bâtiments publics (données fictives)", {
        "contract_id": "text", "building_id": "text", "energy": "text", "valid_from": "date", "valid_to": "date"}),
    "factures-energie-batiments-publics": (attrgetter("bills"), "Factures d'énergie des bâtiments publics (données fictives)", {
        "bill_id": "text", "building_id": "text", "contract_id": "text", "energy": "text", "from_date": "date", "to_date": "date",
        "quantity": "double", "unit": "text", "amount_excluding_tax": "double", "tax_amount": "double", "currency": "text",
        "subscribed_power_kva": "double", "highest_power_kva": "double", "updated_at": "datetime"}),
    "saisies-operat-batiments-publics": (attrgetter("tertiary_entries"), "Saisies OPERAT des bâtiments publics (données fictives)", {
        "efa_id": "text", "milestone_year": "int", "absolute_value_kwh_per_m2": "double", "reference_year": "int",
        "reference_kwh_per_m2": "double", "entered_on": "date"}),
}  # fmt: skip
# Open datasets of the metropole's portal, by brick: positions are as its exports of JSON write them.
_CENTRES: Datasets = {"decheteries_plateformes_vegetaux": (drop_off_centres, "Déchèteries et plateformes de végétaux (données fictives)", {
    "nom_court": "text", "adresse": "text", "ann_ouv": "int", "horaires": "text", "geo_point_2d": "geo_point_2d"})}  # fmt: skip
_CAR_PARKS: Datasets = {"export-api-parking-citedia": (car_parks, "Places libres des parkings (données fictives)", {
    "key": "text", "status": "text", "max": "int", "free": "int", "tarif_15": "text", "tarif_1h": "text",
    "geo": "geo_point_2d"})}  # fmt: skip
_LIVE = {*_CAR_PARKS}
"""What is published again at each instant, whatever its rows say."""
_JSON = "application/json; charset=utf-8"
_TOKEN = re.compile(
    r"\s*(?:(?P<date>date\s*'[^']*'|date\s*\"[^\"]*\")|(?P<text>'[^']*'|\"[^\"]*\")|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<null>is\s+(?:not\s+)?null\b)|(?P<op>>=|<=|!=|=|:|>|<)|(?P<paren>[()])|(?P<word>[a-zA-Z_]\w*))",
    re.IGNORECASE,
)


class OdsError(Exception):
    """A refusal in the words of the API: HTTP status, error code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep what the body of the answer says."""
        super().__init__(message)
        self.status, self.body = status, {"error_code": code, "message": message}


def malformed(text: str) -> OdsError:
    """The refusal of a clause that the sandbox does not read; it reads less ODSQL than the real API."""
    return OdsError(400, "ODSQLError", f"ODSQL query is malformed: {text}")


def where_sql(clause: str, fields: dict[str, str]) -> str:
    """DuckDB's condition for `field op literal` and `field is null`, joined by and / or, in parentheses; OdsError for anything else."""
    parts, at, wanted, depth = [], 0, "field", 0
    while clause[at:].strip():
        found = _TOKEN.match(clause, at)
        if not found:
            raise malformed(f"Unexpected character at position {at}: {clause[at:].strip()[:1]}")
        kind, text, at = str(found.lastgroup), str(found.group(str(found.lastgroup))), found.end()
        if kind == "paren" and wanted == ("field" if text == "(" else "join"):
            depth += 1 if text == "(" else -1
        elif (kind, wanted) == ("word", "field") and text in fields:
            text, wanted = f'"{text}"', "op"
        elif (kind, wanted) == ("op", "op"):
            text, wanted = "=" if text == ":" else text, "value"
        elif (kind, wanted) == ("null", "op"):
            wanted = "join"
        elif wanted == "value" and kind in ("number", "date", "text"):
            literal = "" if kind == "number" else re.split(r"['\"]", text)[1].replace("'", "''")
            text, wanted = {"number": text, "date": f"timestamptz '{literal}'", "text": f"'{literal}'"}[kind], "join"
        elif (kind, wanted) == ("word", "join") and text.lower() in ("and", "or"):
            wanted = "field"
        else:
            raise malformed(f"Unknown field: {text}" if kind == "word" and wanted == "field" else f"Unexpected: {text}")
        parts.append(text)
    if wanted != "join" or depth:
        raise malformed("Unexpected end of clause")
    return " ".join(parts)


class ExploreApi:
    """A catalogue of datasets, their records and their exports: the department's, of a restricted domain, or open ones."""

    def __init__(self, world: World, datasets: Datasets, key: str | None = None) -> None:
        """Open when `key` is None, else every request must bear it."""
        self.world, self.datasets, self.key, self.lock = world, datasets, key, threading.Lock()
        self.tables: dict[str, Any] = {}

    def respond(self, parts: tuple[str, ...], query: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a request: what the API says, or its refusal."""
        try:
            body, kind = self.answer(parts, query, headers.get("authorization", ""))
        except OdsError as error:
            return error.status, json.dumps(error.body).encode(), {"Content-Type": _JSON}
        return 200, body, {"Content-Type": kind}

    def table(self, name: str) -> Any:
        """A dataset as an Arrow table in the types of the real Parquet export."""
        import pyarrow as pa

        rows, _, fields = self.datasets[name]
        if name not in self.tables:
            types = {"text": pa.string(), "double": pa.float64(), "date": pa.date32(), "boolean": pa.bool_(), "int": pa.int64()}
            types["datetime"] = pa.timestamp("ms", "UTC")
            types["geo_point_2d"] = pa.struct({"lon": pa.float64(), "lat": pa.float64()})
            schema = pa.schema({field: types[kind] for field, kind in fields.items()})
            self.tables[name] = pa.Table.from_pylist(rows(self.world), schema=schema)
        return self.tables[name]

    def select(self, name: str, args: dict[str, str], limit: int, offset: int) -> tuple[Any, int]:
        """The rows asked for, as Arrow, and how many match in all."""
        import duckdb

        fields = self.datasets[name][2]
        columns = [part.strip() for part in args.get("select", "*").split(",")]
        columns = [*fields] if columns == ["*"] else columns
        order = []
        for part in filter(None, args.get("order_by", "").split(",")):
            field, _, way = part.strip().partition(" ")
            if field not in fields or way.strip().lower() not in ("", "asc", "desc"):
                raise malformed(f"Unknown field: {part.strip()}")
            order.append(f'"{field}" {way}')
        for column in columns:
            if column not in fields:
                raise malformed(f"Unknown field: {column}")
        where = where_sql(args["where"], fields) if args.get("where") else "true"
        with self.lock, duckdb.connect() as con:
            con.execute("set timezone = 'UTC'; set threads = 1")
            con.register("dataset", self.table(name))
            try:
                counted = con.execute(f"select count(*) from dataset where {where}").fetchone()
                shown = ", ".join(f'"{column}"' for column in columns)
                sort = "order by " + ", ".join(order) if order else ""
                cut = f"limit {limit}" if limit >= 0 else ""
                query = f"select {shown} from dataset where {where} {sort} {cut} offset {offset}"
                rows = con.execute(query).to_arrow_table()
            except duckdb.Error as error:
                raise malformed(str(error).splitlines()[0]) from error
        return rows.cast(self.table(name).select(columns).schema), int(counted[0]) if counted else 0

    def describe(self, name: str) -> dict[str, Any]:
        """What the catalogue says of a dataset."""
        _, title, fields = self.datasets[name]
        rows = self.table(name)
        moments = [rows[k].to_pylist() for k, kind in fields.items() if kind == "datetime"]
        known = [moment for column in moments for moment in column if moment is not None]
        default_date = self.world.now if name in _LIVE else dt.datetime.combine(IN_PLACE, dt.time(), dt.UTC)
        modified = max(known, default=default_date).isoformat()
        default = {
            "title": title, "description": "<p>Données fictives du bac à sable City Orchestra.</p>",
            "license": None, "license_url": None, "publisher": "Rennes Métropole (bac à sable)",
            "language": "fr", "timezone": "Europe/Paris", "modified": modified, "data_processed": modified,
            "metadata_processed": modified, "records_count": len(rows),
        }  # fmt: skip
        nothing: dict[str, Any] = {"description": None, "annotations": {}}
        listed = [{"name": field, "label": field, "type": kind} | nothing for field, kind in fields.items()]
        return {"dataset_id": name, "dataset_uid": f"da_{name}", "has_records": True, "data_visible": True,
                "features": ["analyze"], "metas": {"default": default}, "fields": listed}  # fmt: skip

    def answer(self, parts: tuple[str, ...], query: str, authorization: str) -> tuple[bytes, str]:
        """Body and content type of one request, path after the brick's name; OdsError is its refusal."""
        args = {k: v[-1] for k, v in parse_qs(query, keep_blank_values=True).items()}
        given = args.get("apikey") or (authorization[7:].strip() if authorization[:7].lower() == "apikey " else "")
        if self.key is not None and not hmac.compare_digest(given.encode(), self.key.encode()):
            raise OdsError(401, "AuthenticationRequired", "Restricted domain: the API key is missing or unknown.")
        if parts[:5] != ("api", "explore", "v2.1", "catalog", "datasets"):
            raise OdsError(404, "ResourceNotFoundError", f"Unknown resource: /{'/'.join(parts)}")
        name, rest = (parts[5] if len(parts) > 5 else ""), parts[6:]
        if not name:
            listed = [self.describe(each) for each in self.datasets]
            return json.dumps({"total_count": len(listed), "results": listed}).encode(), _JSON
        if name not in self.datasets:
            raise OdsError(404, "DatasetNotFoundError", f"The requested dataset {name} does not exist.")
        if not rest:
            return json.dumps(self.describe(name)).encode(), _JSON
        if rest == ("records",):
            limit, offset = self.number(args, "limit", 10), self.number(args, "offset", 0)
            if not -1 <= limit <= 100:
                raise self.out_of_range("limit", limit, "-1 <= limit <= 100")
            if offset < 0 or offset + max(limit, 0) > 10_000:
                raise self.out_of_range("offset", offset, "0 <= offset + limit <= 10000")
            rows, total = self.select(name, args, 100 if limit == -1 else limit, offset)
            body = {"total_count": total, "results": self.plain(rows)}
            return json.dumps(body, ensure_ascii=False).encode(), _JSON
        if len(rest) == 2 and rest[0] == "exports" and rest[1] in ("parquet", "jsonl", "json", "csv"):
            rows, _ = self.select(name, args, self.number(args, "limit", -1), 0)
            return self.export(rows, rest[1])
        raise OdsError(404, "ResourceNotFoundError", f"Unknown resource: {'/'.join(rest)}")

    def number(self, args: dict[str, str], name: str, default: int) -> int:
        """An integer parameter; refused when it is none."""
        try:
            return int(args.get(name, default))
        except ValueError:
            raise self.out_of_range(name, args[name], "an integer") from None

    def out_of_range(self, name: str, value: int | str, expected: str) -> OdsError:
        """The refusal of a parameter."""
        text = f"Invalid value for {name} API parameter: {value} was found but {expected} is expected."
        return OdsError(400, "InvalidRESTParameterError", text)

    def plain(self, rows: Any) -> list[dict[str, Any]]:
        """Rows for JSON: dates and instants as ISO text, instants with their offset."""
        return [{k: v.isoformat() if isinstance(v, dt.date) else v for k, v in row.items()} for row in rows.to_pylist()]

    def export(self, rows: Any, form: str) -> tuple[bytes, str]:
        """All the rows in one file."""
        if form == "parquet":
            import pyarrow.parquet as pq

            sink = io.BytesIO()
            pq.write_table(rows, sink, compression="snappy")
            return sink.getvalue(), "application/vnd.apache.parquet"
        listed = self.plain(rows)
        if form == "csv":
            import csv

            text = io.StringIO()
            writer = csv.DictWriter(text, rows.column_names, delimiter=";", lineterminator="\r\n")
            writer.writeheader()
            writer.writerows(listed)
            return text.getvalue().encode("utf-8-sig"), "text/csv; charset=utf-8"
        if form == "json":
            return json.dumps(listed, ensure_ascii=False).encode(), _JSON
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in listed)
        return lines.encode(), "application/jsonl; charset=utf-8"


def _play(world: World) -> ExploreApi:
    return ExploreApi(world, _BUILDINGS, os.environ.get("ORCHESTRA_PATRIMOINE_BATI_KEY") or None)


PLAYS: dict[str, Callable[[World], ExploreApi]] = {
    "patrimoine_bati": _play,
    "decheteries_rennes": partial(ExploreApi, datasets=_CENTRES),
    "parkings_citedia": partial(ExploreApi, datasets=_CAR_PARKS),
}

"""Tables of real databases of Debian, PostGIS and MariaDB: part of `make conformance`."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Document, House, column, table
from fixtures.installed import debian, free_port

from ingestion.connectors import SourceError

pytestmark = pytest.mark.conformance
PASSWORD = "s3cr3t of the database"
Ask = Callable[[str], str]


def brick_of(house: House, endpoint: str, of_table: Document, names: list[str], **meta: object) -> object:
    options = {"user_env": "DB_USER", "password_env": "DB_PASSWORD"}
    tables = [table("t", [column(name) for name in names], ["id"], of_table, **meta)]
    return house.brick("b", tables, endpoint, connector="sql", options=options)


@pytest.fixture(autouse=True)
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_USER", "lake")
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)


@contextlib.contextmanager
def running(command: list[str | Path], folder: Path, **options: object) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **options)  # type: ignore[call-overload]
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def answering(ask: Ask) -> None:
    for _ in range(150):
        with contextlib.suppress(subprocess.CalledProcessError):
            ask("select 1")
            return
        time.sleep(0.2)
    raise AssertionError("the server does not answer")


@pytest.fixture(scope="module")
def postgis() -> Iterator[tuple[str, Ask]]:
    """Serve a PostgreSQL with PostGIS, as a user of the system who is not root; its folder is one that this user may enter."""
    debian("psql", "postgresql-15-postgis-3")
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    folder, port = Path("/tmp", f"orchestra-postgis-{os.getpid()}"), free_port()
    folder.mkdir()
    with contextlib.suppress(KeyError):
        shutil.chown(folder, "postgres")
    as_user = {"user": pwd.getpwnam("postgres").pw_uid} if os.geteuid() == 0 else {}
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    init = [programs / "initdb", "-D", folder / "data", "-U", "lake", "-A", "scram-sha-256", "--pwfile", folder / "password", "--no-sync"]
    subprocess.run(init, check=True, capture_output=True, cwd=folder, **as_user)  # type: ignore[call-overload]

    def ask(sql: str) -> str:
        command = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "lake", "-d", "postgres", "-tA", "-v", "ON_ERROR_STOP=1", "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PGPASSWORD": PASSWORD}).stdout

    served = [
        programs / "postgres",
        "-D",
        folder / "data",
        "-p",
        str(port),
        "-k",
        folder,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
    ]
    try:
        with running(served, folder, **as_user):
            answering(ask)
            ask("create extension postgis")
            yield f"postgresql://127.0.0.1:{port}/postgres", ask
    finally:
        shutil.rmtree(folder)


def test_geometries_of_postgis_land_in_longitude_and_latitude(house: House, postgis: tuple[str, Ask]) -> None:
    endpoint, ask = postgis
    ask("""
        drop table if exists lieux; create table lieux (id text, g geometry(Geometry, 3948), w geography(Point), n numeric);
        insert into lieux values
          ('1', st_transform(st_setsrid(st_makepoint(-1.68, 48.11), 4326), 3948), st_makepoint(-1.68, 48.11), 'NaN'),
          ('2', null, null, 1.50),
          ('3', st_transform(st_geomfromtext('POLYGON((-1.7 48.1,-1.6 48.1,-1.6 48.2,-1.7 48.1))', 4326), 3948), null, null)""")
    brick = brick_of(house, endpoint, {"relation": "public.lieux"}, ["id", "g", "w", "n"], delivers="whole")
    entry = house.land(brick)
    assert entry
    rows = house.rows(brick, "t", "id, g, w, n", "id")
    point = json.loads(rows[0][1])
    assert [round(each, 7) for each in point["coordinates"]] == [-1.68, 48.11]
    assert json.loads(rows[0][2]) == {"type": "Point", "coordinates": [-1.68, 48.11]}
    assert [row[3] for row in rows] == ["NaN", "1.50", None]
    assert rows[1][1] is None
    assert json.loads(rows[2][1])["type"] == "Polygon"
    assert entry["metadata"]["t"]["crs"] == "EPSG:3948"


def test_a_geometry_without_coordinates_is_told(house: House, postgis: tuple[str, Ask]) -> None:
    endpoint, ask = postgis
    ask("drop table if exists nulle; create table nulle (id text, g geometry); insert into nulle values ('1', st_makepoint(1, 2))")
    with pytest.raises(SourceError, match=r"SRID.* Mend: have its geometries say"):
        house.land(brick_of(house, endpoint, {"relation": "nulle"}, ["id", "g"]))


def test_a_wrong_password_is_told_and_not_shown(house: House, postgis: tuple[str, Ask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "wr0ng-one")
    with pytest.raises(SourceError, match="does not let it in") as told:
        house.land(brick_of(house, postgis[0], {"relation": "t"}, ["id"]))
    assert "wr0ng-one" not in str(told.value)


def test_a_million_rows_are_counted(house: House, postgis: tuple[str, Ask]) -> None:
    endpoint, ask = postgis
    ask("drop table if exists big; create table big as select i::text as id, i / 7.0 as v, now() as at_ from generate_series(1, 1000000) i")
    entry = house.land(brick_of(house, endpoint, {"relation": "big"}, ["id", "v", "at_"]))  # type: ignore[arg-type]
    assert entry
    assert entry["tables"]["t"]["kept"] == 1_000_000


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Ask]]:
    """Serve a MariaDB."""
    server = debian("mariadbd", "mariadb-server")
    folder, port = tmp_path_factory.mktemp("mariadb"), free_port()
    user = ["--user=root"] if os.geteuid() == 0 else []
    made = ["mariadb-install-db", "--no-defaults", *user, f"--datadir={folder}/data", "--auth-root-authentication-method=normal"]
    subprocess.run(made, check=True, capture_output=True)

    def ask(sql: str) -> str:
        command = ["mariadb", "--no-defaults", "-S", str(folder / "s"), "-u", "root", "-N", "-e", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    served = [
        server,
        "--no-defaults",
        *user,
        f"--datadir={folder}/data",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        f"--socket={folder}/s",
    ]
    with running([*served, "--skip-name-resolve"], folder):
        answering(ask)
        ask("create database gis character set utf8mb4")
        ask(f"create user lake@127.0.0.1 identified by '{PASSWORD}'; grant select on gis.* to lake@127.0.0.1")
        yield f"mariadb://127.0.0.1:{port}/gis", ask


# Each type of MariaDB, a value as it takes it, and the text that is to land.
OF_MARIADB = [
    ("tinyint(1)", "2", "2"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("decimal(60,20)", "123456789012345678901234567890.1", "123456789012345678901234567890.10000000000000000000"), ("double", "0.1", "0.1"),
    ("float", "0.1", "0.10000000149011612"), ("datetime(6)", "'2024-03-31 02:30:00.123456'", "2024-03-31 02:30:00.123456"),
    ("timestamp(6) null", "'2024-03-31 12:00:00'", "2024-03-31 10:00:00.000000Z"), ("date", "'2024-02-29'", "2024-02-29"),
    ("time(3)", "'-838:59:59'", "-838:59:59.000"), ("year", "2024", "2024"), ("bit(8)", "255", "255"), ("blob", "x'dead'", "DEAD"),
    ("varbinary(5)", "x'00ff'", "00FF"), ("char(5)", "'01'", "01"), ("text character set latin1", "'é€'", "é€"),
    ("json", """'{"a":1.50}'""", '{"a":1.50}'),
    ("enum('a','b')", "'a'", "a"), ("set('x','y')", "'x,y'", "x,y"),
]  # fmt: skip


def test_nothing_of_a_value_of_mariadb_changes(house: House, mariadb: tuple[str, Ask]) -> None:
    endpoint, ask = mariadb
    names = [f"c{n}" for n in range(len(OF_MARIADB))]
    kinds = ", ".join(f"{name} {kind}" for name, (kind, *_) in zip(names, OF_MARIADB, strict=True))
    ask(f"use gis; drop table if exists t; create table t (id text, {kinds}, g geometry)")
    values = ", ".join(value for _, value, _ in OF_MARIADB)
    ask(f"use gis; set time_zone = '+02:00'; insert into t values ('1', {values}, st_geomfromtext('POINT(-1.5 48.1)', 4326))")
    brick = brick_of(house, endpoint, {"relation": "t"}, ["id", *names, "g"])
    house.land(brick)  # type: ignore[arg-type]
    *landed, geometry = house.rows(brick, "t", ", ".join([*names, "g"]))[0]  # type: ignore[arg-type]
    assert landed == [told for *_, told in OF_MARIADB]
    assert json.loads(geometry)["coordinates"] == [-1.5, 48.1]


def test_dates_that_are_none_are_refused_and_told(house: House, mariadb: tuple[str, Ask]) -> None:
    endpoint, ask = mariadb
    ask("use gis; drop table if exists z; create table z (id text, d date)")
    ask("use gis; set sql_mode = ''; insert into z values ('1', '0000-00-00'), ('2', '2024-01-01')")
    tables = [table("t", [column("id"), column("d", "date")], ["id"], {"relation": "z"})]
    options = {"user_env": "DB_USER", "password_env": "DB_PASSWORD"}
    entry = house.land(house.brick("b", tables, endpoint, connector="sql", options=options))
    assert entry
    assert (entry["tables"]["t"]["kept"], entry["tables"]["t"]["refused"]) == (1, 1)


def test_what_is_new_in_mariadb_is_asked_from_the_cursor_on(house: House, mariadb: tuple[str, Ask]) -> None:
    endpoint, ask = mariadb
    ask("use gis; drop table if exists m; create table m (id text, at_ datetime); insert into m values ('1', '2024-01-01 10:00:00')")
    tables = [table("t", [column("id"), column("at_", "timestamptz")], ["id"], {"relation": "m"}, delivers="changes", cursor="at_")]
    brick = house.brick("b", tables, endpoint, connector="sql", options={"user_env": "DB_USER", "password_env": "DB_PASSWORD"})
    house.land(brick)
    ask("use gis; insert into m values ('2', '2024-01-02 10:00:00'), ('3', null)")
    house.land(brick)
    assert {row[0] for row in house.rows(brick, "t", "id")} == {"1", "2", "3"}

"""The commands as they are typed: exit statuses, JSON, help in a blink, what a run with nothing new imports."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from conftest import House, column, table
from cyclopts import App, MissingArgumentError

from flows import commands, report
from flows.cli import main
from ingestion.brick import Brick
from ingestion.census import read_bricks
from ingestion.lake import PROJECT
from ingestion.sandbox.files import write_drops
from ingestion.territory import read_territory
from redistribution.mart import CLASSES
from tests.fixtures.typed import orchestra, orchestra_itself


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    write_drops(tmp_path / "insee_cog", "insee_cog", until=dt.date(2024, 1, 5))
    own = {"ORCHESTRA_LAKE": str(tmp_path / "lake"), "ORCHESTRA_ENDPOINT_INSEE_COG": str(tmp_path / "insee_cog")}
    return own | {"ORCHESTRA_ENDPOINT": "none"}  # nothing else is read: no test waits for who is not there


@pytest.mark.parametrize("command", [[], ["land"], ["loads", "show"], ["up"]], ids=" ".join)
def test_help_takes_less_than_a_second(command: list[str]) -> None:
    """Of CPU, which is what it takes of a quiet machine; the tests leave none quiet."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "Usage: orchestra" in orchestra_itself(*command, "--help").stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1  # 0.3 on a quiet machine; the least of what must not be imported takes 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["land", "--brick", "nope"], "no brick 'nope'"),
        (["run", "--use-case", "love"], "no brick serves"),
        (["loads", "show", "nope"], "no load 'nope'"),
        (["bricks", "show", "nope"], "no brick 'nope'"),
        (["sandbox", "serve", "--port", "1", "--until", "soon"], '--until: unable to convert "soon" into date'),
        (["sandbox", "serve", "--port", "99999"], "--port 99999 is no port"),
        (["sandbox", "serve", "--port", "1", "--scale", "-1"], "--scale -1.0 is not between 0 and 100"),
        (["sandbox", "serve", "--port", "1", "--scale", "nan"], "--scale nan is not between"),
        (["sandbox", "serve", "--port", "1", "--until", "1900-01-01"], "the sandbox cannot be served"),
        (["dance"], 'Unknown command "dance"'),
    ],
)
def test_misuse_has_status_2_and_says_what(arguments: list[str], told: str, place: dict[str, str]) -> None:
    done = orchestra(*arguments, **place)
    assert done.returncode == 2 and told in done.stderr, done


def commands_of(app: App = commands.app, *path: str) -> Iterator[list[str]]:
    """Give every command as it is typed; groups are none."""
    for name in app:
        if not name.startswith("-"):
            yield from [[*path, name]] if app[name].default_command else commands_of(app[name], *path, name)


COMMANDS = {" ".join(command): command for command in commands_of()}


def test_help_imports_nothing_heavy_and_ends_with_the_environment() -> None:
    assert orchestra_itself("--help").stdout.rstrip().endswith("2 misuse")
    heavy = {"duckdb", "pydantic", "dlt", "dbt", "prefect", "great_expectations", "pandas"}
    script = f"import sys; from flows.cli import main; main(sys.argv[1:]); sys.exit(' '.join({heavy} & set(sys.modules)))"
    for command in ([], ["land"], ["loads", "show"]):
        done = subprocess.run([sys.executable, "-c", script, *command, "--help"], capture_output=True, text=True, check=False)
        assert done.stderr.strip() == "" and "Usage: orchestra" in done.stdout, done


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_help_of_a_command_names_its_options(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    told = capsys.readouterr().out
    app = commands.app.parse_commands(command)[1][-1]
    with commands.app.app_stack(command):
        arguments = app.assemble_argument_collection(parse_docstring=True)
    for argument in arguments:
        shown = [name if name.startswith("-") else name.upper() for name in argument.names]
        assert all(name in told for name in shown) and (argument.parameter.help or "") in told, (shown, told)
    assert app.help.partition("\n")[0] in told and "\x1b" not in told and "ORCHESTRA_LAKE" not in told


MISUSE = {
    "": "a command is missing",
    "loads": "a command is missing (see orchestra loads --help)",
    "dance": 'Unknown command "dance"',
    "loads dance": 'Unknown command "dance". Available commands: list, show, accept, drop',
    "dance --help": 'Unknown command "dance"',
    "land --brik insee_cog": "--brik. Did you mean --brick?",
    "status --no-json": "Unknown option: --no-json",
    "land --brick": "--brick requires an argument",
    "run insee_cog": "['insee_cog']",
    "prove mart": "KEY requires an argument",
    "loads show": "LOAD_ID requires an argument. (see orchestra loads show --help)",
    "loads accept id": "--why requires an argument",
    "loads accept id --why --refetch": '"--refetch" for --why. It is no reason',
    "journal lost --seq 2 --why": "--why requires an argument",
    "loads drop id": "takes one of --refetch",
    "loads drop id --refetch --forget": "takes one of --refetch",
    "loads show id --limit 2.5": "--limit: invalid literal for int() with base 10: '2.5'",
    "journal lost --seq two --why disk": "--seq: invalid literal",
    "site --class secret": '"secret" for --class. Choose from: "open", "partner", "internal", "restricted"',
    "sandbox serve --port 1 --scale much": '--scale: unable to convert "much" into float',
}


@pytest.mark.parametrize(("typed", "told"), MISUSE.items(), ids=MISUSE)
def test_misuse_is_one_line_that_names_it(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and told in said.err and said.err.startswith("orchestra: ") and said.err.count("\n") == 1, said
    assert "\x1b" not in said.err and ("--help" in said.err or "takes one of" in said.err)


@pytest.mark.parametrize("name", ["README.md", "README.fr.md"])
def test_what_the_readme_types_can_be_typed(name: str) -> None:
    text = (PROJECT / name).read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    typed = re.findall(r"^orchestra .*", blocks, flags=re.MULTILINE)
    mentioned = re.findall(r"`(?:\w+=\S+ )?(orchestra [^`]*)`", text)
    assert len(typed) > 7 and len(mentioned) > 7
    for line in [*typed, *mentioned]:
        with contextlib.suppress(
            *([MissingArgumentError] if line in mentioned else [])
        ):  # `orchestra prove` names a command, and types none
            commands.app.parse_args(shlex.split(line, comments=True)[1:], print_error=False, exit_on_error=False)


def test_what_is_typed_arrives_as_it_is_typed() -> None:
    """Options before or after, given twice, joined by =; a value may be empty, look like none or like a number."""

    def bound(line: str) -> dict[str, Any]:
        return commands.app.parse_args(shlex.split(line), print_error=False, exit_on_error=False)[1].arguments

    assert bound("run --brick a --json --brick=b --use-case u") == {"brick": ("a", "b"), "use_case": ("u",), "is_json": True}
    assert bound("prove --json m 2024-01-01 -5 name=value none") == {
        "mart": "m", "key": ("2024-01-01", "-5", "name=value", "none"), "is_json": True,
    }  # fmt: skip
    assert bound("loads drop id --why none --forget --forget") == {"load_id": "id", "why": "none", "forget": True}
    assert bound("loads show --limit 5 id --limit -1") == {"load_id": "id", "limit": -1}
    assert bound('loads accept --why "- the meter" id') == bound('loads accept --why="- the meter" id')
    assert bound('loads accept --why="- the meter" id') == {"load_id": "id", "why": "- the meter"}
    assert get_args(get_args(commands.Class)[0]) == tuple(CLASSES)


def test_an_interrupted_command_and_a_closed_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for arguments in (["bricks", "check"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as closed:
            typed = [sys.executable, "-m", "flows.cli", *arguments]
            done = subprocess.run(typed, stdout=closed, stderr=subprocess.PIPE, text=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ingestion.census.read_census", interrupted)
    assert main(["bricks", "check"]) == 130


def test_a_table_in_a_pipe_is_whole_and_plain(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    why, place = "a reason that is long " * 20 + "\x1b[31mto its\nend", {**place, "FORCE_COLOR": "1"}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert report.table([{"load": "a", "why": why, "rows": 1234}]).splitlines()[2] == f"a     {why[:-15]} [31mto its end  1,234"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert max(map(len, report.table([{"why": why}]).splitlines())) == report.WIDEST
    orchestra("land", "--brick", "insee_cog", **place)
    for arguments, columns in ((["status"], "late  next run"), (["bricks", "list"], "title"), (["loads", "list"], "why")):
        told = orchestra(*arguments, **place).stdout
        assert columns in told and "\x1b" not in told and "…" not in told and "─" not in told, told
    status = json.loads(orchestra("status", "--json", **place).stdout)
    (line,) = (line for line in orchestra("status", **place).stdout.splitlines() if line.startswith("insee_cog"))
    assert line.split()[1:4] == ["1", "0", "86"] and status["bricks"]["insee_cog"]["last_read_at"] in line


def test_land_list_show_and_status_speak_json(place: dict[str, str]) -> None:
    done = orchestra("land", "--brick", "insee_cog", "--json", **place)
    assert done.returncode == 0, done.stderr
    load = json.loads(done.stdout)["lands"][0]["entry"]
    assert load["verdict"] == "accepted" and load["tables"]["communes"]["kept"] == 43
    assert [found["load_id"] for found in json.loads(orchestra("loads", "list", "--json", **place).stdout)] == [load["load_id"]]
    shown = json.loads(orchestra("loads", "show", load["load_id"], "--json", **place).stdout)
    assert shown["refused_rows"] == {"communes": [], "epci_members": []}
    status = json.loads(orchestra("status", "--json", **place).stdout)
    assert status["is_synthetic"] and status["bricks"]["insee_cog"]["kept"] == 86
    assert "insee_cog" in {brick["name"] for brick in json.loads(orchestra("bricks", "list", "--json", **place).stdout)}


def test_a_refused_load_has_status_1_and_says_which(place: dict[str, str]) -> None:
    folder = Path(place["ORCHESTRA_ENDPOINT_INSEE_COG"])
    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    path = folder / "perimetre-epci-a-fp.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    done = orchestra("land", "--brick", "insee_cog", **place)
    assert done.returncode == 1 and "refused: epci_members" in done.stdout, done
    # It stands: the next run and the status fail too, and say what ends it.
    for command in (["land", "--brick", "insee_cog"], ["status"]):
        done = orchestra(*command, **place)
        assert done.returncode == 1 and "stands refused" in done.stdout and "--refetch" in done.stdout, done
    status = json.loads(orchestra("status", "--json", **place).stdout)["bricks"]["insee_cog"]
    assert (status["loads"], status["refused_loads"], status["kept"]) == (2, 1, 86)
    done = orchestra("land", **{**place, "ORCHESTRA_ENDPOINT_INSEE_COG": "none"})
    assert done.returncode == 1 and "stands refused" in done.stdout, "unplugged, it stands all the same"
    (load_id,) = [
        load["load_id"] for load in json.loads(orchestra("loads", "list", "--json", **place).stdout) if load["verdict"] == "refused"
    ]
    assert "given up" in orchestra("loads", "drop", load_id, "--forget", **place).stdout
    assert orchestra("land", "--brick", "insee_cog", **place).returncode == orchestra("status", **place).returncode == 0


def other_territory(folder: Path, **values: Any) -> dict[str, str]:
    """Write a territory that differs by some values; give the variable that names it."""
    path, own = folder / "territory.yml", yaml.safe_load((PROJECT / "territory.yml").read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(own | values, allow_unicode=True), encoding="utf-8")
    return {"ORCHESTRA_TERRITORY": str(path)}


@pytest.mark.parametrize("command", ["bricks check", "bricks list", "land", "status", "loads list", "verify", "schema"])
def test_a_territory_that_is_none_is_one_line_and_misuse_of_every_command(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for name, value in {**place, **other_territory(tmp_path, time_zone="Mars", zones="nowhere")}.items():
        monkeypatch.setenv(name, value)
    assert main(command.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("orchestra: territory.yml: time_zone: 'Mars' is no time zone of the tz database")
    assert not (tmp_path / "lake/journal").exists()


def test_the_lake_of_another_territory_is_refused_by_every_command_in_one_line(
    shop: tuple[House, Brick], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house, brick = shop
    house.drop("items.csv", "id,n\n1,2\n")
    assert house.land(brick)
    for name, value in other_territory(house.folder, name="Montpellier").items():
        monkeypatch.setenv(name, value)
    read_territory.cache_clear()
    before = [name for name in sorted(house.lake.names("")) if not name.startswith("state/locks/")]
    # A proof goes by its receipt alone, whatever the territory.
    for command in ("land", "status", "loads list", "build", "publish", "rebuild", "site", "marts accept a_mart --why x", "verify"):
        assert main(command.split()) == 1, command
        told = capsys.readouterr()
        (line,) = (told.err or told.out).splitlines()
        assert re.search("is the lake of Rennes Métropole, not of Montpellier. Mend: set ORCHESTRA_LAKE to a lake of its own", line), line
    assert [name for name in sorted(house.lake.names("")) if not name.startswith("state/locks/")] == before


def test_a_brick_whose_path_no_file_is_fails_until_one_is_and_warns_once_they_are_gone(
    shop: tuple[House, Brick], capsys: pytest.CaptureFixture[str]
) -> None:
    house, _ = shop
    house.drop("itmes.csv", "id,n\n1,2\n")
    assert main(["land", "--brick", "shop"]) == 1
    told = capsys.readouterr().out
    assert f"shop.items: no file is items*.csv; {house.drops} holds itmes.csv. Mend: check the endpoint and `path`." in told
    moved = house.drop("items.csv", "id,n\n1,2\n")
    assert main(["land", "--brick", "shop"]) == 0
    moved.unlink()
    capsys.readouterr()
    assert main(["land", "--brick", "shop"]) == 0
    assert "WARNING shop.items: no file is items*.csv any more, where 1 were read" in capsys.readouterr().out


def test_a_retired_brick_is_read_only_where_it_is_named(shop: tuple[House, Brick]) -> None:
    house, brick = shop
    house.brick("gone", [table("items", [column("id")], ["id"], {"format": "csv", "path": "gone.csv"})], status="retired")
    assert set(commands.chosen_bricks([])) == set(commands.chosen_bricks([], brick.meta.use_cases)) == {"shop"}
    assert set(commands.chosen_bricks(["gone"])) == {"gone"}


def test_bricks_that_are_named_and_a_use_case_choose_those_that_are_both(
    shop: tuple[House, Brick], capsys: pytest.CaptureFixture[str]
) -> None:
    house, _ = shop
    house.brick("trees", [table("items", [column("id")], ["id"], {"format": "csv", "path": "trees.csv"})], use_cases=["climate"])
    assert set(commands.chosen_bricks(["shop", "trees"], ["climate"])) == {"trees"}
    assert set(commands.chosen_bricks([], ["climate"])) == {"trees"}
    assert main(["land", "--brick", "shop", "--use-case", "climate"]) == 2
    assert "shop serves none of climate: --brick and --use-case go together" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "verify", "verify --deep", "build", "publish", "rebuild", "site"])
def test_a_place_that_holds_no_lake_is_not_green(
    shop: tuple[House, Brick], command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house, _ = shop
    nowhere = house.folder / "no" / "lake"
    monkeypatch.setenv("ORCHESTRA_LAKE", str(nowhere))
    assert main(command.split()) == 1
    out, err = capsys.readouterr()
    assert f"{nowhere} holds no lake. Mend: set ORCHESTRA_LAKE to one" in out + err
    assert not (nowhere / "journal").exists()


def test_a_run_with_nothing_new_imports_no_heavy_library(place: dict[str, str]) -> None:
    orchestra("land", "--brick", "insee_cog", **place)
    script = (
        "import sys; from flows.cli import main; status = main(['land', '--brick', 'insee_cog', '--json']); "
        "heavy = {'dbt', 'dlt', 'great_expectations', 'prefect', 'pandas'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, **place}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lands"][0]["entry"] is None


def test_no_library_is_left_free_to_phone_home() -> None:
    from ingestion.lake import TELEMETRY_OFF

    assert {name: os.environ.get(name) for name in TELEMETRY_OFF} == TELEMETRY_OFF
    import dlt

    assert dlt.config.get("runtime.dlthub_telemetry") in (False, None, "false")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("ORCHESTRA_THREADS", "x", "ORCHESTRA_THREADS is 'x'"), ("ORCHESTRA_MEMORY", "much", "ORCHESTRA_MEMORY is 'much'")],
)
def test_a_limit_that_is_none_is_told(place: dict[str, str], name: str, value: str, told: str) -> None:
    done = orchestra("land", "--brick", "insee_cog", **place, **{name: value})
    assert done.returncode == 1 and told in done.stdout and "Traceback" not in done.stderr, done


def test_a_brick_asked_for_by_its_name_and_not_plugged_in_is_a_failure(place: dict[str, str]) -> None:
    unplugged = {**place, "ORCHESTRA_ENDPOINT_INSEE_COG": "none"}
    done = orchestra("land", "--brick", "insee_cog", **unplugged)
    assert done.returncode == 1 and "ORCHESTRA_ENDPOINT_INSEE_COG is none" in done.stdout, done
    done = orchestra("land", **unplugged, **{f"ORCHESTRA_ENDPOINT_{name.upper()}": "none" for name in read_bricks() if name != "insee_cog"})
    assert done.returncode == 0 and "not plugged in: insee_cog" in done.stdout, "of all bricks, some may not be"


def test_the_sandbox_says_which_bricks_it_plays_and_the_others_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import servers
    from ingestion.brick import endpoint_of
    from ingestion.declaration import BrickError
    from ingestion.sandbox.server import start

    bricks = read_bricks()
    other = bricks["insee_cog"].model_copy(update={"name": "parking"})
    monkeypatch.setattr(servers, "read_bricks", lambda: {**bricks, "parking": other})
    monkeypatch.setattr(os, "environ", {**os.environ})
    # Each brick has a file by then; nobody receives what is pushed.
    with start(until=dt.date(2025, 6, 30), key_file=tmp_path / "planted.json", push_to="http://127.0.0.1:9") as sandbox:
        servers.plug_in(sandbox.url)
        elsewhere = servers.about(sandbox.url)["endpoints"]
        assert {place.partition(":")[0].partition("_")[0] for place in elsewhere.values()} == {"mqtt", "sqlite", "/push/air"}
        for name, brick in bricks.items():
            assert endpoint_of(brick) == elsewhere.get(name, f"{sandbox.url}/{name}")
        with pytest.raises(BrickError, match="ORCHESTRA_ENDPOINT_PARKING is none"):
            endpoint_of(other)


def test_a_warehouse_that_is_written_to_is_no_traceback(place: dict[str, str], tmp_path: Path) -> None:
    """dbt, or an analyst, holds it open; the status does not read it, and publishing says what to close."""
    from ingestion.journal import Journal
    from ingestion.lake import Lake

    orchestra("land", "--brick", "insee_cog", **place)
    state = tmp_path / "lake" / "state"
    (state / "target").mkdir()
    (state / "target" / "manifest.json").write_text(json.dumps({"nodes": {}, "sources": {}}))
    Journal(Lake(place["ORCHESTRA_LAKE"])).note("built.json", project="project")
    held = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(state / "warehouse.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        done = orchestra("status", "--json", **place)
        assert done.returncode == 0 and json.loads(done.stdout)["warehouse_seq"] == 2, done
        done = orchestra("publish", **place)
        assert done.returncode == 1 and "Mend: close what has it open" in done.stderr and "Traceback" not in done.stderr, done
        assert holder.stdin
        holder.stdin.close()


def test_a_build_that_failed_is_not_published(place: dict[str, str], tmp_path: Path) -> None:
    from flows import steps
    from flows.outcome import BuildStep
    from flows.reached import reached
    from ingestion.journal import Journal
    from ingestion.lake import Lake, LakeError

    lake = Lake(place["ORCHESTRA_LAKE"])
    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    lake.connect(str(lake.state_path("warehouse.duckdb"))).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "dbt_build", lambda *_: BuildStep(failures=["build: test not_null failed"]))
        outcome = steps.run_chain(lake, {}, steps=("build", "publish"))
        assert outcome.publish is None and outcome.failures == ["build: test not_null failed"]
        with pytest.raises(LakeError, match="the last build failed"):
            steps.run_chain(lake, {}, steps=("publish",))
        patch.setattr(steps, "dbt_build", lambda *_: BuildStep())
        assert not steps.run_chain(lake, {}, steps=("build",)).failures
        assert reached(lake, Journal(lake))[0] == 2
        lake.state_path("target", "manifest.json").write_bytes(b'{"nodes": {')  # what a full disk leaves
        with pytest.raises(LakeError, match="Mend: orchestra rebuild"):
            steps.run_chain(lake, {}, steps=("publish",))


def test_what_a_build_does_not_reach_is_built_again_and_only_that(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt is played here: what it says of its nodes, and what is then asked of it."""
    from flows import steps
    from flows.dbt_process import FAILED_STATUSES
    from flows.reached import is_built, reached
    from ingestion.journal import Journal
    from ingestion.lake import Lake

    lake = Lake(place["ORCHESTRA_LAKE"])
    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    lake.connect(str(lake.state_path("warehouse.duckdb"))).close()
    manifest = {
        "nodes": {
            "test.p.unique_b": {"attached_node": "model.p.b", "depends_on": {"nodes": ["model.p.a", "model.p.b"]}},
            "test.p.source_c": {"attached_node": None, "depends_on": {"nodes": ["source.p.insee_cog.communes"]}},
        }
    }
    asked: list[list[str]] = []
    said: dict[str, str] = {}

    def dbt(_: Lake, arguments: list[str], __: int) -> subprocess.CompletedProcess[str]:
        asked.append(arguments)
        results = [{"unique_id": name, "status": status, "message": "told", "execution_time": 0} for name, status in said.items()]
        lake.state_path("target", "run_results.json").write_text(json.dumps({"results": results}))
        lake.state_path("target", "manifest.json").write_text(json.dumps(manifest))
        return subprocess.CompletedProcess(arguments, int(any(status in FAILED_STATUSES for status in said.values())), "", "")

    def build(**told: str) -> list[str]:
        said.clear()
        said.update({name.replace("__", "."): status for name, status in told.items()})
        asked.clear()
        failures = steps.build(lake, Journal(lake)).failures
        return [arguments[arguments.index("--select") + 1 :] if "--select" in arguments else [] for arguments in asked] + failures

    monkeypatch.setattr("flows.dbt_process.run_dbt", dbt)
    monkeypatch.setattr(steps, "warehouse_fault", lambda *_: None)
    first = build(model__p__a="success", model__p__b="success", test__p__unique_b="fail", model__p__c="skipped", model__p__d="error")
    assert first == [[], "build: test unique_b: told", "build: model d: told"]
    assert reached(lake, Journal(lake)).unreached == {
        "model.p.b": "test unique_b: told", "model.p.c": "model c: skipped, for what it is made of failed", "model.p.d": "model d: told",
    }  # fmt: skip
    # What it did not reach, and only that, is asked for again, until it is reached.
    assert build(model__p__b="success", test__p__unique_b="pass", model__p__c="success", model__p__d="error") == [
        ["b+", "c+", "d+"], "build: model d: told",
    ]  # fmt: skip
    assert build(model__p__d="success") == [["d+"]]
    assert build() == [] and not reached(lake, Journal(lake)).unreached
    # A test of a source that fails leaves the source unreached.
    monkeypatch.setattr(steps, "project_digest", lambda: "another")
    assert build(test__p__source_c="fail", model__p__a="skipped")[0] == []
    assert build(test__p__source_c="pass", model__p__a="success") == [["a+", "source:insee_cog.communes+"]]
    # A build that was killed, or that could not begin, is wholly to be done again.
    monkeypatch.setattr(steps, "project_digest", lambda: "a third")
    assert len(build()) == 1 and is_built(lake, Journal(lake))


def test_what_dbt_leaves_when_it_is_run_by_hand_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.dbt_process import project_digest

    project = tmp_path / "dbt_project"
    for name in ("models/marts", "target/compiled/models/_marts.yml", "logs"):
        (project / name).mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_text("name: x")
    monkeypatch.setattr("flows.dbt_process.DBT_PROJECT", project)
    before = project_digest()
    (project / "target" / "compiled" / "models" / "_marts.yml" / "x.sql").write_text("select 1")
    assert project_digest() == before
    (project / "models" / "marts" / "x.sql").write_text("select 1")
    assert project_digest() != before


def test_a_source_that_gives_nothing_for_longer_than_it_should_is_told(place: dict[str, str]) -> None:
    from flows.cadence import lateness
    from flows.outcome import LandStep
    from ingestion.journal import Journal
    from ingestion.lake import Lake

    orchestra("land", "--brick", "insee_cog", **place)
    journal, bricks = Journal(Lake(place["ORCHESTRA_LAKE"])), read_bricks()
    assert lateness(journal, bricks["insee_cog"]) is None and lateness(journal, bricks["lora_batiments"]) is None
    limit = dt.timedelta(days=bricks["insee_cog"].config.freshness.error_after.days)
    journal.entries[-1]["read_at"] = (dt.datetime.now(dt.UTC) - limit * 1.1).isoformat()
    journal.entries[0]["is_synthetic"] = False
    told = lateness(journal, bricks["insee_cog"])
    assert told and f"more than {limit.days} days" in told
    assert LandStep("insee_cog", late=told).warnings == [f"insee_cog: {told}"]


def test_a_mart_that_is_withheld_is_told_as_long_as_it_is(place: dict[str, str]) -> None:
    from flows.outcome import PublishStep
    from ingestion.journal import Journal
    from ingestion.lake import Lake

    orchestra("land", "--brick", "insee_cog", **place)
    lake = Lake(place["ORCHESTRA_LAKE"])
    record = {"class": "open", "digests": {}, "row_count": 3, "labels": {}, "reasons": ["too few"]}
    Journal(lake).append("publication", run_id="r1", as_of=None, marts={}, withheld={"m_by_month": record}, withdrawn={})
    assert json.loads(orchestra("status", "--json", **place).stdout)["marts"]["m_by_month"]["withheld"] == "too few"
    assert PublishStep(withheld={"m_by_month": "too few"}).failures == ["mart m_by_month still is withheld: too few"]


def test_a_source_that_was_raised_takes_its_marts_away_though_the_project_does_not_parse(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a rebuild, which throws away what dbt said of the project."""
    from flows import dbt_process, steps
    from ingestion.journal import Journal
    from ingestion.lake import Lake
    from redistribution.publications import last_published

    orchestra("land", "--brick", "insee_cog", **place)
    lake = Lake(place["ORCHESTRA_LAKE"])
    record = {"class": "open", "files": {}, "digests": {}, "row_count": 3, "sources": {"insee_cog": "open"}}
    Journal(lake).append("publication", run_id="r1", as_of=None, marts={"m_by_month": record}, withheld={}, withdrawn={})
    brick = read_bricks()["insee_cog"]
    meta = brick.meta.model_copy(update={"access_class": "restricted"})
    raised = brick.model_copy(update={"config": brick.config.model_copy(update={"meta": meta})})
    monkeypatch.setattr(steps, "read_bricks", lambda: {"insee_cog": raised})
    for module in (dbt_process, steps):
        monkeypatch.setattr(module, "run_dbt", lambda _, arguments, __: subprocess.CompletedProcess(arguments, 2, "", "does not parse"))
    assert steps.build(lake, Journal(lake)).failures and not last_published(Journal(lake))


def _entry(place: dict[str, str], seq: int) -> Path:
    return Path(place["ORCHESTRA_LAKE"], "journal", f"{seq:012d}.json")


def test_verify_names_what_is_wrong_and_what_to_do(place: dict[str, str]) -> None:
    orchestra("land", "--brick", "insee_cog", **place)
    done = orchestra("verify", "--deep", **place)
    assert done.returncode == 0 and "all is what its journal says, up to entry 2" in done.stdout, done
    landed = next(Path(place["ORCHESTRA_LAKE"]).glob("landed/insee_cog/communes/load_id=*/*.parquet"))
    content = landed.read_bytes()
    os.truncate(landed, 40)
    done = orchestra("verify", "--json", **place)
    (fault,) = json.loads(done.stdout)["faults"]
    assert done.returncode == 1 and "insee_cog.communes: load " in fault and "is of 40 bytes" in fault and "--refetch" in fault, done
    landed.write_bytes(content)
    os.truncate(_entry(place, 2), 40)
    for arguments in (["verify"], ["status"], ["land", "--brick", "insee_cog"], ["run", "--brick", "insee_cog"]):
        done = orchestra(*arguments, **place)
        told = done.stdout + done.stderr
        assert done.returncode == 1 and "000000000002.json is broken" in told and "Mend: " in told and "Traceback" not in told, done
    assert landed.exists()


def test_a_lost_entry_is_told_its_load_listed_and_the_next_run_goes_on(place: dict[str, str]) -> None:
    for day in (1, 2):
        orchestra("land", "--brick", "insee_cog", **place)
        path = Path(place["ORCHESTRA_ENDPOINT_INSEE_COG"]) / "perimetre-epci-a-fp.csv"
        path.write_bytes(path.read_bytes() + b"\r\n" * day)
    loads = [load["load_id"] for load in json.loads(orchestra("loads", "list", "--json", **place).stdout)]
    assert len(loads) == 2
    done = orchestra("journal", "lost", "--seq", "2", "--why", "none", **place)
    assert done.returncode == 1 and "entry 2 of the journal is not lost" in done.stderr, done
    _entry(place, 2).unlink()
    assert orchestra("loads", "list", **place).returncode == 1
    done = orchestra("journal", "lost", "--seq", "2", "--why", "a disk", **place)
    assert done.returncode == 0 and f"load {loads[0]}: 2 files that no entry names" in done.stdout, done
    landed = set(Path(place["ORCHESTRA_LAKE"]).glob("landed/*/*/*/*.parquet"))
    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    assert landed <= set(Path(place["ORCHESTRA_LAKE"]).glob("landed/*/*/*/*.parquet"))
    assert orchestra("verify", **place).returncode == 0
    assert orchestra("journal", "lost", "--seq", "2", "--forget", "--why", "read again", **place).returncode == 0
    done = orchestra("journal", "lost", "--seq", "3", "--forget", "--why", "read again", **place)
    assert done.returncode == 1 and "entry 3 was not told as lost" in done.stderr, done


def test_a_build_that_misses_a_landed_file_says_so_once(place: dict[str, str]) -> None:
    from flows import steps
    from flows.outcome import BuildStep
    from ingestion.journal import Journal
    from ingestion.lake import Lake

    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    lake = Lake(place["ORCHESTRA_LAKE"])
    next(Path(lake.root).glob("landed/insee_cog/communes/load_id=*/*.parquet")).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "dbt_build", lambda *_: BuildStep(failures=[f"build: model m{n}: transaction conflict" for n in range(40)]))
        (told,) = steps.build(lake, Journal(lake)).failures
    assert told.startswith("build: insee_cog.communes: load ") and "is gone. Mend: " in told and "--refetch" in told


def test_what_is_built_is_built_again_when_the_warehouse_or_the_history_is_not_what_it_was(place: dict[str, str], tmp_path: Path) -> None:
    from flows import steps
    from flows.outcome import BuildStep
    from ingestion.journal import Journal
    from ingestion.lake import Lake
    from ingestion.warehouse import catch_up

    assert orchestra("land", "--brick", "insee_cog", **place).returncode == 0
    lake, asked = Lake(place["ORCHESTRA_LAKE"]), []
    warehouse = lake.state_path("warehouse.duckdb")

    def dbt(lake: Lake, select: list[str], *_: object) -> BuildStep:
        asked.append(select)
        with lake.connect(str(warehouse)) as connection:
            catch_up(connection, lake, Journal(lake), {})
        return BuildStep(nodes=[{"id": "model.orchestra.any", "kind": "model", "status": "success", "seconds": 0.0}])

    def is_built_whole(lake: Lake = lake) -> bool:
        asked.clear()
        assert not steps.build(lake, Journal(lake)).failures
        return asked == [[]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "dbt_build", dbt)
        assert is_built_whole() and not is_built_whole()
        older = warehouse.read_bytes()
        warehouse.write_bytes(b"")
        assert is_built_whole() and not is_built_whole()
        lake.state_path("built.json").write_bytes(b"")
        assert is_built_whole() and not is_built_whole()
        Journal(lake).append("drop", brick="insee_cog", load_id=Journal(lake).accepted()[0]["load_id"], refetch=True)
        assert not is_built_whole() and asked == [["source:insee_cog.communes+", "source:insee_cog.epci_members+"]]
        newer = warehouse.read_bytes()
        warehouse.write_bytes(older)
        assert is_built_whole(), "a warehouse put back from a backup has not seen what is said to be built"
        warehouse.write_bytes(newer)
        _entry(place, 3).unlink()
        assert is_built_whole() and not is_built_whole(), "a journal put back from a backup"
        Path(lake.root).rename(tmp_path / "moved")
        warehouse = tmp_path / "moved" / "state" / "warehouse.duckdb"
        moved = Lake(str(tmp_path / "moved"))
        assert is_built_whole(moved) and not is_built_whole(moved), "the views of the warehouse hold whole paths"

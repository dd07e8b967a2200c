"""`orchestra bricks try`: a source that no brick describes yet is tried, told, and written as a brick where that is asked for."""

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands import Json, Misuse, show

if TYPE_CHECKING:
    from ingestion.trial.profile import Profile
    from ingestion.trial.trial import Trial

SHOWN_OFFERS, WIDEST_VALUE, MOST_ALIKE = 30, 24, 0.5
DECISION = "candidate: tried, to be adopted or not by who answers for it"


def try_place(
    place: str,
    /,
    *,
    table: str | None = None,
    catalog: bool = False,
    write: str | None = None,
    key: tuple[str, ...] = (),
    licence: str | None = None,
    is_json: Json = False,
) -> None:
    """Try a source that no brick describes yet: a file, a folder, or the address of an API or of a portal.

    Args:
        place: a path, or an address that begins with http:// or https://
        table: which of its tables to sample: a member of an archive, a sheet, a dataset; the first unless said
        catalog: list what it offers, and sample nothing
        write: write a brick of this name, its staging and the sheet of the trial
        key: a column of the key (may be repeated), where the sample tells another one
        licence: the licence under which it may be used, where the source tells none
        is_json: print JSON
    """
    from ingestion.connectors import SourceError
    from ingestion.trial.trial import offered, trying

    try:
        if catalog:
            where, offers = offered(place)
            rows = [{"table": each.name, "title": each.title, "connector": each.connector, "licence": each.licence} for each in offers]
            show(is_json, rows, f"{where.address}: {where.found.told}\n\n{_table(rows)}")
            return
        paths = _paths(write) if write else {}
        with trying(place, write, table=table, key=key, licence=licence, communes=_communes()) as trial:
            trial.bad += _alike(trial)
            written = _write(trial, paths) if write else []
            show(is_json, _as_json(trial, written), _as_text(trial, written))
    except SourceError as error:
        raise Misuse(str(error)) from None


def _table(rows: list[dict[str, Any]]) -> str:
    from flows import report

    return report.table(rows)


def _communes() -> frozenset[str]:
    """Give the codes of the communes that the lake holds, where a brick decides on them and has landed; none otherwise."""
    import duckdb

    from ingestion.census import read_bricks
    from ingestion.journal import standing
    from ingestion.lake import Lake, LakeError, connect, listed, quoted

    try:
        brick = next((b for b in read_bricks().values() if "communes" in b.meta.authoritative_for), None)
        lake = Lake()
        table = next((t for t in brick.tables if t.name == "communes"), None) if brick else None
        if not brick or not table or not Path(lake.root).is_dir():
            return frozenset()
        loads = [load for load in standing(lake).loads(brick.name).values() if load["verdict"] == "accepted"]
        files = [lake.path(name) for load in loads[-1:] for name in load["tables"].get(table.name, {}).get("files", ())]
        code = next((column.name for column in table.columns if column.name in table.meta.key[-1:]), None)
        if not files or not code:
            return frozenset()
        with connect(lake.state_path("trial")) as connection:
            rows = connection.execute(f"select distinct {quoted(code)} from read_parquet({listed(files)})").fetchall()
        return frozenset(row[0] for row in rows if row[0])
    except (LakeError, OSError, duckdb.Error):
        return frozenset()


def _alike(trial: Trial) -> list[str]:
    """Name the bricks that give the same already: by what they say, or by the keys that have landed of them."""
    import duckdb

    from ingestion.census import read_bricks
    from ingestion.journal import standing
    from ingestion.lake import Lake, LakeError, quoted
    from ingestion.likeness import holding, likeness

    if not trial.brick or not trial.draft:
        return []
    bricks = read_bricks().values()
    found = {other.name: why for other in bricks if (why := likeness(trial.brick, other))}
    names = ", ".join(f"c{column.number} as {quoted(column.name)}" for column in trial.profiles if not column.personal)
    try:
        lake = Lake()
        if Path(lake.root).is_dir():
            sample, connection = trial.sample.connection.sql(f"select {names} from sample"), trial.sample.connection
            for held in holding(lake, standing(lake), bricks, sample, trial.draft.key, connection):
                if held.row_share is None or held.row_share > MOST_ALIKE:
                    found.setdefault(held.brick, f"its table {held.table} holds {held.key_share:.0%} of the keys of the sample")
    except (LakeError, OSError, duckdb.Error):
        pass  # no lake, or one that cannot be read: what bricks say is told
    return [f"the brick {name} may give the same: {why}" for name, why in found.items()]


def _paths(name: str) -> dict[str, Path]:
    """Give where a brick and its staging are written; raises Misuse for a name that is none, or that is taken."""
    from flows.dbt_process import DBT_PROJECT
    from ingestion.census import BRICKS

    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise Misuse(
            f"--write {name}: a brick has a name in snake_case. Mend: --write {re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}"
        )
    bricks = Path(os.environ.get("ORCHESTRA_BRICKS", BRICKS))
    paths = {"brick": bricks / f"{name}.yml", "sheet": bricks / f"{name}.md", "staging": DBT_PROJECT / "models" / "staging" / name}
    if taken := next((path for path in paths.values() if path.exists()), None):
        raise Misuse(f"{taken} is there already, and nothing is written over. Mend: another name, or take it away first")
    return paths


def _write(trial: Trial, paths: dict[str, Path]) -> list[str]:
    """Write the brick, its staging and its sheet; raises SourceError where none can be written."""
    from ingestion.connectors import SourceError
    from ingestion.trial.writing import brick_yaml, sheet, staging_sql, staging_yaml

    if trial.draft is None:
        raise SourceError(f"{trial.place.address}: no brick can be written of it: {'; '.join(trial.bad)}")
    draft = trial.draft
    files = {
        paths["brick"]: brick_yaml(draft),
        paths["sheet"]: sheet(draft, _criteria(trial), DECISION),
        paths["staging"] / f"stg_{draft.name}__{draft.table}.sql": staging_sql(draft),
        paths["staging"] / f"_{draft.name}.yml": staging_yaml(draft),
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return list(map(str, files))


def _criteria(trial: Trial) -> list[tuple[str, str]]:
    """Give what was looked at and what was found, for the sheet and the screen."""
    sample, landed = trial.sample, trial.landed
    options = ", ".join(f"{name}: {value}" for name, value in trial.offer.of_table.items())
    whole = "all of it" if sample.is_whole else f"of {sample.announced}" if sample.announced is not None else "the first rows"
    return [
        ("it is", trial.place.found.told),
        ("read by", f"`{trial.offer.connector}` ({options})"),
        ("offers", f"{len(trial.offers)} tables" if len(trial.offers) > 1 else "one table"),
        ("sampled", f"{trial.offer.name}: {sample.row_count} rows ({whole}), {len(sample.names)} columns"),
        ("answered in", f"{trial.place.seconds + sample.seconds:.1f} s, {max(trial.place.size, sample.bytes_read)} bytes"),
        ("keys", "; ".join(", ".join(key) for key in trial.keys) or "none of three columns or fewer"),
        ("cursors", ", ".join(trial.cursors) or "none"),
        ("positions and places", "; ".join(f"{c.name}: {c.place}" for c in trial.profiles if c.place) or "none"),
        ("looks personal", "; ".join(f"{c.name}: {c.personal}" for c in trial.profiles if c.personal) or "nothing"),
        ("would land", f"{landed['kept']} kept, {landed['refused']} refused" if landed else "no brick could be drafted"),
        *(("good", told) for told in trial.good),
        *(("bad", told) for told in trial.bad),
    ]  # fmt: skip


def _column(profile: Profile, row_count: int) -> dict[str, Any]:
    told = [profile.note, profile.place, f"looks personal: {profile.personal}" if profile.personal else ""]
    if profile.null_values:
        told.append(f"missing: {', '.join(profile.null_values)}")
    return {
        "column": profile.name[:40],
        "type": f"{profile.data_type} {profile.date_format}" if profile.date_format else profile.data_type,
        "empty": row_count - profile.filled,
        "distinct": profile.distinct,
        "lowest": "-" if profile.lowest is None else profile.lowest[:WIDEST_VALUE],
        "highest": "-" if profile.highest is None else profile.highest[:WIDEST_VALUE],
        "what is seen": "; ".join(filter(None, told)),
    }


def _as_text(trial: Trial, written: list[str]) -> str:
    criteria = _criteria(trial)
    told = [f"{trial.place.address}", *(f"  {name}: {result}" for name, result in criteria if name not in ("good", "bad"))]
    if len(trial.offers) > 1:
        more = len(trial.offers) - SHOWN_OFFERS
        names = ", ".join(offer.name for offer in trial.offers[:SHOWN_OFFERS])
        told.append(f"  tables (--table): {names}{f' and {more} more' if more > 0 else ''}")
    told += ["", _table([_column(profile, trial.sample.row_count) for profile in trial.profiles]), ""]
    told += [*(f"  + {each}" for each in trial.good), *(f"  - {each}" for each in trial.bad)]
    if written:
        told += [
            "",
            *(f"written {path}" for path in written),
            "next: orchestra bricks check && orchestra run --brick " + Path(written[0]).stem,
        ]
    elif trial.draft:
        told += ["", f"next: the same with --write {trial.draft.name}"]
    return "\n".join(told)


def _as_json(trial: Trial, written: list[str]) -> dict[str, Any]:
    sample = trial.sample
    return {
        "place": trial.place.address,
        "tried_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "kind": trial.place.found.kind,
        "offers": [{"table": each.name, "title": each.title, "connector": each.connector} for each in trial.offers],
        "sampled": {"table": trial.offer.name, "rows": sample.row_count, "is_whole": sample.is_whole, "announced": sample.announced},
        "columns": [asdict(profile) for profile in trial.profiles],
        "keys": trial.keys,
        "cursors": trial.cursors,
        "landed": trial.landed,
        "good": trial.good,
        "bad": trial.bad,
        "written": written,
    }  # fmt: skip

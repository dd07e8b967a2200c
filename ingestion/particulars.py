"""What an entry of the journal may not hold: values that were read. They stand in objects of their own, which can be written again.

An entry holds names, counts and digests, for good. An object that it names, by the digest of its content, holds the rest: of a load,
beside its files, where the source was read to, the names of its files, measured instants, reasons and warnings; of a mart that was
published or withheld, its profile or the reasons.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from ingestion.disk import write_whole
from ingestion.entries import Entry, digest_of
from ingestion.lake import Lake, LakeError

OF_LOAD = ("reasons", "metadata")
OF_TABLE = ("position", "opened", "measured", "new_columns", "refused_files", "lines", "refused_in", "profile")
OF_MART = {"marts": "profile", "withheld": "reasons"}  # of a publication, by what holds it
COUNTED = {"refused_files": "refused_file_count", "new_columns": "new_column_count"}  # what the entry of a load says of them
UNKEPT = "not kept: it may have told what was taken back since"


def put_aside(lake: Lake, kind: str, body: Entry) -> Entry:
    """Write the particulars of what an entry is to say as objects of the lake; give what it says, their names included.

    What holds no value keeps the particulars that it names.
    """
    if kind == "load":
        held = _particulars(body)
        return {**bare(body), "particulars": store_of_load(lake, body, held)} if held else body
    if kind == "publication":
        return {**body, **{group: _of_marts(lake, body.get(group, {}), value) for group, value in OF_MART.items()}}
    return body


def store_of_load(lake: Lake, load: Entry, told: Entry) -> Entry:
    """Write particulars of a load as an object beside its files; give what an entry says of it: its name, and its size in bytes."""
    return _store(lake, f"landed/{load['brick']}/load_id={load['load_id']}", _particulars(told))


def _particulars(load: Entry) -> Entry:
    """Give what is told of a load that its entry may not say."""
    held = _held(load, OF_LOAD)
    if tables := {name: kept for name, record in load.get("tables", {}).items() if (kept := _held_of_table(record))}:
        held["tables"] = tables
    return held


def _held_of_table(record: Entry) -> Entry:
    undeclared = _undeclared(record)
    return {**_held(record, OF_TABLE), **({"columns": undeclared} if undeclared else {})}


def _undeclared(record: Entry) -> Entry:
    """Give the columns that landed and that the brick does not declare, by their type: a header may be a row of somebody."""
    names = {name.casefold() for name in record.get("new_columns", ())}
    return {name: kind for name, kind in record.get("columns", {}).items() if name.casefold() in names}


def bare(load: Entry) -> Entry:
    """Give what an entry says of a load: names, counts and digests."""
    told = {name: value for name, value in load.items() if name not in OF_LOAD}
    return {**told, "tables": {name: _counted(record) for name, record in load["tables"].items()}}


def joined(entry: Entry, read: Callable[[Entry], Entry]) -> Entry:
    """Give an entry with its particulars, as `read` gives those of an entry or of a mart: as it was before they were put aside."""
    if "particulars" in entry:
        held = read(entry)
        told = held.get("tables", {})
        tables = {name: {**record, **told.get(name, {})} for name, record in entry["tables"].items()}
        for name, record in tables.items():
            if "columns" in told.get(name, {}):
                record["columns"] = {**entry["tables"][name]["columns"], **told[name]["columns"]}
        return {**entry, **held, "tables": tables}
    if entry["kind"] == "publication":
        groups = {group: {name: joined_mart(record, read) for name, record in entry[group].items()} for group in OF_MART if group in entry}
        return {**entry, **groups}
    return entry


def joined_mart(record: Entry, read: Callable[[Entry], Entry]) -> Entry:
    """Give what a publication says of a mart with its particulars; without them once they were taken back."""
    if "particulars" not in record:
        return record
    return {name: value for name, value in record.items() if name != "particulars"} | read(record)


def read_particulars(lake: Lake, of: Entry) -> Entry:
    """Read the particulars of a load or of a mart; of a lake on S3, from the local copy where there is one.

    Those of a mart may be gone: they are taken back with what it was made of. Raises LakeError for those of a load.
    """
    name = of["particulars"]["name"]
    copy = lake.state / "particulars" / name.rpartition("/")[2]
    content = copy.read_bytes() if lake.is_s3 and copy.exists() else None
    if content is None or not _is_named(content, name):
        content = lake.read(name)
        if content is None and name.startswith("particulars/"):
            return {}
        if content is None or not _is_named(content, name):
            what = f"{lake.path(name)} {'is gone' if content is None else 'is not what was written'}"
            mend = f"orchestra loads drop {of['load_id']} --refetch, then orchestra run --brick {of['brick']}" if "load_id" in of else ""
            raise LakeError(f"{what}. Mend: put it back from a backup{mend and f', or {mend}'}")
        if lake.is_s3:
            write_whole(lake.state_path("particulars", copy.name), content)
    held: Entry = json.loads(content)
    return held


def without_values(load: Entry, *, keeps_columns: bool = False) -> Entry:
    """Give what particulars keep of a load, told whole, of which values are taken back: places, counts and shares, and no value.

    `keeps_columns` keeps the names of columns that the brick does not declare.
    """
    tables = {
        name: {
            **record,
            "new_columns": record.get("new_columns", []) if keeps_columns else [],
            "refused_files": [[file, UNKEPT] for file, _ in record["refused_files"]],
            **({"profile": {**record["profile"], "warnings": []}} if "profile" in record else {}),
        }
        for name, record in load["tables"].items()
    }
    return {"tables": tables, "reasons": [UNKEPT for _ in load["reasons"]], "metadata": {}}


def renamed(record: Entry, name_of: Callable[[str], str]) -> Entry:
    """Give what is told of a table with its files called otherwise."""
    return {
        **record,
        "opened": {name_of(name): signature for name, signature in record["opened"].items()},
        "refused_files": [[name_of(name), why] for name, why in record["refused_files"]],
        **({"refused_in": [name_of(name) for name in record["refused_in"]]} if "refused_in" in record else {}),
        **({"lines": {name_of(name): lines for name, lines in record["lines"].items()}} if "lines" in record else {}),
    }


def places_of(record: Entry) -> Entry:
    """Give what particulars keep of a table once its rows have expired: where its source was read to, so that it is not read again."""
    return {
        "position": record["position"],
        "opened": record["opened"],
        "refused_files": [[file, UNKEPT] for file, _ in record["refused_files"]],
        **({"refused_in": record["refused_in"]} if "refused_in" in record else {}),
    }


def tells_values(load: Entry) -> bool:
    """Say whether the particulars of a load, told whole, hold what `without_values` leaves out."""
    kept = without_values(load)
    return any(load[name] != value for name, value in kept.items())


def forget_copies(lake: Lake, named: set[str]) -> None:
    """Delete the local copies of particulars that no entry names any more."""
    kept = {name.rpartition("/")[2] for name in named}
    for path in (lake.state / "particulars").glob("*.json"):
        if path.name not in kept:
            path.unlink()


def _store(lake: Lake, folder: str, held: Entry) -> Entry:
    """Write particulars as an object under a folder; give what the entry says of it: its name, and its size in bytes."""
    content = json.dumps(held, ensure_ascii=False, sort_keys=True).encode()
    name = f"{folder}/{digest_of(content)}.json"
    lake.create(name, content)
    return {"name": name, "size": len(content)}


def _of_marts(lake: Lake, records: Entry, value: str) -> Entry:
    def told(name: str, record: Entry) -> Entry:
        if value not in record:
            return record
        said = {key: each for key, each in record.items() if key != value}
        return {**said, "particulars": _store(lake, f"particulars/{name}", {value: record[value]})}

    return {name: told(name, record) for name, record in records.items()}


def _is_named(content: bytes, name: str) -> bool:
    return name.endswith(f"/{digest_of(content)}.json")


def _held(record: Entry, names: tuple[str, ...]) -> Entry:
    return {name: record[name] for name in names if name in record}


def _counted(record: Entry) -> Entry:
    counts: Entry = {count: len(record[name]) for name, count in COUNTED.items() if name in record}
    if undeclared := _undeclared(record):
        counts["columns"] = {name: kind for name, kind in record["columns"].items() if name not in undeclared}
    return {**{name: value for name, value in record.items() if name not in OF_TABLE}, **counts}

"""A trial of a place: what it is, what it offers, a sample of one of its tables, and a brick of it, landed once in a folder of its own."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingestion.card import UNKNOWN
from ingestion.connectors import SourceError, declared_name
from ingestion.lake import connect, listed, literal, quoted
from ingestion.trial.keys import cursors_of, duplicate_count, keys_of
from ingestion.trial.offers import Offer, chosen, offers_of
from ingestion.trial.place import Place, open_place
from ingestion.trial.places import note_places
from ingestion.trial.profile import Profile, profiles_of
from ingestion.trial.sample import Sample, read_sample, request_of
from ingestion.trial.services import PORTALS
from ingestion.trial.writing import Draft, brick_yaml, name_of, staged, titled

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Brick

FEW_ROWS, SLOW_SECONDS, HEAVY_BYTES = 20, 3.0, 50 << 20


@dataclass
class Trial:
    """What a trial found; `good` and `bad` are told as they are, `bad` with what to do. `draft` is None where no brick can be written."""

    place: Place
    offers: list[Offer]
    offer: Offer
    sample: Sample
    profiles: list[Profile]
    keys: list[tuple[str, ...]]
    cursors: list[str]
    draft: Draft | None = None
    brick: Brick | None = None
    landed: dict[str, Any] = field(default_factory=dict)
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


@contextmanager
def trying(
    given: str,
    name: str | None = None,
    *,
    table: str | None = None,
    key: tuple[str, ...] = (),
    licence: str | None = None,
    communes: Collection[str] = (),
    today: dt.date | None = None,
) -> Iterator[Trial]:
    """Try a place, and hold its sample meanwhile; raises SourceError, with the mend, where it cannot be tried.

    `table` is the one of its offers to sample, `key` the columns of its key where who tries knows them better, `communes` the codes of
    the reference, where one is landed.
    """
    with tempfile.TemporaryDirectory(prefix="orchestra-trial-") as held:
        folder = Path(held)
        with connect(folder / "spill") as connection:
            place = open_place(given, folder, connection)
            offers = offers_of(place, folder)
            if not offers:
                raise SourceError(f"{place.address}: it is {place.found.told}, of which none is read. Mend: give one of its files.")
            if table is None and len(offers) > 1 and (place.found.connector in PORTALS or offers[0].at_place):
                told = f"{place.address}: it is {place.found.told}, which offers {len(offers)} tables or more"
                raise SourceError(f"{told}. Mend: --catalog lists them, --table says which one to sample")
            offer = chosen(offers, table)
            if offer.at_place:
                place, offer = _opened(offer, folder, connection)
            trial = _try(place, offers, offer, connection, folder, communes)
            trial.draft = _draft(trial, name, key, licence, today or dt.datetime.now(dt.UTC).date())
            _judge(trial)
            if trial.draft:
                _land(trial, trial.draft, folder)
            yield trial


def offered(given: str) -> tuple[Place, list[Offer]]:
    """Say what a place is and what it offers, without sampling any of it; raises SourceError."""
    with tempfile.TemporaryDirectory(prefix="orchestra-trial-") as held, connect(Path(held) / "spill") as connection:
        place = open_place(given, Path(held), connection)
        return place, offers_of(place, Path(held))


def _opened(offer: Offer, folder: Path, connection: duckdb.DuckDBPyConnection) -> tuple[Place, Offer]:
    """Open what a catalogue says is at an address, and give it with what the catalogue says of it."""
    inner = folder / "resource"
    inner.mkdir()
    place = open_place(offer.at_place, inner, connection)
    found = offers_of(place, inner)
    if not found:
        raise SourceError(f"{place.address}: it is {place.found.told}, of which none is read. Mend: another resource (--table).")
    return place, replace(found[0], name=offer.name, title=offer.title, licence=offer.licence, producer=offer.producer)


def _try(
    place: Place, offers: list[Offer], offer: Offer, connection: duckdb.DuckDBPyConnection, folder: Path, communes: Collection[str]
) -> Trial:
    spool = folder / "spool"
    spool.mkdir()
    request = request_of(offer.at or offer.endpoint, offer.connector, offer.of_brick, offer.of_table, connection=connection, spool=spool)
    try:
        sample = read_sample(request, offer.connector)
    except SourceError as error:
        told = str(error).replace("trial.sample: ", "").replace("trial: ", f"{place.address}: ", 1)
        raise SourceError(told if "Mend: " in told else f"{told}. Mend: ask its producer for one that can be read") from None
    profiles = profiles_of(sample)
    note_places(sample, profiles, communes)
    return Trial(place, offers, offer, sample, profiles, keys_of(sample, profiles) if sample.row_count else [], cursors_of(profiles))


def _draft(trial: Trial, name: str | None, key: tuple[str, ...], licence: str | None, today: dt.date) -> Draft | None:
    """Draft the brick of the table that was sampled; None where none can be, which `bad` says."""
    offer, own = trial.offer, {column.name for column in trial.profiles}
    if unknown := [each for each in key if each not in own]:
        raise SourceError(f"{unknown[0]}: no column is called so. Mend: one of {', '.join(sorted(own)[:30])}")
    found = key or next(iter(trial.keys), ())
    if offer.why_not:
        trial.bad.append(offer.why_not)
        return None
    if not found:
        return None
    nulls = _null_words(trial)
    decimals = {column.decimal for column in trial.profiles if column.decimal}
    of_table = dict(offer.of_table)
    if nulls:
        of_table["null_values"] = list(nulls)
    if decimals == {","}:
        of_table["decimal"] = ","
    elif "," in decimals:  # numbers are written in two ways: those of the fewer stay texts
        for column in trial.profiles:
            if column.decimal == ",":
                column.data_type, column.note = "string", "a number with a comma, where others have a point: kept as a text"
    if thousands := next((column.thousands for column in trial.profiles if column.thousands), None):
        of_table["thousands"] = thousands
    stem = Path(offer.name).name.split(".")[0] or "rows"
    host = urlsplit(offer.endpoint).hostname if "://" in offer.endpoint else None
    return Draft(
        name=name or name_of(f"{host.split('.')[-2] if host and '.' in host else ''} {stem}", "source"), table=name_of(stem, "rows"),
        title=titled(offer.title or stem), connector=offer.connector, endpoint=offer.endpoint, of_brick=offer.of_brick, of_table=of_table,
        columns=tuple(trial.profiles), key=tuple(found), producer=offer.producer or host, licence=licence or offer.licence,
        homepage=None, tried_on=today.isoformat(), crs=None,
    )  # fmt: skip


def _null_words(trial: Trial) -> dict[str, None]:
    """Give the words that stand for a missing value in the table; a column whose word is a value of another one stays a text."""
    told: dict[str, None] = {}
    texts = [column for column in trial.profiles if column.data_type == "string" and column.filled]
    for column in trial.profiles:
        held = [word for word in column.null_values if any(_holds(trial, other, word) for other in texts)]
        if held:
            column.data_type, column.date_format, column.decimal, column.thousands = "string", None, None, None
            column.note = f"a number but for {', '.join(held)}, which is a value of another column: kept as a text"
            column.null_values = ()
        told |= dict.fromkeys(column.null_values)
    return told


def _holds(trial: Trial, column: Profile, word: str) -> bool:
    asked = f"select count(*) from sample where trim(c{column.number}) = {literal(word)}"
    count: int = trial.sample.connection.execute(asked).fetchall()[0][0]
    return count > 0


def _judge(trial: Trial) -> None:
    """Say what is good and what is bad of a source for who would read it for years."""
    sample, place, good, bad = trial.sample, trial.place, trial.good, trial.bad
    licence = trial.draft.licence if trial.draft else trial.offer.licence
    duplicates = duplicate_count(sample) if sample.row_count else 0
    personal = ", ".join(column.name for column in trial.profiles if column.personal)
    key, more = ", ".join(next(iter(trial.keys), ())), "" if place.is_whole else ", and more that was not read"
    tests = (
        (licence not in (None, UNKNOWN), f"licence: {licence}", "no licence is told: ask its producer for one (--licence)"),
        (bool(key), f"key: {key}", "no set of three columns identifies its rows: say which do (--key)"),
        (bool(trial.cursors), f"cursor: {', '.join(trial.cursors[:3])}", "no column tells what is new: all of it is read each time"),
        (not duplicates, "no row comes twice", f"{duplicates} rows are another one to the letter"),
        (sample.row_count >= FEW_ROWS, f"{sample.row_count} rows sampled", f"{sample.row_count} rows: too few to tell types and keys by"),
        (place.size < HEAVY_BYTES and place.is_whole, f"{place.size} bytes", f"heavy: {place.size} bytes{more}"),
        (not personal, "no column looks personal", f"{personal}: what looks personal is dropped until somebody decides"),
        (not sample.refused, "every file was read", f"{len(sample.refused)} files cannot be read: {'; '.join(sample.refused[:2])}"),
        (not place.is_url or place.seconds < SLOW_SECONDS, "", f"slow: {place.seconds:.1f} s for {place.size} bytes"),
    )
    for is_good, told, otherwise in tests:
        if kept := told if is_good else otherwise:
            (good if is_good else bad).append(kept)
    if place.is_url and not {"etag", "last-modified"} & place.headers.keys() and place.headers:
        bad.append("its answer tells no version (ETag, Last-Modified): all of it is read to know whether it has changed")
    if not place.is_url:
        bad.append("it stands on this machine: say the folder or the address where its producer leaves it (`endpoint`)")
    if trial.draft and (left := len(trial.profiles) - len(staged(trial.draft)) - sum(bool(each.personal) for each in trial.profiles)):
        bad.append(f"{len(sample.names)} columns: its staging leaves {left} out, the brick lands them all")


def _land(trial: Trial, draft: Draft, folder: Path) -> None:
    """Land the sample as the brick that was drafted would, in a folder that goes: what is kept, what is refused and why."""
    from ingestion.census import read_brick
    from ingestion.declaration import BrickError
    from ingestion.position import Position
    from ingestion.refusal import reasons_before_judging
    from ingestion.staging import stage

    work = folder / "landed"
    work.mkdir()
    path = work / f"{draft.name}.yml"
    path.write_text(brick_yaml(draft), encoding="utf-8")
    try:
        brick = read_brick(path)
    except BrickError as error:
        trial.bad.append(f"the brick that was drafted is not what the contract asks: {error}")
        trial.draft = None
        return
    trial.brick, table, reading = brick, brick.tables[0], trial.sample.reading
    typed = frozenset(column.name for column in table.columns if column.data_type != "string" and not column.meta.mask)
    reading.request = replace(reading.request, brick=brick.name, table=table.name, columns=table.source_columns, typed=typed)
    held = stage(trial.sample.connection, brick, table, reading, work, dt.datetime.now(dt.UTC), Position())
    told = trial.landed = {name: held.record.get(name) for name in ("kept", "refused", "lines", "refused_files")}
    for reason in reasons_before_judging(held) if trial.sample.is_whole else ():
        trial.bad.append(f"a load of it would be refused: {reason}")
    distinct = _distinct_keys(trial, held.files, draft.key)
    if distinct < told["kept"] - duplicate_count(trial.sample):
        trial.bad.append(f"{', '.join(draft.key)}: {distinct} values in {told['kept']} rows once landed: it is no key (--key)")
    if told["refused"]:
        trial.bad.append(f"{told['refused']} of {told['kept'] + told['refused']} rows would be refused")


def _distinct_keys(trial: Trial, files: list[Path], key: tuple[str, ...]) -> int:
    """Count the values of a key in the rows that were kept, as they landed."""
    names = ", ".join(quoted(declared_name(name)) for name in key)
    kept = f"read_parquet({listed(map(str, files))}, union_by_name = true) where _refused.rule is null"
    count: int = trial.sample.connection.execute(f"select count(distinct ({names})) from {kept}").fetchall()[0][0] if files else 0
    return count

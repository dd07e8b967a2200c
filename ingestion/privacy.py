"""No clear value of a personal column lands: masks are expressions of landing's one SELECT, by one key and one list of zones.

The key never stands in SQL text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick
from ingestion.casting import json_place
from ingestion.clear import Mask, landed_masks, names_of
from ingestion.column import Column
from ingestion.declaration import BrickError
from ingestion.entries import Entry
from ingestion.journal import Journal
from ingestion.keyed import hmac_sql, let_know
from ingestion.lake import literal, load_extension, quoted
from ingestion.territory import read_territory

if TYPE_CHECKING:
    import duckdb

KEY = "ORCHESTRA_PSEUDONYM_KEY"
# How a text is written before it is hashed; each lake keeps, by domain, the one that it began with.
AS_IT_STANDS, NORMAL = FORMS = (1, 2)
FEWEST_HOUSEHOLDS = 11  # below, a zone tells of its households one by one (as INSEE's grids do, which show none with fewer)
# What parts words: separators of Unicode, and the controls that break a line or a field.
BLANKS = r"[\pZ\x09-\x0d\x1c-\x1f\x{85}]+"


@dataclass(frozen=True)
class Masks:
    """By what the personal columns of a brick are masked: what is told of the key of its pseudonyms, and the digest of its zones."""

    pseudonyms: dict[str, Any] | None = None
    zones: str | None = None

    @property
    def form(self) -> int:
        """How a text is written before it is hashed: one of FORMS."""
        return int((self.pseudonyms or {"form": NORMAL}).get("form", AS_IT_STANDS))

    def told(self) -> dict[str, Any]:
        """Give what an entry says of them."""
        return {"pseudonyms": self.pseudonyms, **({"zones": self.zones} if self.zones else {})}


def prepare(connection: duckdb.DuckDBPyConnection, brick: Brick, masks: Masks | None = None) -> None:
    """Make a connection ready for the masks of a brick: the key and the form as session variables, the zones as a table.

    Raises BrickError when the key or the zones are missing: nothing lands then.
    """
    if _has(brick, "pseudonym"):
        let_know(connection, "mask", pseudonym_key(_master(brick), str(brick.meta.pseudonym_domain)))
        connection.execute(f"set variable mask_form = {(masks or Masks()).form}")
    if _has(brick, "zone"):
        zones, _ = _zones(brick)
        load_extension(connection, "spatial")
        connection.execute(
            "create or replace temp table zones as select feature->'properties'->>'code' as code, "
            "st_geomfromgeojson(feature->>'geometry') as shape from (select unnest(from_json(content->'features', '[\"JSON\"]')) "
            f"as feature from read_text({literal(zones)}))"
        )


def masks_of(journal: Journal, brick: Brick) -> Masks:
    """Give by what a brick is masked. Raises BrickError where one person, or place, would be two with the loads that stand.

    So it is by another key, domain or list of zones, and where a mask was taken off.
    """
    loads = journal.loads(brick.name)
    _keep_masks(journal, brick, loads.values())
    zones = _zones(brick)[1] if _has(brick, "zone") else None
    for load in loads.values():
        if zones and load.get("zones") not in (None, zones):
            raise BrickError(
                f"{brick.name}: the zones of {read_territory().zones} are not those by which load {load['load_id']} was masked: one place "
                "would be in two. Mend: put that GeoJSON back; or drop the loads of the brick and read them again (orchestra loads drop "
                f"{load['load_id']} --refetch)."
            )
    return Masks(_pseudonyms(journal, brick) if _has(brick, "pseudonym") else None, zones)


def _has(brick: Brick, mask: str) -> bool:
    return any(column.meta.mask == mask for table in brick.tables for column in table.columns)


def _master(brick: Brick) -> str:
    master = os.environ.get(KEY, "")
    if len(master) < 16:
        raise BrickError(f"{brick.name}: has personal columns and {KEY} is not set (16 characters at least). Mend: set it, and keep it.")
    return master


def _zones(brick: Brick) -> tuple[str, str]:
    """Give the GeoJSON of the zones and a digest of what it says: their codes and shapes, in whatever order.

    Raises BrickError for none, for a zone without a code, and for one of so few households that it tells of each.
    """
    zones = read_territory().zones
    if zones is None or not Path(zones).exists():
        raise BrickError(f"{brick.name}: mask zone needs the GeoJSON that `zones` of territory.yml names ({zones}).")
    try:
        found = [(zone["properties"], zone["geometry"]) for zone in json.loads(Path(zones).read_bytes())["features"]]
        told = [(str(properties["code"]), properties.get("households"), shape) for properties, shape in found]
    except (ValueError, TypeError, KeyError) as error:
        raise BrickError(f"{brick.name}: {zones} is no GeoJSON of zones with a `code` each ({type(error).__name__}: {error}).") from error
    small = [code for code, households, _ in told if not isinstance(households, int | float) or households < FEWEST_HOUSEHOLDS]
    if small:
        raise BrickError(
            f"{brick.name}: {len(small)} zones of {zones} ({', '.join(sorted(small)[:5])}) tell no `households`, or fewer than "
            f"{FEWEST_HOUSEHOLDS}: who lives alone in a zone is told by its code. Mend: merge each with a neighbour in that file, and "
            "say how many households each zone holds."
        )
    digest = hashlib.sha256(json.dumps(sorted([code, json.dumps(shape, sort_keys=True)] for code, _, shape in told)).encode())
    return zones, digest.hexdigest()[:32]


def _keep_masks(journal: Journal, brick: Brick, loads: Iterable[Entry]) -> None:
    """Raise BrickError for a column that landed masked and that would land in clear now."""
    declared = {(name, load["contract"][name]): load for load in loads for name, record in load["tables"].items() if record["files"]}
    for (name, _), load in declared.items():
        positions = [column.get("position") or () for column in journal.declaration(load, name)["columns"]]
        masks = landed_masks(journal, load, name) | {each.casefold(): "zone" for position in positions for each in position}
        # A table that was renamed is known by none of the names of today.
        of_today = [t for t in brick.tables if t.name == name] or [t for t in brick.tables if t.name not in load["tables"]]
        off = [c.name for t in of_today for c in t.columns if any(_shows_more(c, masks.get(each)) for each in names_of(c))]
        if not brick.has_personal:  # what it does not declare would land as it is
            off = off or sorted(each for each, mask in masks.items() if mask)
        if off:
            raise BrickError(
                f"{brick.name}.{name}: {', '.join(off)} landed masked (load {load['load_id']}), and would land in clear now. Mend: declare "
                f"its mask, or its `personal_paths`, again; or give these loads up first (orchestra loads drop {load['load_id']} --forget)."
            )


def _shows_more(column: Column, landed: Mask) -> bool:
    """Say whether a column shows today what it landed without."""
    if not landed or column.meta.mask:
        return False
    return isinstance(landed, str) or not set(landed) <= set(column.meta.personal_paths or ())


def _pseudonyms(journal: Journal, brick: Brick) -> dict[str, Any]:
    """Give what an entry says of the key of a brick's pseudonyms: domain, salt, check, and the form of what is hashed.

    The check is scrypt (RFC 7914) of the domain's key and the salt of the first load of the domain: it tells the key apart and
    costs who guesses it as much as each guess of a password does. A lake that holds none yet adopts the present key. Raises
    BrickError for another key, or another domain, than the one by which the loads that stand were masked.
    """
    domain, key = str(brick.meta.pseudonym_domain), pseudonym_key(_master(brick), str(brick.meta.pseudonym_domain))
    told = [(load, load["pseudonyms"]) for load in journal.loads().values() if load.get("pseudonyms")]
    for load, held in told:
        if load["brick"] == brick.name and held["domain"] != domain:
            raise BrickError(
                f"{brick.name}: its pseudonyms are of domain '{held['domain']}' (load {load['load_id']}), not '{domain}': each person "
                f"would be two. Mend: `pseudonym_domain: {held['domain']}`; or drop the loads of {brick.name} and read them again "
                f"(orchestra loads drop {load['load_id']} --refetch)."
            )
    first = next(((load, held) for load, held in told if held["domain"] == domain), None)
    salt = first[1]["salt"] if first else secrets.token_hex(16)
    check = hashlib.scrypt(key, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32).hex()
    if first and not hmac.compare_digest(first[1]["check"], check):
        raise BrickError(
            f"{brick.name}: {KEY} is not the key by which the pseudonyms of domain '{domain}' were made in this lake (load "
            f"{first[0]['load_id']} of {first[0]['brick']}): each person would be two. Mend: set that key again; if it is lost, drop the "
            f"loads of this domain and read them again (orchestra loads drop {first[0]['load_id']} --refetch)."
        )
    untold = next((load for load in journal.loads(brick.name).values() if _holds_untold(journal, load)), None)
    form = first[1].get("form", AS_IT_STANDS) if first else AS_IT_STANDS if untold else NORMAL
    if untold and form != AS_IT_STANDS:
        raise BrickError(
            f"{brick.name}: load {untold['load_id']} holds pseudonyms of texts as they stood, and the others of domain '{domain}' are of "
            f"their normal form: each person would be two. Mend: read it again (orchestra loads drop {untold['load_id']} --refetch)."
        )
    return {"domain": domain, "salt": salt, "check": check, "form": form}


def _holds_untold(journal: Journal, load: Entry) -> bool:
    """Say whether a load holds pseudonyms, and does not say by which key: it is of before that could be said."""
    held = (name for name, record in load["tables"].items() if record["files"])
    return not load.get("pseudonyms") and any("pseudonym" in landed_masks(journal, load, name).values() for name in held)


def told_form(brick: Brick, masks: Masks) -> str | None:
    """Say what the first form of pseudonyms does not bring together, None for the normal one."""
    if not _has(brick, "pseudonym") or masks.form == NORMAL:
        return None
    return (
        f"the pseudonyms of domain '{brick.meta.pseudonym_domain}' are of texts as they stand: in other capitals, or with accents apart, "
        "one person is two. Mend: drop the loads of the bricks of this domain and read them again (orchestra loads drop <id> --refetch)"
    )


def pseudonym_key(master: str, domain: str) -> bytes:
    """Derive the key of a domain, so that a pseudonym joins inside its domain only."""
    return hmac.new(master.encode(), domain.encode(), hashlib.sha256).digest()


def masked(column: Column, text: dict[str, str]) -> str:
    """Write the expression that lands in place of a personal column, from the text expressions of its source columns.

    A pseudonym is HMAC-SHA256 (RFC 2104) in hexadecimal of the text in its normal form; a zone is the code of the zone that holds
    the position, NULL outside of all.
    """
    if column.meta.mask == "pseudonym":
        value = f"case when getvariable('mask_form') = {AS_IT_STANDS} then trim({text[column.name]}) else {normal(text[column.name])} end"
        return f"case when {value} <> '' then {hmac_sql('mask', value)} end"
    if column.meta.position:
        x, y = (f"try_cast(replace({text[name]}, ',', '.') as double)" for name in column.meta.position)
        return f"(select min(zones.code) from zones where st_intersects(zones.shape, st_point({x}, {y})))"
    raise ValueError(f"{quoted(column.name)} has no mask")


def without_paths(column: Column, value: str) -> str:
    """Write a JSON value without the keys that are personal (RFC 7396), whether their accents stand apart or not.

    A list, or a text, in which one would be looked for goes whole; what does not hold the first key of a path stays as it is.
    """
    patches: dict[str, dict[str, Any]] = {}  # by first key
    for path in column.meta.personal_paths or ():
        for form in sorted({unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)}):
            first, *rest = form.split(".")
            place: Any = patches.setdefault(first, {})
            for key in (first, *rest)[:-1]:
                place = place if place is None else place.setdefault(key, {})
            if place is not None:  # else all that stands above goes
                place[form.rpartition(".")[2]] = None
    patched = [
        f"case when json_exists({value}, {json_place(first)}) then {literal(json.dumps(patch))} else '{{}}' end::json"
        for first, patch in patches.items()
    ]
    left = f"case when json_type({value}) = 'OBJECT' then json_merge_patch(({value})::json, {', '.join(patched)}) else '{{}}'::json end"
    return f"case when {value} is not null then ({left})::varchar end"


def normal(text: str) -> str:
    """Write the normal form of a text: NFC, capitals folded (and `ß` as `ss`), blanks around it removed and one between words."""
    folded = f"replace(nfc_normalize(lower(upper(nfc_normalize({text})))), 'ß', 'ss')"
    return f"trim(regexp_replace({folded}, {literal(BLANKS)}, ' ', 'g'))"

"""What a format reads whole, though it looks like an archive or like another kind of file, or is several files in one."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ingestion.connectors import MissingFile, Reading, Request, SourceError, UnreadableFile
from ingestion.connectors.stores import Store, StoreEntry, Taken
from ingestion.formats.features import IN_BUNDLE, SIDECARS
from ingestion.formats.outlines import Outlines
from ingestion.formats.spool import Spool

# What files begin with that a format takes as they are.
BEGINNINGS = {"spreadsheet": (b"\xd0\xcf\x11\xe0",), "geopackage": (b"SQLite format 3",)}
# What the files of a format that stand among others are called.
OWN = {"shapefile": (".shp",), "geotiff": (".tif", ".tiff")}
BLOCK = 1 << 20


def is_whole(form: str, start: bytes) -> bool:
    """Say whether a file that begins so is what a format reads, and no archive of it."""
    return start.startswith(BEGINNINGS.get(form, ()))


def is_workbook(form: str, archive: zipfile.ZipFile) -> bool:
    """Say whether what looks like a zip is a workbook, where one is awaited."""
    return form == "spreadsheet" and any(name.startswith("xl/") or name == "content.xml" for name in archive.namelist())


def check_journal(form: str, store: Store, file: StoreEntry) -> None:
    """Raise UnreadableFile for a GeoPackage of a folder that is being written: what its journal holds is not in it yet."""
    if form == "geopackage" and isinstance(store.root, Path):
        journals = [Path(store.root, f"{store.own_name(file.name)}-{kind}") for kind in ("wal", "journal")]
        if any(journal.exists() and journal.stat().st_size for journal in journals):
            raise UnreadableFile(f"{file.name} is being written: its journal stands beside it. Mend: close what writes it, then try again.")


def is_aside(form: str, name: str) -> bool:
    """Say whether a member of an archive is none that a format reads by itself: what stands beside a Shapefile or a GeoTIFF."""
    return form in OWN and PurePosixPath(name).suffix.lower() not in (*OWN[form], ".zip", ".7z", ".gz", ".bz2", ".xz", ".zst")


def is_shape(form: str, name: str) -> bool:
    """Say whether a file is one of several that are read as one."""
    return form == "shapefile" and name.lower().endswith(".shp")


def asked_anew(request: Request, reading: Reading, outlines: Outlines) -> Request:
    """Give what is asked: all files again where the outlines by which they land have changed; raises SourceError without these."""
    try:
        digest = outlines.digest()
    except ValueError as error:
        raise SourceError(f"{request.brick}.{request.table}: {error}.") from error
    was, reading.position["outlines"] = request.position.get("outlines"), digest
    return request if was in (None, digest) else replace(request, known={})


def bundle_of(archive: zipfile.ZipFile, shape: zipfile.ZipInfo, target: BinaryIO) -> BinaryIO:
    """Write what belongs to a .shp of an archive as one bundle."""
    own = PurePosixPath(shape.filename)
    found = {}
    for member in archive.infolist():
        place = PurePosixPath(member.filename)
        if place.parent == own.parent and place.stem == own.stem and place.suffix.lower() in SIDECARS:
            found[place.suffix.lower()] = member
    with zipfile.ZipFile(target, "w") as bundle:
        for kind, member in found.items():
            with archive.open(member) as source, bundle.open(f"{IN_BUNDLE}{kind}", "w", force_zip64=True) as part:
                shutil.copyfileobj(source, part, BLOCK)
    target.seek(0)
    return target


def read_shapefile(store: Store, file: StoreEntry, known: str | None, spool: Spool, take: Callable[[BinaryIO], Any]) -> Taken | None:
    """Give what `take` makes of the bundle of a .shp and of what stands beside it in a store; None when all of it still is `known`.

    Raises MissingFile where the .shp itself is not there.
    """
    was: dict[str, str] = json.loads(known) if known and known.startswith("{") else {}
    copies: dict[str, Taken] = {}
    signatures: dict[str, str] = {}

    def copied(stream: BinaryIO) -> BinaryIO:
        copy = spool.temporary()
        shutil.copyfileobj(stream, copy, BLOCK)
        copy.seek(0)
        return copy

    def fetch(kind: str, last: str | None) -> None:
        own = file.name[-4:]
        entry = replace(file, name=file.name[:-4] + (kind.upper() if own.isupper() else kind), signature=None)
        try:
            taken = store.read(file if kind == ".shp" else entry, last, copied)
        except MissingFile:
            if kind == ".shp":
                raise
            return
        signatures[kind] = taken.signature if taken else last or ""
        if taken:
            copies[kind] = taken

    try:
        for kind in SIDECARS:
            fetch(kind, was.get(kind))
        if not copies and signatures == was:
            return None
        for kind in signatures.keys() - copies.keys():
            fetch(kind, None)
        with spool.temporary() as target:
            with zipfile.ZipFile(target, "w") as bundle:
                for kind, taken in copies.items():
                    with bundle.open(f"{IN_BUNDLE}{kind}", "w", force_zip64=True) as part:
                        shutil.copyfileobj(taken.content, part, BLOCK)
            target.seek(0)
            modified = max((taken.modified for taken in copies.values() if taken.modified), default=None)
            return Taken(take(target), json.dumps(signatures, sort_keys=True), modified)
    finally:
        for taken in copies.values():
            taken.content.close()

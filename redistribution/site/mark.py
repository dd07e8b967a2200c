"""What a site has reached stands beside its pages: a page that is gone, or is not what was written, is seen by it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingestion.journal import Journal
from ingestion.lake import Lake
from ingestion.verify import Fault
from redistribution.site import standing_sites

log = logging.getLogger("orchestra")

MARK = ".seq"


@dataclass
class Mark:
    """What a site has reached: its place in the history, what it was made with, and of each file what it was made of, and its digest."""

    seq: int = 0
    digest: str = ""
    made_with: str = ""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)


def read_mark(lake: Lake, journal: Journal, folder: str) -> Mark:
    """Read the mark of a site; an empty one, and said, for a site of another history."""
    try:
        told = json.loads(lake.read(f"{folder}/{MARK}") or b"{}")
        mark = Mark(told["seq"], told["digest"], told["made_with"], {name: (of, sha) for name, (of, sha) in told["files"].items()})
    except (ValueError, TypeError, KeyError):
        return Mark()
    if journal.follows(mark.seq, mark.digest):
        return mark
    log.warning(
        "%s follows another history than the journal of %s, which is at %s: it is made again from zero", folder, lake.root, journal.seq
    )
    return Mark()


def site_faults(lake: Lake, journal: Journal) -> Iterator[Fault]:
    """Give what is wrong with the sites: files that are gone, pages that are not what was written; what lags behind is no fault."""
    for access_class in standing_sites(lake):
        folder = f"site/{access_class}"
        mark, existing = read_mark(lake, journal, folder), lake.names(folder)
        mend = f"orchestra site --class {access_class}"
        if not mark.files:
            yield Fault(f"{folder} is not whole, or follows another history", mend)
        for name, (_, sha) in mark.files.items():
            if f"{folder}/{name}" not in existing:
                yield Fault(f"{folder}/{name} is gone", mend)
            elif sha and sha_of(lake.read(f"{folder}/{name}") or b"") != sha:
                yield Fault(f"{folder}/{name} is not the page that was written", mend)


def sha_of(content: bytes) -> str:
    """Sum up the content of a file."""
    return hashlib.sha256(content).hexdigest()[:32]

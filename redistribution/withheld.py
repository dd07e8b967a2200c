"""What is withheld stays so, and readers keep the last good one, until it is good again or a steward accepts that very content."""

from __future__ import annotations

from typing import Any

from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from ingestion.particulars import UNKEPT
from redistribution.publications import RETRACTED


def still_withheld(journal: Journal) -> dict[str, Any]:
    """Give, by mart, what the last publication says of those that are withheld and were not published or withdrawn since."""
    last: dict[str, Any] = {}
    for entry in journal.of("publication"):
        told = entry["marts"].keys() | {name for name, record in entry["withdrawn"].items() if RETRACTED not in record}
        last = {name: record for name, record in last.items() if name not in told} | entry["withheld"]
    return {name: {"reasons": [UNKEPT], **journal.whole_mart(record)} for name, record in last.items()}


def withheld_since(journal: Journal) -> dict[str, str]:
    """Give, by mart, when a publication last withheld it (ISO, UTC)."""
    return {name: entry["at"] for entry in journal.of("publication") for name in entry["withheld"]}


def why_withheld(name: str, record: dict[str, Any]) -> str:
    """Say why a mart is withheld, and the mend where a steward may accept it."""
    told = "; ".join(record["reasons"])
    mend = f"its models or expectations/marts/{name}.yml; or accept that content: orchestra marts accept {name} --why '...'"
    return f"{told}. Mend: {mend}" if record.get("is_judged") else told


def accept_mart(lake: Lake, journal: Journal, name: str, why: str) -> int:
    """Accept what is withheld of a mart, with a reason: that very content is published, once; give the journal's entry.

    Raises LakeError for a mart that is not withheld, or that its gate has not judged: a fault of class, or of a build, stands.
    """
    with lake.lock("publish", wait=60):
        journal.refresh()
        record = still_withheld(journal).get(name)
        if record is None:
            raise LakeError(f"mart {name} is not withheld. Mend: nothing is to be accepted; see orchestra status")
        if not record.get("is_judged"):
            raise LakeError(f"mart {name}: {'; '.join(record['reasons'])}. Nobody can accept that: mend it, then orchestra run")
        return journal.append("accept", mart=name, digests=record["digests"], judged_by=record["judged_by"], why=why)


def accepted_because(journal: Journal, name: str, record: dict[str, Any]) -> str | None:
    """Say why a steward accepted this very content of a mart, judged by this; None when nobody did since it was last published."""
    content = (record["digests"], record["judged_by"])
    for entry in reversed(journal.entries):
        if entry["kind"] == "publication" and name in entry["marts"]:
            return None
        if entry["kind"] == "accept" and entry["mart"] == name:
            return str(entry["why"]) if (entry["digests"], entry["judged_by"]) == content else None
    return None

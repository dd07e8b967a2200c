"""What the steps of a run gave: what failed is told as a failure, never left out; a run without failures is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingestion.entries import Entry
from ingestion.landing import Landed
from ingestion.steward import mend_of
from redistribution.site import Site
from redistribution.withheld import why_withheld


@dataclass
class LandStep(Landed):
    """What landing one brick gave: a load, nothing new, or why it failed.

    `may_pass` says that what failed may go well the next minute, as a network does. `skipped` says why it is not plugged in,
    `late` that its source has given nothing for longer than it should, `refused` which older loads of it stand refused, or could
    not read some files, and why, by load.
    """

    error: str | None = None
    may_pass: bool = False
    skipped: str | None = None
    late: str | None = None
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Say why the step failed, or its load was refused, and which older loads stand refused."""
        told = [f"landing {self.brick}: {self.error}"] if self.error else []
        if self.entry and self.entry["verdict"] == "refused":
            told.append(f"load {self.entry['load_id']} refused: {'; '.join(self.entry['reasons'])}. {mend_of(self.entry)}")
        return [*told, *self.refused.values()]

    @property
    def warnings(self) -> list[str]:
        """Say what its reading and the expectations of the brick warn of, and whether its source is late."""
        told = self.warned + _warned(f"{self.brick}.", self.entry["tables"] if self.entry else {})
        return [*told, f"{self.brick}: {self.late}"] if self.late else told


@dataclass
class MaskStep:
    """What masking older loads gave: by brick, the loads that were written again; what could not be done, and why.

    `taken_away` are the marts that readers had of what is personal now. `may_pass` says that what failed may go well the next minute.
    """

    masked: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    taken_away: list[str] = field(default_factory=list)
    may_pass: bool = False
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Say what could not be done, and why: nothing made of a brick that is not masked is published."""
        return [f"{what}: {why}" for what, why in self.errors.items()]

    @property
    def warnings(self) -> list[str]:
        """Say what readers have lost."""
        names = ", ".join(self.taken_away)
        return [f"taken away from readers with their past, for they were made of what is personal now: {names}"] if names else []


@dataclass
class BuildStep:
    """What dbt built: its nodes with their time, and the failures told in words; no node when nothing was behind.

    `unreached` says, by node, why it is to be built again: it failed, a test of it failed, or what it is made of did.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    footprint: dict[str, float] = field(default_factory=dict)
    unreached: dict[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Say what dbt's tests found and that stops nothing: rows that mean little, to be mended at their source."""
        return [f"{n['kind']} {n['name']}: {n['message']}" for n in self.nodes if n["status"] == "warn"]


@dataclass
class PublishStep:
    """What was published: a journal entry, or None when nothing had changed; the snapshot of it in each class.

    `withheld` are the marts that an earlier run withheld, and why; `sites` the sites that followed, and what was written of them.
    """

    entry: Entry | None = None
    footprint: dict[str, float] = field(default_factory=dict)
    snapshots: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Say which marts were withheld, or still are, and why (readers have an older version), and which pages of the sites failed."""
        withheld = self.entry["withheld"] if self.entry else {}
        told = [f"mart {name} withheld: {why_withheld(name, record)}" for name, record in withheld.items()]
        told += [f"mart {name} still is withheld: {why}" for name, why in self.withheld.items()]
        return told + [failure for site in self.sites for failure in site.failures]

    @property
    def warnings(self) -> list[str]:
        """Say what the expectations of marts warn of."""
        return _warned("mart ", self.entry["marts"] if self.entry else {})


@dataclass
class Outcome:
    """A whole run; `data_docs` is the page of what its gates judged, None when they judged nothing."""

    run_id: str
    mask: MaskStep | None = None
    lands: list[LandStep] = field(default_factory=list)
    build: BuildStep | None = None
    publish: PublishStep | None = None
    data_docs: Path | None = None
    footprint: dict[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Say what failed, was refused or withheld; nothing when the run is done."""
        return [failure for step in self.steps() for failure in step.failures]

    @property
    def warnings(self) -> list[str]:
        """Say what stops nothing and is to be mended at its source."""
        return [warning for step in self.steps() for warning in step.warnings]

    def steps(self) -> list[MaskStep | LandStep | BuildStep | PublishStep]:
        """Give the steps that were taken."""
        return [*([self.mask] if self.mask else []), *self.lands, *(step for step in (self.build, self.publish) if step)]


def _warned(prefix: str, records: dict[str, Any]) -> list[str]:
    """Say what the profiles of tables or marts warn of."""
    return [f"{prefix}{name}: {told}" for name, record in records.items() for told in record.get("profile", {}).get("warnings", [])]

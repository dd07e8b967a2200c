"""Take back for good what is erased or has expired: readers lose it first, then the lake, then every place on the list."""

from __future__ import annotations

from collections.abc import Sequence

from flows.dbt_process import written_by_dbt
from flows.outcome import MaskStep, Outcome
from flows.places import begin, clean, is_begun
from flows.steps import WAIT, Progress, new_run_id, run_chain, silent, take_away, told_in, turn
from ingestion.brick import Brick
from ingestion.erased_keys import Key
from ingestion.erasing import Erased, erase_rows
from ingestion.expiry import Expired, clock_of, expire_loads, expired_tables, kept_since
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError
from redistribution.kept import kept_until
from redistribution.mart import Mart, read_marts


def erase(
    lake: Lake,
    brick: Brick,
    key: Key,
    why: str,
    progress: Progress = silent,
    *,
    table: str | None = None,
    forgets_kept: bool = False,
) -> tuple[list[Erased], Outcome]:
    """Erase the rows of a key for good: readers lose what was made of the brick, with its past, then the loads lose the rows.

    Where no load holds such a row, readers lose nothing, and none will land. What remains is built and published. Killed, the next run
    goes on. Raises BrickError or LakeError where it cannot be done, and where a mart would lose what it keeps of loads that have
    expired, unless it may.
    """
    with turn(lake, lambda told: progress(told, "")):
        journal = Journal(lake)
        if (kept := [m.name for m in _keeping(lake) if brick.name in m.sources and kept_until(journal, m.sources)]) and not forgets_kept:
            told = f"{', '.join(kept)} would lose the rows kept of loads that have expired, for nothing tells what they are made of"
            raise LakeError(f"{brick.name}: {told}. Mend: save files/<class>/<mart>.parquet if need be, then --forget-kept")
        progress("erase", "")

        def first() -> None:
            begin(lake)
            _take_from_readers(lake, journal, {brick.name: f"rows of {brick.name} are being erased"})

        try:
            erased = erase_rows(lake, journal, brick, [key], why, WAIT, table=table, first=first)
        finally:
            if is_begun(lake):
                clean(lake)
    return erased, run_chain(lake, {}, progress, ("build", "publish"))


def expire(lake: Lake, bricks: dict[str, Brick], progress: Progress = silent) -> tuple[list[Expired], Outcome]:
    """Let what is older than the retention of each brick go; what remains is built and published.

    Of a brick with personal columns readers lose first what was made of it, with its past: but for marts that say `keeps`.
    """
    with turn(lake, lambda told: progress(told, "")):
        journal, expired, step = Journal(lake), [], MaskStep()
        now = clock_of(journal)
        old = [brick for brick in bricks.values() if expired_tables(journal, brick, kept_since(brick, now))]
        if not old:
            return [], Outcome(new_run_id())
        progress("expire", "")
        begin(lake)
        if private := {brick.name: f"loads of {brick.name} have expired" for brick in old if brick.has_personal}:
            _take_from_readers(lake, journal, private, [mart.name for mart in _keeping(lake)])
        try:
            for brick in old:
                with told_in(step, f"expiry of {brick.name}"):
                    if (found := expire_loads(lake, journal, brick, now, WAIT)) is not None:
                        expired.append(found)
        finally:
            clean(lake)
    outcome = run_chain(lake, {}, progress, ("build", "publish"))
    if step.errors:
        outcome.mask = outcome.mask or step
        outcome.mask.errors |= step.errors
    return expired, outcome


def _take_from_readers(lake: Lake, journal: Journal, why: dict[str, str], spares: Sequence[str] = ()) -> list[str]:
    """Take away from readers, with its past, what was made of some bricks, but for spared marts; `why` says it, by brick."""
    with lake.lock("build", wait=WAIT) as held:
        return take_away(lake, journal, new_run_id(), held, is_parsed=False, why=why, spares=spares)


def _keeping(lake: Lake) -> list[Mart]:
    """Give the marts that keep rows of loads that have expired, as the project was last read."""
    manifest = written_by_dbt(lake, "manifest.json")
    return [mart for mart in read_marts(manifest, {}) if mart.keeps] if manifest else []

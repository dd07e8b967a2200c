"""Great Expectations judges sets of rows: what it cannot judge fails, and nothing of a private brick is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from expectations import docs
from expectations.suite import LANDED, MART, Expectation, LandedSuite, Suite, files_of_marts, place, read_suite
from ingestion.lake import Lake, LakeError, quoted

if TYPE_CHECKING:
    import duckdb

    from ingestion.brick import Brick

SEEN = ("observed_value", "unexpected_count", "partial_unexpected_list")  # what is told of a failed expectation


class Asked(NamedTuple):
    """What Great Expectations judges: a SELECT, what is expected of it, and the profile that holds the warnings."""

    name: str
    select: str
    expectations: Sequence[Expectation]
    profile: dict[str, Any]


def judge(lake: Lake, owner: str, connection: duckdb.DuckDBPyConnection, sets: list[Asked], *, is_private: bool) -> list[str]:
    """Have Great Expectations judge the sets of a load or a mart; give why they fail, and note in their profiles what only warns.

    What cannot be judged fails, whatever its severity: it would warn for ever of nothing.
    """
    reasons = []
    found = list(_results(connection, sets, is_private=is_private))
    docs.note(lake, owner, [(each.name if owner.startswith("marts/") else f"{Path(owner).name}.{each.name}", r) for each, r in found],
              is_private=is_private)  # fmt: skip
    for each, result in found:
        if result.success:
            continue
        wanted, told, is_judged = _told(result, is_private=is_private)
        if is_judged and wanted.severity == "warning":
            each.profile["warnings"].append(told)
        else:
            reasons.append(f"{each.name}: {told}")
    return reasons


def faults_of_suites(bricks: dict[str, Brick], marts: dict[str, dict[str, str]]) -> list[str]:
    """Try each expectation that is written on an empty table of its columns; say which cannot be judged, and what is of nobody.

    `marts` are the columns of each, by their type.
    """
    faults, sets = [], []
    for path in [*place("landed").glob("*.yml"), *files_of_marts()]:
        name, owner = f"{path.parent.name}/{path.name}", path.stem
        if owner not in (bricks if path.parent.name == "landed" else marts):
            faults.append(f"expectations/{name}: there is no {'brick' if path.parent.name == 'landed' else 'mart'} '{owner}'")
            continue
        suites = {owner: read_suite(Suite, name)} if path.parent.name == "marts" else read_suite(LandedSuite, name).tables
        for table, suite in suites.items():
            if owner in marts and path.parent.name == "marts":
                columns = marts[owner]
            elif found := next((each for each in bricks[owner].tables if each.name == table), None):
                columns = {column.name: column.sql_type for column in found.columns if column.is_landed}
            else:
                faults.append(f"expectations/{name}: '{table}' is no table of the brick")
                continue
            suite.tolerated(MART if path.parent.name == "marts" else LANDED)
            empty = ", ".join(f"null::{kind} as {quoted(column)}" for column, kind in columns.items())
            sets.append(Asked(f"expectations/{name}: {table}", f"select {empty} where false", suite.expectations, {}))
    with Lake().connect() as connection:
        tried = [each for each in sets if each.expectations]
        failed = [
            (of, _told(result, is_private=False)) for of, result in _results(connection, tried, is_private=False) if not result.success
        ]
        faults += [f"{of.name}: {told}" for of, (_, told, is_judged) in failed if not is_judged]
    return faults


def _results(connection: duckdb.DuckDBPyConnection, sets: list[Asked], *, is_private: bool) -> Iterator[tuple[Asked, Any]]:
    """Give what Great Expectations finds of sets: each set and each result of it."""
    import great_expectations as gx
    import sqlalchemy
    from duckdb_engine import ConnectionWrapper
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    from expectations import buffered_dialect  # noqa: F401  (registers duckdb+buffered)

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it has a level of its own
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
    source = context.data_sources.add_sql(
        name="set",
        connection_string="duckdb+buffered:///:memory:",
        kwargs={"creator": lambda: ConnectionWrapper(connection), "poolclass": sqlalchemy.pool.StaticPool},
    )
    shown: Any = "BOOLEAN_ONLY" if is_private else {"result_format": "BASIC", "partial_unexpected_count": 3}
    for number, each in enumerate(sets):
        view = f"set_{number}"
        connection.execute(f"create view {view} as {each.select}")
        asked = [ExpectationConfiguration(type=e.type, kwargs=e.kwargs, meta=e.model_dump()) for e in each.expectations]
        try:
            suite = gx.ExpectationSuite(name=view, expectations=[configuration.to_domain_obj() for configuration in asked])
        except (gx.exceptions.GreatExpectationsError, ValueError) as error:  # an unknown type, an argument that it has not
            raise LakeError(f"expectations of {each.name}: {' '.join(str(error).split())}") from error
        batch = source.add_table_asset(name=view, table_name=view).add_batch_definition_whole_table(view).get_batch()
        yield from ((each, result) for result in batch.validate(suite, result_format=shown).results)


def _told(result: Any, *, is_private: bool) -> tuple[Expectation, str, bool]:
    """Give what was expected in vain, what is said of it (the steward's reason, else what was asked and seen), whether it was judged."""
    wanted = Expectation(**result.expectation_config.meta)
    faults = [fault["exception_message"] for fault in result.exception_info.values() if isinstance(fault, dict)]
    if faults or result.exception_info.get("raised_exception"):
        mend = "Mend: expect it otherwise (`make check` tries what is written), or test it with dbt"
        why = "" if is_private else f": {(faults or [result.exception_info['exception_message']])[0]}"
        return wanted, f"{wanted.type} {wanted.kwargs} could not be judged{why}. {mend}", False
    seen = {name: value for name, value in (result.result or {}).items() if name in SEEN}
    return wanted, wanted.reason or f"{wanted.type} {wanted.kwargs}" + (f", seen {seen}" if seen else ""), True

"""What a load is summed up to is what its rows say, whatever footers tell and samples hold."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from conftest import House, column, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expectations import profile
from expectations.profile import days_of, profile_of
from ingestion.parquet import Footers, write

COLUMNS = [column("who"), column("at", "timestamptz"), column("day", "date"), column("since", "date", between=["2000-01-01", None]),
           column("n", "bigint"), column("note")]  # fmt: skip
NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
INSTANTS = st.datetimes(dt.datetime(1850, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC)) | st.sampled_from(
    [NOW, NOW + dt.timedelta(days=1.5), NOW + dt.timedelta(days=1.5, microseconds=1), NOW + dt.timedelta(days=2)]
)
DAYS = st.dates(dt.date(1850, 1, 1), dt.date(2030, 1, 1)) | st.sampled_from(
    [dt.date(1900, 1, 1), dt.date(1899, 12, 31), dt.date(2026, 6, 3)]
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), INSTANTS, st.none() | DAYS, st.none() | DAYS, st.none() | st.integers(0, 3),
        st.none() | st.sampled_from(["x", "Ã©", "é"]), st.sampled_from([False, False, False, True]),
    ), max_size=40,
)  # fmt: skip


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.sampled_from(["at", "day", None]), st.sampled_from(["changes", "whole"]), st.booleans(), st.sampled_from([5, 1_000_000]))
def test_a_profile_says_what_the_rows_do(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], cursor: str | None, delivers: str, is_few: bool, sample: int
) -> None:
    folder = tmp_path_factory.mktemp("profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "FEW_REFUSED", 1.0 if is_few else 0.00005)
        house = House(folder, patch)
        meta = {"delivers": delivers, **({"cursor": cursor} if cursor and delivers == "changes" else {})}
        told = table("items", COLUMNS, ["who", "at"], {"format": "csv", "path": "items.csv"}, **meta).copy()
        only = house.brick("shop", [told]).tables[0]
        with house.lake.connect() as connection:
            kinds = {each["name"]: {"string": "varchar"}.get(each["data_type"], each["data_type"]) for each in COLUMNS}
            columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
            connection.execute(f"create table rows ({columns}, is_bad boolean)")
            if rows:
                connection.executemany("insert into rows values (?, ?, ?, ?, ?, ?, ?)", rows)
            files = [folder / "1.parquet", folder / "2.parquet"]
            for number, file in enumerate(files):
                refused = "case when is_bad then {'column': 'n', 'rule': 'x', 'value': null::varchar} end as _refused"
                write(connection, f"select * exclude (is_bad), {refused} from rows where hash(rows) % 2 = {number}", file)
            footers = Footers(connection, files)
            kept = f"(select * from read_parquet({[str(file) for file in files]}) where _refused is null)"
            bad = sum(row[-1] for row in rows)
            days = days_of(only, footers, kept, NOW)
            found = profile_of(connection, footers, bad, kept, list(kinds), ["who", "at"], days, sample)
    good = [row for row in rows if not row[-1]]
    end = NOW + dt.timedelta(days=1.5)

    def share(count: int, of: int) -> float:
        return pytest.approx(count / max(1, of))

    assert found["row_count"] == len(good)
    if not is_few:
        for at, name in enumerate(each["name"] for each in COLUMNS):
            assert found["filled"][name] == pytest.approx(sum(row[at] is not None for row in good) / max(1, len(good)), abs=5.1e-5)
    assert found["garbled_share"] == share(sum(row[5] == "Ã©" for row in good), len(good))
    assert found["coverage"] == len({row[0] for row in good})
    clock = (cursor if delivers == "changes" else None) or ("at" if delivers == "changes" else None)
    values = [row[1 if clock == "at" else 2] for row in good] if clock else []
    dates = [value.date() if isinstance(value, dt.datetime) else value for value in values]
    peak = max((dates.count(day) for day in {*dates}), default=0) if clock else len(good)
    assert found["peak_day_rows"] == peak
    # A day is future where it begins after the horizon.
    begins = [value if clock == "at" or value is None else dt.datetime.combine(value, dt.time(), dt.UTC) for value in values]
    is_future = [moment is not None and moment > end for moment in begins]
    assert found["future_share"] == share(sum(is_future), len(good))
    odd = [row[2] for row in good if row[2] is not None]
    if clock != "day" or delivers != "changes":
        assert found["odd_dates"]["day"] == share(sum(day > end.date() or day < dt.date(1900, 1, 1) for day in odd), len(odd))
    assert "since" not in found["odd_dates"]

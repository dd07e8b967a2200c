"""DuckDB dialect for SQLAlchemy whose results outlive their connection: without it Great Expectations fails with IndexError."""

from __future__ import annotations

from typing import Any

from duckdb_engine import Dialect
from sqlalchemy.dialects import registry
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

_Context: Any = Dialect.execution_ctx_cls


class BufferedContext(_Context):
    """Execution context that reads every row before it gives the cursor away."""

    def post_exec(self) -> None:
        """Swap the cursor for its rows."""
        super().post_exec()
        if self.cursor.description:
            rows = list(self.cursor.fetchall())
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(self.cursor, initial_buffer=rows)


class BufferedDialect(Dialect):
    """`duckdb+buffered://`."""

    execution_ctx_cls = BufferedContext
    supports_statement_cache = False


registry.register("duckdb.buffered", __name__, "BufferedDialect")

"""What dbt loads when it connects: whoever runs it, by hand or from the flows, reads the same lake."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ingestion.brick import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake, LakeError, configure
from ingestion.plan import plan
from ingestion.warehouse import catch_up

if TYPE_CHECKING:
    import duckdb
    from dbt.adapters.duckdb.utils import TargetConfig


class Plugin(BasePlugin):
    """dbt-duckdb plugin: its connections have the limits of the house, and sources that have caught up with the journal."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read the journal once, so that every model of a run sees the same lake."""
        with _told():
            self.lake = Lake()
            self.journal = Journal(self.lake)

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Set up the connection that dbt has just opened."""
        with _told():
            configure(conn, self.lake)
            catch_up(conn, self.lake, self.journal, read_bricks())
        self.connection = conn

    def store(self, target_config: TargetConfig) -> None:
        """Answer the materialization `partitioned`, which asks what to compute: `plan` is put beside what it tells.

        Of what dbt calls in a plugin while a model is built, this alone takes what a macro hands over.
        """
        asked = target_config.config
        # A connection of its own: what is read is what parents have committed, and its views are seen by nobody else.
        with contextlib.closing(self.connection.cursor()) as cursor:
            for name, value in (self.creds.settings or {}).items() if self.creds else ():
                cursor.execute(f"set {name} = '{value}'")
            asked["plan"] = asdict(plan(query=lambda sql: cursor.execute(sql).fetchall(), **asked))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have dbt tell what is wrong with a lake in words, rather than with a traceback."""
    try:
        yield
    except LakeError as error:
        raise DbtRuntimeError(str(error)) from None

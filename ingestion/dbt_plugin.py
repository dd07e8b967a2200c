"""What dbt loads when it connects: whoever runs it, by hand or from the flows, reads the same lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin

from ingestion.brick import read_bricks
from ingestion.journal import Journal
from ingestion.lake import Lake, configure
from ingestion.warehouse import catch_up

if TYPE_CHECKING:
    import duckdb


class Plugin(BasePlugin):
    """dbt-duckdb plugin: its connections have the limits of the house, and sources that have caught up with the journal."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read the journal once, so that every model of a run sees the same lake."""
        self.lake = Lake()
        self.journal = Journal(self.lake)

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Set up the connection that dbt has just opened."""
        configure(conn, self.lake)
        catch_up(conn, self.lake, self.journal, read_bricks())

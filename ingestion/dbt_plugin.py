"""What dbt loads when it connects: whoever runs it, by hand or from the flows, reads the same lake and the same territory."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from ingestion.census import read_bricks
from ingestion.declaration import BrickError
from ingestion.journal import Journal, standing
from ingestion.lake import Lake, LakeError, configure
from ingestion.plan import plan
from ingestion.published import say_published
from ingestion.territory import read_territory
from ingestion.warehouse import catch_up, say_territory

if TYPE_CHECKING:
    import duckdb
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.adapters.duckdb.utils import TargetConfig

log = logging.getLogger("orchestra")


class Plugin(BasePlugin):
    """dbt-duckdb plugin: its connections have the limits of the house, and sources that have caught up with the journal."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read the journal once, so that every model of a run sees the same lake."""
        gc.freeze()  # the manifest, which dbt has just read and keeps, is not weighed again and again
        with _in_words():
            self.lake, self.territory = Lake(), read_territory()
            self.journal = standing(self.lake) if plugin_config.get("by_hand") else Journal(self.lake)

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Have the warehouse stand in the state of the lake; it is opened once to say in words what keeps it from being."""
        import duckdb

        with _in_words():
            creds.path = str(self.lake.state_path(Path(creds.path).name))
            try:
                duckdb.connect(creds.path, config=config).close()
            except duckdb.Error as error:
                told = str(error).splitlines()[0]
                mend = "close who has it open" if "lock" in told else f"rm {creds.path}, and build: it is made of the lake"
                raise LakeError(f"{creds.path} cannot be opened ({told}). Mend: {mend}") from error

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Set up the connection that dbt has just opened."""
        with _in_words():
            configure(conn, self.lake)
            catch_up(conn, self.lake, self.journal, read_bricks())
            say_published(conn, self.lake, self.journal)
            say_territory(conn, self.territory)
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
def _in_words() -> Iterator[None]:
    """Have dbt tell what is wrong with a lake, a brick or the territory in words, rather than with a traceback."""
    try:
        yield
    except (LakeError, BrickError) as error:
        raise DbtRuntimeError(str(error)) from None
    except Exception as error:  # a store that does not answer, a folder without rights: dbt would print where, not what
        log.debug("dbt connects", exc_info=True)
        raise DbtRuntimeError(f"{type(error).__name__}: {error}. Mend: check ORCHESTRA_LAKE, and the rights on it") from None

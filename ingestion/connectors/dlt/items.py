"""What a resource of dlt gives, as parts: dicts as documents, Arrow as Parquet, each as it is written."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import hashlib
import uuid
from typing import Any

from ingestion.connectors import Reading, SourceError
from ingestion.formats import parts
from ingestion.formats.documents import Documents
from ingestion.formats.spool import Spool


class Items:
    """What a resource gives, as it comes: dicts as documents, Arrow as Parquet, each as it is written."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self._request = reading, reading.request
        self._spool = reading.held = Spool(self._request.spool, is_private=self._request.is_private)
        self._documents: Documents | None = None
        self._files: dict[str, tuple[str, Any, Any]] = {}
        self._digest, self.rows = hashlib.sha256(), 0

    def add(self, item: Any) -> None:
        """Take a row, or a table of Arrow."""
        import pyarrow as pa

        if isinstance(item, pa.RecordBatch):
            item = pa.Table.from_batches([item])
        if isinstance(item, pa.Table):
            self._add_table(item)
            return
        if type(item).__name__ == "DataFrame":
            raise TypeError("a DataFrame makes other numbers of those that lack: have the source give Arrow (`backend: pyarrow`)")
        self.rows += 1
        self._add_text(written(item if isinstance(item, dict) else _plain(item) if hasattr(item, "model_dump") else {"value": item}))

    def _add_text(self, text: str) -> None:
        self._documents = self._documents or Documents(self._spool)
        self._documents.add(self._request.table, text)
        self._digest.update(text.encode() + b"\n")

    def _add_table(self, table: Any) -> None:
        import pyarrow.parquet as pq

        key = table.schema.remove_metadata().to_string()
        if key not in self._files:
            name = f"{self._request.table}-{len(self._files)}.parquet"
            file = self._spool.create(name)
            self._files[key] = name, file, pq.ParquetWriter(file, table.schema, compression="snappy")
        self._files[key][2].write_table(table)
        self.rows += table.num_rows

    def close(self) -> None:
        """Make parts of what was taken, an empty one of nothing where the table is a photo; raises SourceError for what is none."""
        request, reading = self._request, self._reading
        for name, file, writer in self._files.values():
            writer.close()
            file.close()
            with self._spool.path(name).open("rb") as held:
                self._digest.update(hashlib.file_digest(held, "sha256").digest())
        if request.whole and not self._files and not self._documents:
            self._documents = Documents(self._spool)
            self._documents.names[request.table] = None
        reading.parts = self._documents.parts() if self._documents else []
        reading.parts += parts("parquet", [name for name, *_ in self._files.values()], reading, self._spool)
        if reading.refused_files:
            # Its position would pass rows that did not land.
            told = reading.refused_files[0][1].rstrip(".")
            raise SourceError(f"{request.brick}.{request.table}: the source {told}{'' if 'Mend: ' in told else '. Mend: the brick'}.")

    def digest(self) -> str:
        """Sum up what was taken; keyed for a private brick, whose rows could be guessed by it."""
        return self._request.name_of(self._digest.hexdigest()[:32])


def written(row: dict[str, Any]) -> str:
    """Write a row as JSON: decimals with their digits, instants with their offset, bytes in base64, as dlt does."""
    import simplejson  # type: ignore[import-untyped]

    return simplejson.dumps(row, use_decimal=True, default=_plain, encoding=None, allow_nan=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Give what JSON has not as what it has; raises TypeError."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, uuid.UUID | dt.timedelta):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return list(value)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    raise TypeError(f"a value of type {type(value).__name__} is none of JSON")

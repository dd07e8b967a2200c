"""JSON documents of many files, packed as one as they come: memory stays bounded, and a file that fails leaves none of its own."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from typing import BinaryIO, cast

from ingestion.connectors import Part
from ingestion.formats.spool import BLOCK_BYTES, Spool, escaped
from ingestion.lake import literal


class Documents:
    """JSON documents written to one packed NDJSON as they come, so that memory stays bounded."""

    def __init__(self, spool: Spool) -> None:
        self._path = spool.root / "documents.ndjson.gz"
        self._file = spool.create(self._path.name)
        self._packed = self._begin()
        self._count, self._longest = 0, 16 << 20
        self.names: dict[str, None] = {}

    def add(self, name: str, text: str) -> None:
        """Add a document of a file."""
        line = json.dumps({"_file": name, "_doc": text}).encode() + b"\n"
        self._packed.write(line)
        self.names[name] = None
        self._count += 1
        self._longest = max(self._longest, len(line) + 1)

    def add_all(self, name: str, texts: Iterable[str]) -> None:
        """Add the documents of a file; none of them when giving them raises."""
        self._packed.close()
        start, count, self._packed = self._file.tell(), self._count, self._begin()
        try:
            for text in texts:
                self.add(name, text)
        except BaseException:
            self._packed.close()
            self._file.seek(start)
            self._file.truncate()
            self._count, self._packed = count, self._begin()
            self.names.pop(name, None)
            raise
        self.names[name] = None

    def parts(self) -> list[Part]:
        """Close the file and give it as a part; none without files."""
        self._packed.close()
        self._file.close()
        reader = f"format = 'newline_delimited', compression = 'gzip', maximum_object_size = {self._longest}"
        relation = f"from read_json({literal(escaped(self._path))}, columns = {{_file: 'VARCHAR', _doc: 'VARCHAR'}}, {reader})"
        return [Part(relation, tuple(self.names), counted=self._count)] if self.names else []

    def _begin(self) -> BinaryIO:
        return io.BufferedWriter(cast("io.RawIOBase", gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1)), BLOCK_BYTES)

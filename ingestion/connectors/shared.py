"""What several tables of a brick read of one file: it is fetched once in a landing, so that all of them see the same of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ingestion.connectors import Reading, SourceError
from ingestion.formats.spool import Spool

if TYPE_CHECKING:
    from ingestion.connectors.stores import Store, StoreEntry, Taken


class _Held(NamedTuple):
    """A file as it was first met: the copy of it, None where its source said that it is as it was known, and who asked."""

    taken: Taken | None
    signature: str | None
    reading: Reading


class Shared:
    """The files that tables of a brick share, for one landing: on its spool, in memory where the brick is private.

    Tables and their threads may ask at once; what is asked for waits for who fetches it.
    """

    def __init__(self, folder: Path, *, is_private: bool) -> None:
        self._folder, self._is_private = folder, is_private
        self._spool: Spool | None = None
        self._held: dict[str, _Held] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()
        self._made: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Give what `make` made the first time that it was asked for by this name; what fails is made again."""
        with self._locks.setdefault(name, threading.Lock()):
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def read(self, store: Store, file: StoreEntry, known: str | None, take: Callable[[BinaryIO], Any], reading: Reading) -> Taken | None:
        """Give what `take` makes of a file, or None when its signature still is `known`, as a store does, asking it once.

        Raises SourceError where the file is another one than a table of this landing was told.
        """
        from ingestion.connectors.stores import Taken

        with self._locks.setdefault(file.name, threading.Lock()):
            held = self._held.get(file.name)
            if held is None or (held.taken is None and held.signature != known):
                copied = store.read(file, known, lambda stream: self._copy(file.name, stream))
                signature = copied.signature if copied else known
                if held and held.signature != signature:
                    name = f"{reading.request.brick}.{reading.request.table}: {reading.request.name_of(file.name)}"
                    told = f"{name} has changed since another table was told it had not"
                    raise SourceError(f"{told}. Mend: none, the next run reads it again.", may_pass=True)
                held = self._held[file.name] = _Held(copied, signature, reading)
        if held.reading.is_synthetic:
            reading.note_sandbox(held.reading.read_at)
        if held.taken is None or held.signature == known:
            return None
        with held.taken.content.open("rb") as stream:
            return Taken(take(stream), held.taken.signature, held.taken.modified)

    def _copy(self, name: str, stream: BinaryIO) -> Path:
        """Copy a file to the spool, once more where the first try was cut."""
        with self._making:
            if self._spool is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._spool = Spool(self._folder, is_private=self._is_private)
            target = self._spool.create(name)
        with target:
            shutil.copyfileobj(stream, target, 1 << 20)
        return self._spool.path(name)

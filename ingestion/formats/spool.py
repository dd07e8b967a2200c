"""Where files wait for DuckDB: what is private touches no disk, and no file is read as another."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

# What a processor's cache holds is scanned a fifth faster than a mebibyte.
BLOCK_BYTES = 1 << 18
WIDE_LINE_BYTES = 64 << 20  # what no line, record or document is above
# The character, and the byte of no UTF-8, that stand for bytes that an encoding does not know.
IMPOSSIBLE, UNDECODED = "\udcff", "orchestra.undecoded"
# A line that begins with marks of the byte order.
MARKED = re.compile(rb"(^|[\r\n])(?:\xef\xbb\xbf)+")


def _undecoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """Have bytes that an encoding does not know stand as one that no UTF-8 holds: their row is refused, and nothing else."""
    if isinstance(error, UnicodeDecodeError):
        return IMPOSSIBLE, error.end
    if isinstance(error, UnicodeEncodeError):
        return b"\xff" * (error.end - error.start), error.end
    raise error


codecs.register_error(UNDECODED, _undecoded)


class Spool:
    """Where files wait for DuckDB: a folder, or, for what is private, the memory, with a folder of links that name the files.

    `roots` gives, by a file's name, the folder under which it stands under that name: where it is read in place, not the
    spool's own. `aliases` gives, by a file's name, the one under which it stands where no file can have its own. Files in
    memory go when the spool is garbage collected.
    """

    def __init__(self, folder: Path, *, is_private: bool) -> None:
        self.root, self.is_private = folder, is_private
        self.roots: dict[str, Path] = {}
        self.aliases: dict[str, str] = {}
        self._in_memory: dict[Path, weakref.finalize] = {}

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.roots[name] / self.aliases.get(name, name)

    def stand(self, name: str, root: Path, own: str) -> None:
        """Have a file be read where it is, under its own name there."""
        self.roots[name] = root
        if own != name:
            self.aliases[name] = own

    def create(self, name: str) -> BinaryIO:
        """Open a new file for writing; raises ValueError for a name that leads elsewhere.

        A name that no file can have here, or that another's folder has, is kept, and the file stands under one of ours.
        """
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise ValueError(f"the name {name!r} leads out of its folder")
        try:
            path = self._room(self.root / place)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                raise
            alias = self.aliases.setdefault(name, f"named/{len(self.aliases)}")
            path = self._room(self.root / alias)
        self.roots[name] = self.root
        if self.is_private:
            if path in self._in_memory:
                self._in_memory[path]()
            handle = os.memfd_create("city-orchestra")
            self._in_memory[path] = weakref.finalize(self, os.close, handle)
            path.symlink_to(f"/proc/self/fd/{handle}")
        return path.open("wb")

    @staticmethod
    def _room(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def temporary(self) -> BinaryIO:
        """Open a file for writing and reading that goes when it is closed."""
        return os.fdopen(os.memfd_create("city-orchestra"), "w+b") if self.is_private else tempfile.TemporaryFile(dir=self.root)

    def end_lines_alike(self, name: str) -> None:
        """Copy a file with each line ending in a line feed: DuckDB gives up a file whose lines end in several ways."""
        told: Any = {"encoding": "utf-8", "errors": "surrogateescape"}
        alike = f"_lines/{self.aliases.get(name, name)}"
        with self.path(name).open(**told) as source, io.TextIOWrapper(self.create(alike), newline="\n", **told) as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
        self.roots[name] = self.root / "_lines"

    def unmark_lines(self, name: str) -> None:
        """Copy a file without the marks of the byte order that begin its lines: of files put end to end, each has its own."""
        with self.path(name).open("rb") as source, self.create(f"_unmarked/{self.aliases.get(name, name)}") as target:
            for block in blocks(source):
                target.write(MARKED.sub(rb"\1", block))
        self.roots[name] = self.root / "_unmarked"


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Give a text in blocks that end where a line does, unless that is too long."""
    while block := file.read(BLOCK_BYTES):
        rest = file.readline(BLOCK_BYTES)
        if not rest.endswith(b"\n") and (end := rest.rfind(b"\r", 0, -1) + 1):
            file.seek(end - len(rest), os.SEEK_CUR)
            rest = rest[:end]
        elif len(rest) == BLOCK_BYTES and not rest.endswith(b"\n"):
            rest += file.readline(WIDE_LINE_BYTES)
        yield block + rest


def escaped(path: Path) -> str:
    """Write a path so that DuckDB, which reads paths as patterns, means no other file."""
    return re.sub(r"[\[*?]", r"[\g<0>]", str(path))

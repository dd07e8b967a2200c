"""Files of a disk: what is written is seen whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file over whatever stands there: whole, or not at all."""
    with written_beside(path, content) as temporary:
        temporary.replace(path)


@contextlib.contextmanager
def written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """Write content to a temporary file of the same folder, synced, and remove it in the end."""
    temporary = beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """Name a temporary file of the same folder, hidden."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def sync(folder: Path) -> None:
    """Have the names of a folder reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def files_under(folder: str) -> Iterator[os.DirEntry[str]]:
    """Give the files under a folder, at any depth; none for no folder."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from files_under(entry.path)
            else:
                yield entry

"""What packs files: gzip, bzip2, xz and zstd streams, zip and 7z archives, opened to the files that a table means."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from ingestion.connectors.patterns import matches, written_names
from ingestion.connectors.wholes import bundle_of, is_aside, is_shape, is_whole, is_workbook
from ingestion.formats.spool import Spool

# How often what is packed may be packed again; how much of it is read at once, and how much memory its dictionary may take.
PACKED_TIMES, BLOCK, MOST_MEMORY = 3, 1 << 18, 256 << 20
# What files that are no text begin with, and what they are.
KINDS = {
    b"\xd0\xcf\x11\xe0": "an older Excel workbook (.xls), which `format: spreadsheet` reads, or another document of Office",
    b"PK\x05\x06": "an empty zip",
    b"%PDF-": "a PDF",
    b"Rar!": "a RAR archive",
    b"SQLite format 3": "an SQLite database",
}
ZIP, SEVEN_ZIP = b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c"
# What a file's content, rather than its source, may do wrong.
FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError, RuntimeError)


def of_content(error: Exception) -> Exception:
    """Give what a packed file does wrong, bzip2's complaint included, which has no number; raise what the disk does."""
    if isinstance(error, FAULTS) or (isinstance(error, OSError) and error.errno is None):
        return error
    raise error


def opened(name: str, members: tuple[str, ...], stream: Any, spool: Spool, times: int, form: str) -> Iterator[tuple[str, Any]]:
    """Give what a file holds, by what its first bytes say: itself, what a stream has packed, members of an archive, packed again or not.

    Each with what follows the name of the file in its own. In place of a member that cannot be opened, its fault.
    """
    start = stream.peek(16)[:16]
    if is_whole(form, start):
        yield name, stream
        return
    if told := next((kind for first, kind in KINDS.items() if start.startswith(first)), None):
        raise ValueError(f"it is {told}. Mend: have the source give the file itself, as its brick says")
    unpacked, is_archive = _unpacked(stream, start), start.startswith((ZIP, SEVEN_ZIP))
    if unpacked is None and not is_archive:
        yield name, stream
    elif not times:
        raise ValueError(f"it is packed more than {PACKED_TIMES} times. Mend: pack it once at the source")
    elif unpacked is not None:
        yield from opened(name, members, unpacked, spool, times - 1, form)
    else:
        with _at_any_place(stream, spool) as there, _archive(there, start, spool) as archive:
            if is_workbook(form, archive):
                there.seek(0)
                yield name, there
                return
            meant = [each for each in _meant(archive, members, is_private=spool.is_private) if not is_aside(form, each[1])]
            if not meant:
                raise ValueError(f"the archive holds no {form}. Mend: the brick's `path`")
            for member, shown, inner in meant:
                if is_shape(form, shown):
                    with spool.temporary() as bundle:
                        yield f"{name}/{shown}", bundle_of(archive, member, bundle)
                    continue
                with archive.open(member) as source:
                    try:
                        yield from opened(f"{name}/{shown}", inner, source, spool, times - 1, form)
                    except (*FAULTS, OSError) as error:
                        yield f"{name}/{shown}", of_content(error)


def _unpacked(stream: Any, start: bytes) -> Any:
    """Give what a stream packs, as it is read; None where it packs nothing. Cut, it raises EOFError at its end."""
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if start[:3] == b"BZh":
        return io.BufferedReader(_Unpacking(stream, bz2.BZ2Decompressor))
    if start[:6] == b"\xfd7zXZ\0":
        return io.BufferedReader(_Unpacking(stream, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY), is_padded=True))
    if start[:4] == b"\x28\xb5\x2f\xfd":
        from backports.zstd import ZstdDecompressor

        return io.BufferedReader(_Unpacking(stream, ZstdDecompressor))
    return None


def begins(body: bytes, most: int) -> bytes | None:
    """Give what a packed stream begins with, so many bytes at most and as far as they go; None for what is not packed."""
    if (stream := _unpacked(io.BufferedReader(cast("Any", io.BytesIO(body))), body[:16])) is None:
        return None
    held = bytearray()
    with contextlib.suppress(*FAULTS, OSError):
        while len(held) < most and (block := stream.read1(BLOCK)):
            held += block
    return bytes(held[:most])


class _Unpacking(io.RawIOBase):
    """What packed streams, one after the other, hold, to the last byte: Python's own readers leave out what is damaged after the first."""

    def __init__(self, source: Any, make: Callable[[], Any], *, is_padded: bool = False) -> None:
        self._source, self._make, self._now, self._held = source, make, make(), b""
        self._is_ended, self._is_padded = False, is_padded

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def _following(self) -> bytes:
        """Give the beginning of what follows a stream, without the zeros that xz pads with; nothing at the end."""
        rest = self._now.unused_data
        while not (rest := rest.lstrip(b"\0") if self._is_padded else rest):
            if not (rest := self._source.read(BLOCK)):
                return b""
        return bytes(rest)

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer holds; raises EOFError for a stream that was cut, ValueError for one that is none."""
        while not self._is_ended:
            if self._now.eof:
                self._held = self._following()
                self._is_ended, self._now = not self._held, self._make()
                continue
            if self._now.needs_input and not self._held and not (block := self._source.read(BLOCK)):
                raise EOFError("it was cut: its packed stream ends before its end")
            given, self._held = (self._held or block, b"") if self._now.needs_input else (b"", self._held)
            try:
                unpacked = self._now.decompress(given, len(buffer))
            except Exception as error:
                raise ValueError(f"what is packed cannot be unpacked ({error}): it is damaged") from None
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
        return 0


@contextlib.contextmanager
def _at_any_place(stream: Any, spool: Spool) -> Iterator[Any]:
    """Give a stream that can be read at any place: itself, or its copy."""
    if stream.seekable() and hasattr(stream, "fileno") and isinstance(getattr(stream, "raw", None), io.FileIO):
        yield stream
        return
    with spool.temporary() as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        yield copy


@contextlib.contextmanager
def _archive(stream: Any, start: bytes, spool: Spool) -> Iterator[Any]:
    if start.startswith(ZIP):
        with zipfile.ZipFile(stream) as archive:
            yield archive
        return
    import py7zr
    from py7zr.exceptions import ArchiveError, PasswordRequired

    try:
        with py7zr.SevenZipFile(stream) as held:
            yield SevenZip(held, spool)
    except PasswordRequired:
        raise ValueError("it is a 7z locked by a password. Mend: have the source give it without one") from None
    except (ArchiveError, struct.error, AssertionError) as error:
        raise ValueError(f"its 7z cannot be opened ({type(error).__name__}): it was cut, or is damaged") from None


class SevenZip:
    """An archive 7z, asked as one of zip is."""

    def __init__(self, held: Any, spool: Spool) -> None:
        self._held, self._spool = held, spool

    def infolist(self) -> list[zipfile.ZipInfo]:
        """Give what it holds, names in UTF-8; raises PasswordRequired for what is locked."""
        from py7zr.exceptions import PasswordRequired

        if self._held.needs_password():
            raise PasswordRequired
        found = []
        for each in self._held.list():
            info = zipfile.ZipInfo(f"{each.filename}/" if each.is_directory else each.filename)
            info.file_size, info.flag_bits = each.uncompressed, 0x800
            found.append(info)
        return found

    def namelist(self) -> list[str]:
        """Give the names of what it holds."""
        return [info.filename for info in self.infolist()]

    @contextlib.contextmanager
    def open(self, member: zipfile.ZipInfo) -> Iterator[BinaryIO]:
        """Give what a member holds, unpacked to a file of the spool that goes; raises ValueError for one that is damaged."""
        from py7zr.exceptions import ArchiveError

        with self._spool.temporary() as copy:
            target = _target(copy)
            self._held.reset()
            try:
                self._held.extract(targets=[member.filename], factory=target)
            except (ArchiveError, lzma.LZMAError, zlib.error, EOFError) as error:
                raise ValueError(f"its 7z cannot be unpacked ({type(error).__name__}): it was cut, or is damaged") from None
            if (size := copy.seek(0, os.SEEK_END)) != member.file_size:
                raise ValueError(f"its 7z gives {size} bytes of {member.file_size}: it was cut, or is damaged")
            copy.seek(0)
            yield cast("BinaryIO", io.BufferedReader(cast("Any", copy)))


def _target(copy: BinaryIO) -> Any:
    """Give what py7zr writes a member to."""
    from py7zr.io import Py7zIO, WriterFactory

    class Target(Py7zIO):
        def write(self, s: bytes | bytearray) -> int:
            return copy.write(s)

        def read(self, size: int | None = None) -> bytes:
            return copy.read(-1 if size is None else size)

        def seek(self, offset: int, whence: int = 0) -> int:
            return copy.seek(offset, whence)

        def flush(self) -> None:
            copy.flush()

        def size(self) -> int:
            return os.fstat(copy.fileno()).st_size

    class One(WriterFactory):
        def create(self, filename: str) -> Any:
            return Target()

    return One()


def _meant(archive: Any, patterns: tuple[str, ...], *, is_private: bool) -> list[tuple[zipfile.ZipInfo, str, tuple[str, ...]]]:
    """Give the members of an archive that some patterns mean, their names, and what is meant of those that are archives.

    Raises ValueError when there is none, or several of one name.
    """
    files = [member for member in archive.infolist() if not member.is_dir()]
    names = {member.filename for member in files}
    if patterns == ("**",) and names & {"[Content_Types].xml", "mimetype"}:
        kind = "an Excel workbook (.xlsx)" if any(name.startswith("xl/") for name in names) else "a document of an office suite"
        raise ValueError(f"it is {kind}, not a table. Mend: `format: spreadsheet`, or save it as CSV")
    found: dict[int, tuple[zipfile.ZipInfo, str, tuple[str, ...]]] = {}
    for pattern in patterns:
        # What follows an archive in the archive is of its members.
        inside = re.fullmatch(r"(.*?\.(?:zip|7z))/(.+)", pattern, re.IGNORECASE | re.DOTALL)
        outer, inner = inside.groups() if inside else (pattern, "**")
        for member in files:
            if shown := next((each for each in written_names(member) if matches(outer, each)), None):
                kept = found.get(id(member), (member, shown, ()))
                found[id(member)] = (member, kept[1], (*kept[2], inner))
    if not found:
        held = sorted(written_names(member)[0] for member in files)
        told = f"{len(held)} files" if is_private else f"{', '.join(held[:10])}{' and more' if len(held) > 10 else ''}" or "no file"
        raise ValueError(f"the archive holds no {' or '.join(patterns)}; it holds {told}. Mend: the brick's `path`")
    # By its name, zipfile would open the last of them each time, and their rows would be under one name.
    if len({shown for _, shown, _ in found.values()}) < len(found):
        raise ValueError("the archive holds several members of one name. Mend: pack them under different names")
    return list(found.values())

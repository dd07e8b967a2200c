"""What was pushed to a brick: on the disk before it is acknowledged, and kept until a load that is settled holds it."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, NoReturn

from ingestion.disk import sync, write_whole

if TYPE_CHECKING:
    from ingestion.brick import Brick
    from ingestion.journal import Journal
    from ingestion.lake import Lake

log = logging.getLogger("orchestra")

ROOM = "inbox"  # of the state: a folder a brick, in it a folder a table
OPEN = "open"  # the one file of a folder that is written to
CLOSED = ".ndjson"  # what is closed is written no more, and keeps its name
FILE_BYTES = 64 << 20  # at which the file that is written to is closed; a landing closes it before
BLOCK_BYTES = 1 << 16
PAYLOAD = b',"payload":'  # in the text before it, a quote has a backslash


class Message(NamedTuple):
    """A message as its line holds it: the topic, the instant at which it was received (ISO, UTC), the JSON of what it said, who said it."""

    topic: str
    received_at: str
    payload: str
    is_synthetic: bool = False


def inbox_of(lake: Lake, brick: str) -> Path:
    """Give the folder of what was pushed to a brick."""
    return lake.state / ROOM / brick


def line_of(topic: str, body: bytes, received_at: dt.datetime, *, is_synthetic: bool = False) -> bytes:
    """Write a message as the line of an inbox: what is no JSON is a text there, and is refused when it lands.

    JSON stands there as it was sent: of its bytes, only the ends of lines between its values are blanks now. One that is synthetic was
    received on the clock of its sandbox.
    """
    told = f"{received_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    try:
        text = body.decode("utf-8-sig")
        json.loads(text, parse_constant=_refuse)
        payload = text.replace("\r", " ").replace("\n", " ").strip()
    except (ValueError, RecursionError):
        payload = json.dumps(body.decode("utf-8", "backslashreplace"))
    mark = ',"synthetic":true' if is_synthetic else ""
    return f'{{"received_at":"{told}","topic":{json.dumps(topic)}{mark}'.encode() + PAYLOAD + payload.encode() + b"}\n"


def messages(path: Path) -> Iterator[Message]:
    """Give the messages of a file, in the order in which they were received.

    A line that is none of ours, as a disk that lost power or is ill may leave, is a text without topic: it is refused, and seen.
    """
    with path.open("rb") as file:
        for line in file:
            head, _, payload = line.partition(PAYLOAD)
            try:
                told = json.loads(head + b"}")
                text = payload[: payload.rindex(b"}")].decode()
                yield Message(told["topic"], told["received_at"], text, told.get("synthetic", False))
            except (ValueError, KeyError):
                yield Message("", "", json.dumps(line.decode("utf-8", "backslashreplace")))


def append(folder: Path, lines: Iterable[bytes]) -> None:
    """Write lines to the end of a folder's open file: once this returns, neither a kill nor a power cut loses one.

    Raises OSError, and then none of them may be acknowledged.
    """
    _make(folder)
    with _held(folder) as handle:
        path = folder / OPEN
        is_new = not path.exists()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b") as file:
            _cut(file)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        if is_new:
            os.fsync(handle)
        if size >= FILE_BYTES:
            _close(path, handle)


def closed(folder: Path) -> list[Path]:
    """Close the file of a folder that is written to, and give all that are closed, oldest first.

    Whoever receives goes on with a new one: nobody has to be told.
    """
    if not folder.is_dir():
        return []
    with _held(folder) as handle:
        path = folder / OPEN
        if path.exists():
            with path.open("r+b") as file:
                size = _cut(file)
                os.fsync(file.fileno())
            if size:
                _close(path, handle)
    return sorted(folder.glob(f"*{CLOSED}"))


def holds(folder: Path) -> bool:
    """Say whether something waits in the inbox of a brick."""
    return any(path.stat().st_size for name in (OPEN, f"*{CLOSED}") for path in folder.glob(f"*/{name}"))


def session_of(folder: Path) -> str:
    """Give the name by which a broker knows who listens to a brick, drawn once: two lakes that shared one would have half each."""
    path = folder / "session"
    if not path.exists():
        _make(folder)
        write_whole(path, f"city-orchestra-{folder.name}-{secrets.token_hex(4)}".encode())
        sync(folder)
    return path.read_text()


def release(lake: Lake, journal: Journal, brick: Brick, *, even_refused: bool = False) -> None:
    """Delete the closed files that a settled load of the journal holds, accepted or given up; those of one that stands refused if asked.

    What is deleted was named by an entry: a kill before leaves files that the next reading knows, and that the next landing deletes.
    """
    if not (inbox := inbox_of(lake, brick.name)).is_dir():
        return
    tables = {table.name for table in brick.tables}
    for folder in sorted(path for path in inbox.iterdir() if path.is_dir()):
        files = sorted(folder.glob(f"*{CLOSED}"))
        if folder.name not in tables:
            log.warning("%s: the brick has no table %s any more, and messages wait. Mend: its table, or delete it", folder, folder.name)
            continue
        held = {*journal.position(brick.name, folder.name).known} if files else set()
        for load in journal.refused(brick.name) if even_refused and files else ():
            held |= journal.whole(load)["tables"].get(folder.name, {"opened": {}})["opened"].keys()
        if gone := [path for path in files if path.name in held]:
            for path in gone:
                path.unlink(missing_ok=True)
            sync(folder)


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)  # NaN and Infinity are no JSON


def _make(folder: Path) -> None:
    """Make a folder that its user alone reads, and those above it, so that a power cut loses none."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync(folder.parent)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[int]:
    """Hold a folder, among threads and processes, and give its descriptor."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _cut(file: IO[bytes]) -> int:
    """Cut the end of a line that a kill or a full disk has left without its beginning's end: nobody was told that it was received.

    Gives what the size is then.
    """
    handle = file.fileno()
    size = end = os.fstat(handle).st_size
    if not size or os.pread(handle, 1, size - 1) == b"\n":
        return size
    while end:
        start = max(0, end - BLOCK_BYTES)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    os.ftruncate(handle, end)
    return end


def _close(path: Path, handle: int) -> None:
    """Give the file that is written to the name that it keeps: its instant sorts, what is drawn is no other file's, whatever the clock."""
    now = dt.datetime.now(dt.UTC)
    path.rename(path.with_name(f"{now:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}{CLOSED}"))
    os.fsync(handle)

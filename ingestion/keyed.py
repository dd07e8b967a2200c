"""Keyed digests: what stands in the journal of a value that may not, so that it is known again and not guessed.

The secret stands in the lake, beside the journal and never in it: who holds the journal alone can try no guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingestion.lake import Lake, LakeError

if TYPE_CHECKING:
    import duckdb

SECRET = "keys/digests"
LENGTH, PART = 32, 16  # hexadecimal digits of a digest, and of one of a part of a path
NAMES = "names"  # the use of the secret by which files of a brick with personal columns are called


def make_secret(lake: Lake) -> None:
    """Draw the secret of a lake that has none yet."""
    if lake.read(SECRET) is None:
        lake.create(SECRET, secrets.token_hex(32).encode())


def secret_of(lake: Lake, use: str) -> bytes:
    """Derive the key of one use from the secret of a lake, so that digests of two uses have nothing in common.

    Raises LakeError where it is gone: nothing that it made would be known again.
    """
    if (master := lake.read(SECRET)) is None:
        raise LakeError(f"{lake.path(SECRET)} is gone: what was erased would land again. Mend: put it back from a backup of the lake")
    return hmac.new(master, use.encode(), hashlib.sha256).digest()


def keyed(secret: bytes, text: str) -> str:
    """Give the keyed digest (HMAC-SHA256, RFC 2104) of a text, in hexadecimal."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:LENGTH]


def names_by(secret: bytes) -> Callable[[str], str]:
    """Give what tells a path by keyed digests of its parts, so that what is below a folder is told below it."""
    return lambda path: "/".join(part and keyed(secret, part)[:PART] for part in path.split("/"))


def names_sql(name: str, path: str) -> str:
    """Write the same of the SQL of a path, by a secret that the connection knows."""
    part = f"case when part = '' then '' else left({hmac_sql(name, 'part')}, {PART}) end"
    return f"array_to_string(list_transform(string_split({path}, '/'), lambda part: {part}), '/')"


def let_know(connection: duckdb.DuckDBPyConnection, name: str, secret: bytes) -> None:
    """Have a connection know a secret of at most 64 bytes, as session variables: it stands in no SQL text."""
    key = secret.ljust(64, b"\0")
    connection.execute(f"set variable {name}_inner = ?", [bytes(byte ^ 0x36 for byte in key)])
    connection.execute(f"set variable {name}_outer = ?", [bytes(byte ^ 0x5C for byte in key)])


def hmac_sql(name: str, text: str) -> str:
    """Write HMAC-SHA256 in hexadecimal of the SQL of a text, by a secret that the connection knows (`let_know`)."""
    inner = f"unhex(sha256(getvariable('{name}_inner') || encode({text})))"
    return f"sha256(getvariable('{name}_outer') || {inner})"

"""What a format reads whole, though it looks like an archive or like another kind of file."""

from __future__ import annotations

import zipfile

# What files begin with that a format takes as they are.
BEGINNINGS = {"spreadsheet": (b"\xd0\xcf\x11\xe0",)}


def is_whole(form: str, start: bytes) -> bool:
    """Say whether a file that begins so is what a format reads, and no archive of it."""
    return start.startswith(BEGINNINGS.get(form, ()))


def is_workbook(form: str, archive: zipfile.ZipFile) -> bool:
    """Say whether what looks like a zip is a workbook, where one is awaited."""
    return form == "spreadsheet" and any(name.startswith("xl/") or name == "content.xml" for name in archive.namelist())

"""Names and titles as words, so that what two persons type for one thing is alike."""

from __future__ import annotations

import re
import unicodedata


def plain(text: str) -> str:
    """Give a text without what two who type the same do not type alike: capitals, accents, marks."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().casefold()
    return " ".join(re.findall(r"[a-z0-9]+", letters))


def folded(name: str) -> str:
    """Give a name in words, `numeroBadge`, `numero_badge` and `N° badge` alike: no accent, no capital, one space between words."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    bare = "".join(each for each in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(each))
    return " ".join(re.sub(r"[^a-z0-9]+", " ", bare.lower()).split())

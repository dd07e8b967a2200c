"""A name in words, so that `numeroBadge`, `numero_badge` and `N° badge` are looked up alike."""

from __future__ import annotations

import re
import unicodedata


def folded(name: str) -> str:
    """Give a name in words: no accent, no capital, one space between words."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    bare = "".join(each for each in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(each))
    return " ".join(re.sub(r"[^a-z0-9]+", " ", bare.lower()).split())

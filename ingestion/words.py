"""Names and titles as words, so that what two persons type for one thing is alike."""

from __future__ import annotations

import re
import unicodedata

# What no decomposition of Unicode makes of two letters.
LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})


def plain(text: str) -> str:
    """Give a text without what two who type the same do not type alike: capitals, accents, ligatures, marks."""
    letters = unicodedata.normalize("NFKD", text).casefold().translate(LIGATURES)
    return " ".join(re.findall(r"[^\W_]+", "".join(each for each in letters if not unicodedata.combining(each))))


def folded(name: str) -> str:
    """Give a name in words, `numeroBadge`, `numero_badge` and `N° badge` alike: no accent, no capital, one space between words."""
    return plain(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))

"""What players that answer by a protocol of their own have in common: what is asked, how it is written, how it is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from ingestion.sandbox.world import World

Row = dict[str, Any]


class Refused(Exception):
    """What an API answers in place of what was asked: its status, and its body in its own words."""

    def __init__(self, body: Any, status: int = 400) -> None:
        """Keep what is answered."""
        super().__init__(str(body))
        self.body, self.status = body, status


class Api:
    """The API of one brick: `answer` gives an object, which is JSON, or a text, which is XML, or raises Refused (ValueError: a number)."""

    brick: ClassVar[str]
    kind: ClassVar[str] = "application/json"

    def __init__(self, world: World) -> None:
        """Nothing is made before it is asked for."""
        self.world = world

    def respond(self, parts: tuple[str, ...], query: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Give status, body and headers."""
        try:
            args = dict(parse_qsl(query, keep_blank_values=True))
            status, given = 200, self.answer(parts, args, f"http://{headers.get('host', '127.0.0.1')}/{self.brick}")
        except (Refused, ValueError) as error:
            refused = error if isinstance(error, Refused) else self.refused(str(error))
            status, given = refused.status, refused.body
        body = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return status, body.encode(), {"Content-Type": "application/xml" if isinstance(given, str) else self.kind}

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give what is said to a request below the brick's own path; `root` is the address at which it is served."""
        raise NotImplementedError

    def refused(self, told: str) -> Refused:
        """Give how the API refuses what is asked."""
        raise NotImplementedError


def whole(args: Mapping[str, str], name: str, default: int, most: int = 1 << 31) -> int:
    """Give a parameter that is a whole number, `most` where it is above; raises ValueError for one that is none, or below 0."""
    told = args.get(name, str(default))
    if not told.isdecimal():
        raise ValueError(f"{name}={told} is no whole number")
    return min(int(told), most)


def linked(url: str, args: Mapping[str, str], **changes: Any) -> str:
    """Give an address with the parameters that were asked, some of them changed."""
    return f"{url}?{urlencode({**args, **changes})}"

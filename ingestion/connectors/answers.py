"""What an answer under 200 holds: its records as they are written, or what is wrong with it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

# A record is spooled as a line: no JSON string holds a line feed as such.
ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
# Codes in an error object for which asking again is no mend.
FAULTS_OF_OURS = range(400, 428)
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
# Roots of XML that say what went wrong.
ERRORS_IN_XML = ("html", "exceptionreport", "serviceexceptionreport", "error", "errors", "fault", "envelope")


class NoAnswer(ValueError):
    """What is no answer, though it came under 200.

    `code` is what an error object says, where it does; `quoted` are words of the answer, which are not told of a private brick.
    """

    def __init__(self, told: str, code: int | None = None, quoted: str = "") -> None:
        super().__init__(f"{told} ({quoted})" if quoted else told)
        self.told, self.code = told, code


def members_of(body: bytes) -> Mapping[str, Any] | list[Any]:
    """Give what stands at the top of a JSON text: members by name, or items, each as it is written (`msgspec.Raw`).

    Raises NoAnswer for what is no JSON, or says that it is an error.
    """
    import msgspec

    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        raise NoAnswer("answers a page of HTML, or XML, where JSON is expected")
    kind: Any = list[msgspec.Raw] if text.startswith(b"[") else dict[str, msgspec.Raw]
    try:
        given: Mapping[str, Any] | list[Any] = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoAnswer(f"answers what is no JSON object or array, or was cut ({len(body)} bytes: {error})") from None
    if isinstance(given, dict):
        _refuse_error({name: given[name] for name in ("error", "errors", "success") if name in given})
    return given


def _refuse_error(told: Mapping[str, Any]) -> None:
    """Raise NoAnswer where an answer says that it is an error, whatever its status says."""
    said = {name: value_of_json(raw) for name, raw in told.items()}
    error = said.get("error") or said.get("errors")
    if not error and said.get("success") is not False:
        return
    codes = [str(error.get(name)) for name in ("code", "status")] if isinstance(error, dict) else []
    code = next((int(each) for each in codes if each.isdigit()), None)
    words = error.get("message") or error if isinstance(error, dict) else error
    details = error.get("details") if isinstance(error, dict) else None
    if isinstance(words, str) and isinstance(details, list):
        words = " ".join([words, *map(str, details)])
    raise NoAnswer("answers an error under 200", code, json.dumps(words, ensure_ascii=False) if error else "success: false")


def object_of(raw: Any) -> dict[str, Any]:
    """Give the members of a JSON object, each as it is written; raises NoAnswer for what is none, or tells a member twice."""
    import msgspec

    try:
        members: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoAnswer(f"holds what is no JSON object ({error})") from None
    # Of a member that is told twice a reader keeps one: the rest of the text is missed.
    if len(raw) != sum(len(name.encode()) + len(value) + 4 for name, value in members.items()) + (1 if members else 2):
        pairs: list[Any] = json.loads(bytes(raw), object_pairs_hook=list)
        if len(pairs) > len(members):
            raise NoAnswer("holds an object that tells a member twice")
    return members


def value_of_json(raw: Any) -> Any:
    """Give the value of what stands written as JSON; None for what is none, and for nothing."""
    import msgspec

    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None


def at(members: Any, path: str) -> Any:
    """Give what stands at a path (keys parted by dots) as it is written; None where nothing, or null, does."""
    found = _found(members, path)
    return None if found is None or bytes(found).strip() == b"null" else found


def holds(members: Any, path: str) -> bool:
    """Say whether something, be it null, stands at a path."""
    return _found(members, path) is not None


def _found(members: Any, path: str) -> Any:
    """Give what stands at a path, of which a key may hold dots itself (`@odata.nextLink`): the whole of it is looked for first."""
    import msgspec

    while path:
        if isinstance(members, msgspec.Raw):
            try:
                members = msgspec.json.decode(members, type=dict[str, msgspec.Raw])
            except msgspec.DecodeError:
                return None
        if not isinstance(members, dict):
            return None
        keys = path.split(".")
        name = next((key for end in range(len(keys), 0, -1) if (key := ".".join(keys[:end])) in members), None)
        if name is None:
            return None
        members, path = members[name], path[len(name) + 1 :]
    return members


def records_at(members: Any, path: str) -> list[bytes]:
    """Give the records at a path, each on one line as it is written; an object that stands there is one record.

    Raises NoAnswer where the path leads to nothing.
    """
    import msgspec

    found = at(members, path) if path else members
    if found is None:
        if holds(members, path):
            raise NoAnswer(f"holds null at `{path}`, which is no list of rows", 400)
        names = ", ".join(sorted(members)[:10]) if isinstance(members, dict) else "an array"
        raise NoAnswer(f"holds no `{path}`", 400, f"it holds {names or 'nothing'}")
    if isinstance(found, msgspec.Raw):
        is_list = bytes(found).lstrip().startswith(b"[")
        found = msgspec.json.decode(found, type=list[msgspec.Raw]) if is_list else [found]
    elif isinstance(found, dict):
        found = [b"{" + b",".join(msgspec.json.encode(name) + b":" + bytes(raw) for name, raw in found.items()) + b"}"]
    return [bytes(record).translate(ON_ONE_LINE) for record in found]


def xml_records(body: bytes, name: str) -> list[bytes]:
    """Give the elements of a name (whatever its namespace or prefix), each as a JSON object: its attributes, its children, its text.

    What comes once is a value, what comes again a list; every value is text, or null where `xsi:nil` says so. Raises NoAnswer for what
    is no XML, or is an error.
    """
    return list(_elements(body, name.rpartition(":")[2]))


def _elements(body: bytes, name: str) -> Iterator[bytes]:
    depth = 0
    root = True
    try:
        for event, element in ElementTree.iterparse(io.BytesIO(body), ("start", "end")):  # expat bounds entities
            own = _local(element.tag)
            if event == "start":
                if root and own.lower() in ERRORS_IN_XML and own != name:
                    raise NoAnswer(f"answers <{own}> under 200")
                root, depth = False, depth + (own == name)
            elif own == name:
                depth -= 1
                if not depth:
                    yield json.dumps(_object(element), ensure_ascii=False).encode()
                    element.clear()
    except ElementTree.ParseError as error:
        raise NoAnswer(f"answers what is no XML, or was cut ({error})") from None


def _object(element: ElementTree.Element) -> Any:
    """Give an element as JSON would: its text where it has nothing else."""
    if element.get(NIL) in ("true", "1"):
        return None
    text = (element.text or "").strip()
    if not element.attrib and not len(element):
        return text
    told: dict[str, Any] = {_local(name): value for name, value in element.attrib.items()}
    for child in element:
        own, value = _local(child.tag), _object(child)
        told[own] = [*(told[own] if isinstance(told[own], list) else [told[own]]), value] if own in told else value
    return {**told, **({"text": text} if text else {})}


def _local(name: str) -> str:
    return name.rpartition("}")[2]

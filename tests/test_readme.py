"""The README in two languages: neither names a command, a mart or a page that the other does not."""

from __future__ import annotations

import re

import pytest

from ingestion.lake import PROJECT

NAMES = ("README.md", "README.fr.md")
TEXTS = {name: (PROJECT / name).read_text(encoding="utf-8") for name in NAMES}


def commands_of(text: str) -> list[str]:
    """Give the lines of its code, without what is said of them."""
    found = []
    for language, code in re.findall(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL):
        said = re.compile(r"(^|\s+)--\s.*" if language == "sql" else r"(^|\s+)#\s.*" if language else r"\(Prefect[^)]*\)|(?<=^lake/).*: ")
        found += [" ".join(said.sub("", line).split()) for line in code.splitlines()]
    return [line for line in found if line]


def marts_of(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)


def links_of(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)]*)\)", text) if link not in NAMES]


def mentions_of(text: str) -> set[str]:
    """Give what it names in its sentences: commands, files and options."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("told", [commands_of, marts_of, links_of])
def test_both_languages_say_the_same_in_the_same_order(told: object) -> None:
    assert callable(told)
    first, second = (told(text) for text in TEXTS.values())
    assert len(first) > 5 and first == second


def test_both_languages_name_the_same_commands_files_and_words() -> None:
    first, second = map(mentions_of, TEXTS.values())
    assert first ^ second == set() and "orchestra rebuild" in first
    assert len({len(re.findall(r"^## ", text, flags=re.MULTILINE)) for text in TEXTS.values()}) == 1


def test_the_marts_are_all_there_and_every_page_exists() -> None:
    written = {path.stem for path in (PROJECT / "dbt_project/models/marts").rglob("*.sql")}
    assert set(marts_of(TEXTS["README.md"])) == written
    for link in links_of(TEXTS["README.md"]):
        page, _, title = link.partition("#")
        text = (PROJECT / page).read_bytes()
        headings = re.findall(r"^#+ (.*)", text.decode("utf-8", "ignore"), re.MULTILINE)
        titles = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not title or title in titles, link


def test_french_is_typeset_as_french_is() -> None:
    """A space that does not break before what is double, and the apostrophe of typographers; code stays as it is typed."""
    text = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", "", TEXTS["README.fr.md"], flags=re.DOTALL)
    assert re.findall(r".{20} [:;?!%]|.{10}\w'\w", text) == []

"""docs/connectors.md tells of each connector, and names tests that are there."""

from __future__ import annotations

import re

from ingestion.connectors import CONNECTORS
from ingestion.lake import PROJECT


def test_each_connector_has_its_row_and_each_test_that_it_names_is_there() -> None:
    text = (PROJECT / "docs" / "connectors.md").read_text(encoding="utf-8")
    rows = {row[0]: row[-1] for line in text.splitlines() if (row := re.findall(r"`([a-z_]+)`", line)) and line.startswith("| `")}
    assert set(rows) == set(CONNECTORS)
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    assert [name for name in named if not (PROJECT / "tests" / f"{name}.py").exists()] == []
    assert all(re.search(rf"^\\| `{name}` .*`test_", text, re.MULTILINE) for name in CONNECTORS)

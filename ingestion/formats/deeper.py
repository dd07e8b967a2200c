"""What stands deeper in a document, as a column of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from ingestion.connectors import Part
from ingestion.lake import literal


def with_columns(part: Part, columns: Mapping[str, tuple[str, ...]]) -> Part:
    """Have what stands at a path of keys in a document stand at its top too, under the name of a column.

    A number that is not whole is a double there, as DuckDB writes it.
    """
    if not columns:
        return part
    deep = []
    for name, keys in columns.items():
        place = literal("$." + ".".join(json.dumps(key) for key in keys))
        # What is nowhere is absent, not null: landing says so of a column that no document holds.
        deep.append(f"{literal(json.dumps(name) + ':')} || json_extract(_doc, {place})::varchar")
    inner = "nullif(trim(regexp_extract(trim(_doc, ' ' || chr(9)), '^\\{(.*)\\}$', 1, 's')), '')"
    document = f"case when try(json_type(_doc)) = 'OBJECT' then '{{' || concat_ws(',', {', '.join(deep)}, {inner}) || '}}' else _doc end"
    return replace(part, relation=f"select {document} as _doc, _file from ({part.relation})")

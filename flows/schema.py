"""JSON schemas of what a YAML may say, for editors: from the models that read it, with what docs/contracts.md tells of each field."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.brick import Brick
from ingestion.connectors import CONNECTORS, connector
from ingestion.lake import PROJECT
from ingestion.tool import Tool

if TYPE_CHECKING:
    from pydantic import BaseModel

FOLDER = PROJECT / "docs" / "schemas"
CONTRACTS = PROJECT / "docs" / "contracts.md"
DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors speak
MODELINE = "# yaml-language-server: $schema="
BY_LANGUAGE = "_[a-z]{2}$"
# The tables of contracts.md that tell of the fields of each model; models of two rooms have one name, so that the room is said.
TOLD = {
    **dict.fromkeys(("Brick", "BrickMeta", "BrickConfig", "Tool", "ToolMeta", "ToolConfig"), "of the brick"),
    **dict.fromkeys(("Table", "TableMeta", "TableConfig"), "of a table"),
    **dict.fromkeys(("Column", "ColumnMeta"), "of a column"),
    **dict.fromkeys(("LandedSuite", "Suite", "Expectation"), "of an expectations file"),
}
OF_OPTIONS = {
    "Paging": "of a paging",
    "Since": "of a since",
    "Auth": "of an auth",
    "Limits": "of limits",
    "Outlines": "of outlines",
    "Start": "of a start",
    "Status": "of a status",
    "Find": "of a find",
    "Login": "of a login",
    "Result": "option of rest",
}
Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """Make the schema of each kind of file, by the name of its own file in docs/schemas."""
    told = contracts()
    return {"brick.json": _brick(told), "mart.json": _mart(told), **_expectations(told)}


def write_schemas() -> list[Path]:
    """Write those that differ from what stands; give their paths."""
    changed = []
    for name, schema in schemas().items():
        path, text = FOLDER / name, written(schema)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def contracts() -> dict[str, dict[str, str]]:
    """Read what docs/contracts.md tells of each field, by the heading of its table; of a field told twice, the row of its own.

    `_<language>` and `meta.` are left out of names.
    """
    told: dict[str, dict[str, str]] = {}
    heading = ""
    for line in CONTRACTS.read_text(encoding="utf-8").splitlines():
        first, text = [cell.strip() for cell in line.strip("|").split(" | ", 1)] if line.startswith("| ") else ("", "")
        if text == "what it says":
            heading = first.replace("`", "")
        for name in re.findall(r"`([^`]+)`", first) if text != "what it says" else ():
            told.setdefault(heading, {})[re.sub(r"^meta\.|_<language>$", "", name)] = text[:1].upper() + text[1:]
    return told


def kinds() -> dict[str, list[Path]]:
    """Give the files of the project that each schema is of."""
    marts = (PROJECT / "dbt_project" / "models" / "marts").rglob("*.yml")
    return {
        "brick.json": sorted((PROJECT / "ingestion" / "bricks").glob("*.yml")),
        "mart.json": sorted(path for path in marts if re.search("^models:", path.read_text(encoding="utf-8"), re.MULTILINE)),
        "expectations_landed.json": sorted((PROJECT / "expectations" / "landed").glob("*.yml")),
        "expectations_mart.json": sorted((PROJECT / "expectations" / "marts").glob("*.yml")),
    }


def modeline(path: Path, schema: str) -> str:
    """Write the first line of a YAML, by which editors find its schema."""
    return MODELINE + Path(os.path.relpath(FOLDER / schema, path.parent)).as_posix()


def faults_of_schemas() -> list[str]:
    """Name the schemas that are not what the models give now, and the YAML files whose first line does not name theirs."""
    found = []
    for name, schema in schemas().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != written(schema):
            found.append(f"docs/schemas/{name} is not what the models and docs/contracts.md say now. Mend: orchestra schema")
    for name, paths in kinds().items():
        for path in paths:
            if path.read_text(encoding="utf-8").partition("\n")[0] != (line := modeline(path, name)):
                found.append(f"{path.relative_to(PROJECT)}: its first line is to tell editors its schema. Mend: {line}")
    return found


def written(schema: Schema) -> str:
    """Write a schema as its file holds it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _of(model: type[BaseModel], told: dict[str, dict[str, str]], section: str | None = None) -> tuple[Schema, Schema]:
    """Give the schema of a model and of those it is made of, each field described: by one table of contracts.md, or each by its own."""
    schema = _plain(model.model_json_schema())
    definitions = schema.pop("$defs", {})
    for name, each in {model.__name__: schema, **definitions}.items():
        own = section if each is schema else OF_OPTIONS.get(name, section)
        of = {**told.get(own or TOLD.get(name, ""), {}), **(told.get("of a tool", {}) if name == "ToolMeta" else {})}
        for field, property_ in each.get("properties", {}).items():
            if field in of:
                property_["description"] = of[field]
    return schema, definitions


def _plain(schema: Any) -> Any:
    """Leave out titles, which repeat names, and write tuples as editors read them."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    return {"items" if key == "prefixItems" else key: _plain(value) for key, value in told.items()}


def _file(of: Schema, definitions: Schema, description: str) -> Schema:
    return {"$schema": DIALECT, **of, "description": description, "$defs": definitions}


def _object(properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, **more}


def _brick(told: dict[str, dict[str, str]]) -> Schema:
    """The options of a brick and of its tables are those of its connector."""
    brick, definitions = _of(Brick, told)
    definitions["BrickMeta"]["properties"]["connector"]["enum"] = list(CONNECTORS)
    chosen = []
    for name in CONNECTORS:
        options = {}
        for kind in ("BrickOptions", "TableOptions"):
            own, inner = _of(getattr(connector(name), kind), told, f"option of {name}")
            definitions |= inner | {f"{name}.{kind}": own}
            options[kind] = _meta(_object({"options": {"$ref": f"#/$defs/{name}.{kind}"}}))
        tables = {"type": "array", "items": options["TableOptions"]}
        is_spoken = _meta(_object({"connector": {"const": name}}, required=["connector"]), required=True)
        chosen.append({"if": is_spoken, "then": _object({**options["BrickOptions"]["properties"], "tables": tables})})
    tool, inner = _of(Tool, told)
    definitions |= inner | {"Tool": tool}
    lands = {"anyOf": [{"required": ["tables"]}, _meta({"required": ["connector"]}, required=True)]}
    each = {"if": lands, "then": {"$ref": "#/$defs/Brick"}, "else": {"$ref": "#/$defs/Tool"}}
    sources = {"type": "array", "minItems": 1, "maxItems": 1, "items": each}
    file = _object({"version": {"const": 2}, "sources": sources}, required=["sources"], additionalProperties=False)
    return _file(file, {**definitions, "Brick": {**brick, "allOf": chosen}}, "A brick, or a tool: a dbt sources file with one source.")


def _meta(meta: Schema, *, required: bool = False) -> Schema:
    config = _object({"meta": meta}, **({"required": ["meta"]} if required else {}))
    return _object({"config": config}, **({"required": ["config"]} if required else {}))


def _mart(told: dict[str, dict[str, str]]) -> Schema:
    """What dbt itself reads of the file is dbt's; what is said in each language is a field by language."""
    from ingestion.plan import GRAINS, REACHES
    from redistribution.meta import ENGLISH, TEXTS, ColumnMeta, MartMeta

    of_config = told["config"]
    text = {"type": "string"}
    mart, definitions = _of(MartMeta, told, "config.meta of a mart")
    column, _ = _of(ColumnMeta, told, "config.meta of a column")
    for name, property_ in mart["properties"].items():
        property_.setdefault("description", of_config.get(name, ""))
    for kind, schema in (("mart", mart), ("column", column)):
        texts = {field: schema["properties"].pop(field) for field in TEXTS[kind]}
        schema["patternProperties"] = {f"^{field}{BY_LANGUAGE}": {**text, "description": of["description"]} for field, of in texts.items()}
    mart["patternProperties"] |= {f"^{field}{BY_LANGUAGE}": mart["properties"][field] for field in ENGLISH}
    definitions["Question"] = _object({"sql": definitions["Question"]["properties"]["sql"]}, additionalProperties=False)
    definitions["Question"]["patternProperties"] = {"^[a-z]{2}$": {**text, "description": "The question in this language."}}
    config: Schema = {
        "partition": text, "reach": {"enum": list(REACHES)}, "partition_grain": {"enum": list(GRAINS)},
        "unique_key": {"type": ["string", "array"], "items": text}, "group": text, "meta": {"$ref": "#/$defs/MartMeta"},
    }  # fmt: skip
    for name, schema in config.items():
        config[name] = {**schema, "description": of_config[name]} if name in of_config else schema
    of_column = {"name": text, "data_type": text, "description": text, "config": _object({"meta": {"$ref": "#/$defs/ColumnMeta"}})}
    columns = {"type": "array", "items": _object(of_column, required=["name", "data_type", "description"])}
    model = {"name": text, "description": text, "config": _object(config, required=["meta"]), "columns": columns}
    models = {"type": "array", "items": _object(model, required=["name", "description", "config", "columns"])}
    file = _object({"version": {"const": 2}, "models": models}, required=["models"])
    return _file(file, {**definitions, "MartMeta": mart, "ColumnMeta": column}, "Marts: a dbt models file, each with its meta.")


def _expectations(told: dict[str, dict[str, str]]) -> dict[str, Schema]:
    """Each door has defaults of its own."""
    from expectations.suite import LANDED, MART, LandedSuite, Suite

    found = {}
    for name, defaults, model in (("landed", LANDED, LandedSuite), ("mart", MART, Suite)):
        file, definitions = _of(model, told)
        suite = definitions.get("Suite", file)
        of_default = told["default of an expectations file"]
        pair = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        accepted = {each: pair if isinstance(value, tuple) else {"type": ["number", "null"]} for each, value in defaults.items()}
        of_suite = {each: {**schema, "default": defaults[each], "description": of_default[each]} for each, schema in accepted.items()}
        described = suite["properties"]["defaults"]["description"]
        suite["properties"]["defaults"] = _object(of_suite, additionalProperties=False, description=described)
        found[f"expectations_{name}.json"] = _file(file, definitions, (model.__doc__ or "").splitlines()[0])
    return found

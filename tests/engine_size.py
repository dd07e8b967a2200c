"""Lines of code of the engine by module (comments, docstrings and blank lines apart), none too long: part of `make check`."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("ingestion", "expectations", "redistribution", "flows")
LONGEST = 400  # lines of a module, all counted: beyond, nobody reads it from top to bottom


def lines_of_code(path: Path) -> int:
    """Count the lines of a Python file that hold code."""
    text = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[0] if node.body else None
            if isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant) and isinstance(body.value.value, str):
                docstrings |= set(range(body.lineno, (body.end_lineno or body.lineno) + 1))
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = {line for token in tokens if token.type not in blank for line in range(token.start[0], token.end[0] + 1)}
    return len(held - docstrings)


def faults_of_length(root: Path = ROOT) -> list[str]:
    """Name the modules that are too long."""
    counts = {path.relative_to(root): len(path.read_bytes().splitlines()) for room in ROOMS for path in sorted((root / room).rglob("*.py"))}
    told = "Mend: part it where a newcomer would look for each half"
    return [f"{path}: {count} lines, {LONGEST} at most. {told}" for path, count in counts.items() if count > LONGEST]


def main() -> int:
    """Print the table by module, the sandbox apart, and what is too long."""
    total = 0
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "sandbox" in path.parts:
                continue
            count = lines_of_code(path)
            total += count
            if count:
                print(f"{count:6}  {path.relative_to(ROOT)}")
    macros = ROOT / "dbt_project" / "macros" / "partitioned.sql"
    count = sum(1 for line in macros.read_text().splitlines() if line.strip() and not line.strip().startswith("{#"))
    sandbox = sum(lines_of_code(path) for path in (ROOT / "ingestion" / "sandbox").rglob("*.py"))
    print(f"{count:6}  {macros.relative_to(ROOT)}\n{total + count:6}  the engine\n{sandbox:6}  the sandbox, apart")
    faults = faults_of_length()
    print("\n".join(faults), file=sys.stderr, end="\n" * bool(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

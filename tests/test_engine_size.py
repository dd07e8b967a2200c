"""No module of the engine is longer than anybody reads."""

from __future__ import annotations

from pathlib import Path

from tests.engine_size import LONGEST, faults_of_length


def test_a_module_that_is_too_long_is_named(tmp_path: Path) -> None:
    assert faults_of_length() == []
    for name, count in {"short.py": LONGEST, "long.py": LONGEST + 1}.items():
        (tmp_path / "flows" / "deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "flows" / "deep" / name).write_text("x = 1\n" * count)
    assert faults_of_length(tmp_path) == [
        "flows/deep/long.py: 401 lines, 400 at most. Mend: part it where a newcomer would look for each half"
    ]

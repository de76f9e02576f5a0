"""The contract covers the whole money side: a new statement needs its test."""

import ast
from pathlib import Path
from typing import Final

import meterline_sidecar.store

STORE: Final = Path(meterline_sidecar.store.__path__[0])
PACKAGE: Final = "meterline_sidecar.store"
NO_STATEMENTS: Final = {"__init__", "columns", "open", "port"}


def statements() -> set[str]:
    """Return every public function of the money side that talks to a database."""
    return {
        f"{path.stem}.{node.name}"
        for path in STORE.glob("*.py")
        if path.stem not in NO_STATEMENTS
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    }


def awaited_by_the_contract() -> set[str]:
    """Return every function of the store that a test of this folder awaits itself."""
    found: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        tree = ast.parse(path.read_text())
        modules = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == PACKAGE
            for alias in node.names
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Await) or not isinstance(node.value, ast.Call):
                continue
            called = node.value.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                module = modules.get(called.value.id)
                found.add(f"{module}.{called.attr}")
    return found


def test_every_statement_of_the_money_side_is_in_the_contract() -> None:
    assert len(statements()) > 50
    assert statements() - awaited_by_the_contract() == set()

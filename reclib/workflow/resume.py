"""Staleness: whether what a notebook made still stands, told by hashes and never by clocks.

A notebook's fingerprint covers its own cells, the values it was given, the `reclib` modules that it imports (and those
that they import), and the bytes of every table and record that it read.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from reclib import store
from reclib.workflow.plan import Notebook


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def contents(run: Path, names: Iterable[str]) -> dict[str, str]:
    """Hash the tables and records of a run that are there, by name."""
    found = {}
    for name in sorted(names):
        for path in (run / "tables" / f"{name}.parquet", run / f"{name}.json"):
            if path.exists():
                found[name] = digest(path)
    return found


def fingerprint(notebook: Notebook, *, parameters: dict[str, object], run: Path, source: str) -> str:
    """Hash everything that decides what the notebook makes.

    Args:
        notebook: the notebook.
        parameters: the values injected into it.
        run: the folder of the run, for what it reads there.
        source: hash of the source, which only notebooks without other input depend on.
    """
    parts = {
        "cells": _cells(notebook.path),
        "code": code(notebook.path),
        "inputs": contents(run, notebook.wants),
        "parameters": parameters,
        "source": source if notebook.is_root else "",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def is_fresh(record: dict, *, run: Path, fingerprint: str) -> bool:
    """Whether a notebook's earlier record still stands: same fingerprint, and all that it made is still there."""
    if record.get("status") != "done" or record.get("fingerprint") != fingerprint:
        return False
    made = record.get("outputs", {})
    pages = [run / f"{record['name']}{suffix}" for suffix in (".html", ".ipynb")]
    return contents(run, made) == made and all(page.exists() for page in pages)


def _cells(path: Path) -> list[tuple[str, str]]:
    cells = json.loads(path.read_text())["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def code(path: Path) -> str:
    """Hash the `reclib` modules that a notebook imports, and those that they import."""
    source = "\n".join(text for kind, text in _cells(path) if kind == "code" and not text.lstrip().startswith("%"))
    waiting, seen = list(_imports(source)), set()
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += _imported_by(module)
    joined = "".join(digest(module) for module in sorted(seen))
    return hashlib.sha256(joined.encode()).hexdigest()


@functools.cache
def _imported_by(module: Path) -> tuple[Path, ...]:
    return tuple(_imports(module.read_text()))


def _imports(source: str) -> list[Path]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return [path for name in names if name.split(".")[0] == "reclib" for path in _files(name)]


def _files(name: str) -> list[Path]:
    """The files of a module: one, or all of a folder of that name."""
    base = store.project().joinpath(*name.split("."))
    if name == "reclib":
        return []
    return [base.with_suffix(".py")] if base.with_suffix(".py").exists() else sorted(base.glob("*.py"))

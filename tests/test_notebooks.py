"""The notebook contract, held by reading the files; and fixtures that each break one point of it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from reclib import schema, store
from reclib.workflow import parameters, plan

FOLDER = store.project() / "notebooks"
FIXTURES = Path(__file__).parent / "fixtures" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb")) + sorted(FOLDER.glob("*/*.ipynb"))
CHAIN = ["00_data", "01_signals", "02_candidates", "03_ranking", "04_rules", "05_delivery", "06_feedback",
         "07_experiments", "08_monitoring", "09_brief"]
MAX_CELLS, MAX_LINES, MAX_CODE_LINES, MAX_BYTES = 30, 15, 150, 300_000
WIDGET = "application/vnd.jupyter.widget-view+json"
FORBIDDEN = ("!", "%", "sys.path", "__file__")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def text(cell: dict) -> str:
    return "".join(cell["source"])


def code(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def faults(path: Path) -> list[str]:
    """Every point of the contract that a notebook breaks, as words."""
    notebook = read(path)
    return [*shape(path, notebook), *writing(notebook), *outputs(notebook)]


def shape(path: Path, notebook: dict) -> list[str]:
    cells, lines = notebook["cells"], [text(cell).count("\n") + 1 for cell in code(notebook)]
    parameter_cells = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    ids = [cell.get("id") for cell in cells]
    known = {
        "first cell is not a title as a question": not (text(cells[0]).startswith("# ") and "?" in text(cells[0]).split("\n")[0]),
        "first cell says not what is read and written": not any(
            line.startswith("Reads ") and "· Writes " in line for line in text(cells[0]).splitlines()),
        "second cell is not the only one tagged parameters": parameter_cells != [cells[1]],
        "too many cells": len(cells) > MAX_CELLS,
        "a cell is too long": max(lines, default=0) > MAX_LINES,
        "too much code": sum(lines) > MAX_CODE_LINES,
        "file is too large": path.stat().st_size > MAX_BYTES,
        "cell ids are missing or repeated": None in ids or len(set(ids)) < len(ids),
        "kernel is not python3": notebook["metadata"].get("kernelspec", {}).get("name") != "python3",
        "metadata of a run or of widgets was left": bool({"papermill", "widgets"} & set(notebook["metadata"])),
    }
    return [words for words, is_broken in known.items() if is_broken]


def writing(notebook: dict) -> list[str]:
    texts = [text(cell) for cell in code(notebook)]
    nodes = [node for each in texts if not each.lstrip().startswith(FORBIDDEN[:2]) for node in ast.walk(ast.parse(each))]
    known = {
        "defines a function or a class": any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in nodes),
        "leaves the notebook by a path or a command": any(
            word in each if len(word) > 1 else each.lstrip().startswith(word) for each in texts for word in FORBIDDEN),
        "a parameter has no type or no meaning": not all(is_documented(line) for line in texts[0].splitlines()),
        "a lone parameter would be read as a command": len(texts[0].splitlines()) < 2,
    }
    return [words for words, is_broken in known.items() if is_broken]


def is_documented(line: str) -> bool:
    return not line.strip() or (": " in line.split("=")[0] and "  #" in line)


def outputs(notebook: dict) -> list[str]:
    made = [output for cell in code(notebook) for output in cell["outputs"]]
    figures = [output for output in made if "image/png" in output.get("data", {})]
    known = {
        "was not run from top to bottom": [cell["execution_count"] for cell in code(notebook)]
        != list(range(1, len(code(notebook)) + 1)),
        "an output is an error": any(output["output_type"] == "error" for output in made),
        "something was written to stderr": any(output.get("name") == "stderr" for output in made),
        "a widget was left": any(WIDGET in output.get("data", {}) for output in made),
        "a figure has no words": not all(
            output["metadata"].get("image/png", {}).get("alt") for output in figures),
        "no computed sentence": not any(output.get("metadata", {}).get("reclib_takeaway") for output in made),
    }
    return [words for words, is_broken in known.items() if is_broken]


def test_the_chain_has_its_ten_notebooks():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == CHAIN


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_notebook_keeps_the_contract(path):
    assert faults(path) == []


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_broken_notebook_is_told_by_its_name(path):
    expected = [] if path.stem == "sound" else [path.stem.replace("_", " ")]
    assert faults(path) == expected


def test_every_name_that_is_handed_over_is_a_table_with_one_writer():
    known = plan.discover(FOLDER)
    chain = [each for each in known.values() if each.is_chain]
    written = [name for each in chain for name in each.writes]
    names = {name for each in chain for name in (*each.writes, *each.wants)} - set().union(*(each.writes_facts for each in chain))
    assert names - set(schema.TABLES) - {"answers", "times"} == set()
    assert sorted(name for name in set(written) if written.count(name) > 1) in ([], ["units"])


def test_the_same_parameter_has_the_same_type_in_every_notebook():
    kinds: dict[str, set[str]] = {}
    for path in NOTEBOOKS:
        for name, each in parameters.declared(path).items():
            kinds.setdefault(name, set()).add(each.type)
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}

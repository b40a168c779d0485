"""A module imports only from lower floors, and layers never import one another."""

from __future__ import annotations

import ast

import pytest

from reclib import store

FLOORS = [
    {"schema"}, {"store", "metrics", "plots", "explorers", "report", "sources"},
    {"signals", "candidates", "ranking", "rules", "allocation", "delivery", "feedback", "experiments", "offpolicy",
     "monitoring", "brief"}, {"notebooks"}, {"workflow"}, {"cli"},
]
SHARED = {("plots", "report"), ("sources", "report"), ("explorers", "report"), ("explorers", "plots")}
PAIRS = {("rules", "allocation"), ("experiments", "offpolicy")}
MODULES = sorted(path for path in (store.project() / "reclib").rglob("*.py") if path.name != "__init__.py")


def floor(name: str) -> int:
    return next(at for at, names in enumerate(FLOORS) if name in names)


def imports(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        module = getattr(node, "module", None) or ""
        full = [f"{module}.{name}" for name in names] if isinstance(node, ast.ImportFrom) else names
        found |= {name.split(".")[1] for name in full if name.startswith("reclib.")}
    return found


def is_allowed(own: str, other: str) -> bool:
    return own == other or (own, other) in SHARED | PAIRS or floor(other) < floor(own)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(store.project())))
def test_a_module_imports_only_from_lower_floors(path):
    own = path.relative_to(store.project() / "reclib").parts[0].removesuffix(".py")
    assert [other for other in sorted(imports(path.read_text())) if not is_allowed(own, other)] == []


@pytest.mark.parametrize("text", ["from reclib import ranking", "import reclib.ranking", "from reclib.ranking import x",
                                  "def f():\n    from reclib import workflow"])
def test_an_import_of_a_neighbour_or_of_a_higher_floor_is_seen(text):
    assert not any(is_allowed("signals", other) for other in imports(text))


def test_the_workflow_imports_no_layer():
    layers = FLOORS[2]
    texts = [path.read_text() for path in MODULES if "workflow" in path.parts]
    assert [imports(text) & layers for text in texts if imports(text) & layers] == []


def test_the_package_itself_gives_out_its_version_alone():
    assert imports((store.project() / "reclib" / "__init__.py").read_text()) == set()

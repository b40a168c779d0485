"""What runs, and in which order: read from the first cell of each notebook.

Each notebook says there what it reads and writes (`store.handover`). That line makes the graph: a notebook waits for
the notebooks before it that write what it reads. The source provides some tables by itself (and the words `answers`,
if its customers answer what is delivered, and `times`, if its events have times that differ); those come from the
notebooks that read nothing.
"""

from __future__ import annotations

import ast
import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from reclib import store

SIDES = ("proofs", "benchmarks")
N_NEAREST = 3


class PlanError(ValueError):
    """The run was refused before any cell ran."""


@dataclass(frozen=True)
class Notebook:
    """A notebook and its handover line.

    Attributes:
        name: file name without suffix; `proofs/` or `benchmarks/` stands before those that are not in the chain.
        path: the file.
        reads: alternatives, each a tuple of names of which one must be there.
        may_read: names that are read where they are there.
        writes: names of the tables that it writes.
        reads_facts, writes_facts: names of the records that its code reads and writes.
    """

    name: str
    path: Path
    reads: tuple[tuple[str, ...], ...]
    may_read: tuple[str, ...]
    writes: tuple[str, ...]
    reads_facts: tuple[str, ...] = ()
    writes_facts: tuple[str, ...] = ()

    @property
    def is_chain(self) -> bool:
        """Whether it belongs to the chain of numbered notebooks."""
        return "/" not in self.name

    @property
    def is_root(self) -> bool:
        """Whether it reads nothing: it brings the source in, or stands on its own."""
        return not self.reads and not self.may_read

    @property
    def wants(self) -> set[str]:
        """All names that it reads, needed or not."""
        return {name for names in self.reads for name in names} | set(self.may_read) | set(self.reads_facts)

    @property
    def makes(self) -> set[str]:
        """All names that it writes."""
        return set(self.writes) | set(self.writes_facts)


def folder() -> Path:
    """The folder of the notebooks."""
    return store.project() / "notebooks"


def discover(notebooks: Path) -> dict[str, Notebook]:
    """Find the notebooks of the chain, then proofs and benchmarks, by name."""
    paths = {path.stem: path for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    for side in SIDES:
        paths |= {f"{side}/{path.stem}": path for path in sorted((notebooks / side).glob("*.ipynb"))}
    words = {name: _words(path) for name, path in paths.items()}
    facts = {fact for _, made in words.values() for fact in made}
    return {name: _load(name, path, words[name], facts) for name, path in paths.items()}


def _load(name: str, path: Path, words: tuple[set[str], set[str]], facts: set[str]) -> Notebook:
    line, (said, made) = store.handover(path), words
    return Notebook(
        name, path, tuple(map(tuple, line.reads)), tuple(line.may_read), tuple(line.writes),
        reads_facts=tuple(sorted((said & facts) - made)), writes_facts=tuple(sorted(made)),
    )


def _words(path: Path) -> tuple[set[str], set[str]]:
    """The texts that stand in a notebook's code, and the names of the records that it writes."""
    try:
        cells = json.loads(path.read_text())["cells"]
        trees = [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, SyntaxError) as error:
        raise PlanError(f"{path}: not a notebook of plain Python cells ({error}).") from error
    said, made = set(), set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said.add(node.value)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "write_facts" and node.args:
            made.add(str(getattr(node.args[0], "value", "")))
    return said, made - {""}


def select(names: list[str], known: dict[str, Notebook], *, has: set[str]) -> list[Notebook]:
    """Choose the notebooks of a run: the chain, or those named with all that they need.

    Args:
        names: `07`, `experiments`, `07_experiments`, `proofs/calibration` or `calibration`; empty means the chain.
        known: all notebooks, as `discover` found them.
        has: what the source provides.

    Raises:
        PlanError: a name fits no notebook, or several; or there are none at all.
    """
    if not known:
        raise PlanError("notebooks: none found.")
    if not names:
        return [notebook for notebook in known.values() if notebook.is_chain]
    chosen, waiting = set(), [find(name, known) for name in names]
    while waiting:
        notebook = waiting.pop()
        if notebook.name not in chosen:
            chosen.add(notebook.name)
            waiting += [known[name] for name in sources_of(notebook, known, has=has)]
    return [notebook for name, notebook in known.items() if name in chosen]


def find(name: str, known: dict[str, Notebook]) -> Notebook:
    """Find the one notebook that a name means."""
    wanted = name.removesuffix(".ipynb").removeprefix("notebooks/").strip("/")
    if wanted in known:
        return known[wanted]
    found = [notebook for notebook in known.values() if wanted in _nicknames(notebook)]
    if len(found) == 1:
        return found[0]
    if found:
        raise PlanError(f"notebook {name!r} means several: {', '.join(each.name for each in found)}; name one of them.")
    words = sorted({word for notebook in known.values() for word in (notebook.name, *_nicknames(notebook))})
    raise PlanError(f"unknown notebook {name!r}; {nearest(wanted, words, list(known))}")


def _nicknames(notebook: Notebook) -> set[str]:
    stem = notebook.path.stem
    number, _, word = stem.partition("_")
    return {stem, number, word} if number.isdigit() and word else {stem}


def nearest(word: str, words: list[str], known: list[str]) -> str:
    """Say which known words are like this one, or list them all."""
    close = difflib.get_close_matches(word, words, n=N_NEAREST, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}."


def sources_of(notebook: Notebook, known: dict[str, Notebook], *, has: set[str]) -> list[str]:
    """Name the notebooks that write what this one reads; only those before it in the chain can."""
    found = []
    for other in known.values():
        is_before = other.is_chain and (not notebook.is_chain or other.name < notebook.name)
        if is_before and any(name in other.makes and (other.is_root or name not in has) for name in notebook.wants):
            found.append(other.name)
    return found


def graph(chosen: list[Notebook], *, has: set[str]) -> dict[str, list[str]]:
    """Map each chosen notebook to the chosen notebooks that must end before it starts."""
    known = {notebook.name: notebook for notebook in chosen}
    return {name: sources_of(notebook, known, has=has) for name, notebook in known.items()}


def missing(notebook: Notebook, there: set[str], lacks: dict[str, str]) -> str:
    """Say what a notebook lacks, given what is there; empty where it can run.

    Args:
        notebook: the notebook.
        there: names of the tables and capabilities that are there.
        lacks: why the source has no such table or capability, as it says itself.
    """
    lacking = [names for names in notebook.reads if not set(names) & there]
    if not lacking:
        return ""
    parts = [" or ".join(f"`{name}`" for name in names) for names in lacking]
    neither = "it" if len(lacking) == 1 and len(lacking[0]) == 1 else "any of them"
    why = [lacks[name] for names in lacking for name in names if name in lacks]
    told = f"needs {' and '.join(parts)}; neither the source nor a notebook before it provides {neither}."
    return " ".join([told, *dict.fromkeys(why)])

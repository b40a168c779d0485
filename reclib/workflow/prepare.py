"""Turn a request into a plan, or refuse it: everything that can be wrong is found before any cell runs."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from reclib import schema, store
from reclib.workflow import parameters, publish, resume
from reclib.workflow.plan import Notebook, PlanError, discover, folder, graph, select

SOURCE, SEED = "source", "seed"
CAPABILITIES = ("answers", "times")
SOURCE_OPTIONS = ("seed", "as_of", "n_customers", "n_items", "n_days")


@dataclass(frozen=True)
class Request:
    """What was asked for, as typed.

    Attributes:
        names: notebooks; empty means the chain.
        source: built-in name or path; empty means the default of the notebooks.
        scenario: scenario file.
        assignments: `name=value` texts.
        run_id: name of the run; empty means one made of source and parameters.
        reports: folder of the runs; None means `store.reports()`.
        jobs: notebooks side by side.
        resume: keep what still stands of the run.
        notebooks: folder of the notebooks; None means the project's.
    """

    names: tuple[str, ...] = ()
    source: str = ""
    scenario: Path | None = None
    assignments: tuple[str, ...] = ()
    run_id: str = ""
    reports: Path | None = None
    jobs: int = 1
    resume: bool = False
    notebooks: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What will run.

    Attributes:
        run_id, reports: name of the run, and the folder of the runs.
        notebooks: the folder of the notebooks, in which kernels work.
        chosen: notebooks in the order of the chain.
        before: the notebooks that must end before each starts.
        values: parameters to inject, for each notebook.
        asked: parameters as asked for, for the record.
        source: what the source says of itself; empty where no notebook of the run reads one.
        source_hash: hash of what the source is made of.
        has: tables and capabilities of the source.
        jobs: notebooks side by side.
        earlier: records of an earlier attempt at the same run, by notebook.
    """

    run_id: str
    reports: Path
    notebooks: Path
    chosen: list[Notebook]
    before: dict[str, list[str]]
    values: dict[str, dict[str, object]]
    asked: dict[str, object]
    source: dict[str, object]
    source_hash: str
    has: set[str]
    jobs: int
    earlier: dict[str, dict] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.reports / self.run_id


def prepare(request: Request) -> Plan:
    """Make the plan of a run.

    Raises:
        PlanError: unknown notebook, parameter, scenario or run, or a run id that is taken.
        ValueError: the source is unknown, cannot be read or breaks a contract (`SourceError`, `ContractError`).
    """
    if request.jobs < 1:
        raise PlanError(f"jobs == {request.jobs}, must be at least 1.")
    notebooks = (request.notebooks or folder()).resolve()
    asked, single, name = _asked(request)
    known = discover(notebooks)
    select(list(request.names), known, has=set())
    source = _describe(name or _default_source(known))
    has = set(source.get("tables", ())) | {word for word in CAPABILITIES if source.get(word)}
    chosen = select(list(request.names), known, has=has)
    if name and any(SOURCE in parameters.declared(notebook.path) for notebook in chosen):
        asked = asked | {SOURCE: name}
    values = parameters.assign(chosen, asked, single, others=known)
    readers = [notebook for notebook in chosen if SOURCE in parameters.declared(notebook.path)]
    if readers:
        _check(str(source["source"]), _source_options(readers[0], values))
    reports = (request.reports or store.reports()).resolve()
    shown = source if readers else {}
    run_id, earlier = _place(request, reports, _short(shown, values))
    return Plan(
        run_id, reports, notebooks, chosen, graph(chosen, has=has), values, asked, shown,
        _source_hash(shown), has, request.jobs, earlier,
    )


def _asked(request: Request) -> tuple[dict[str, object], dict[str, dict[str, object]], str]:
    scenario = parameters.Scenario(None, {}, {})
    if request.scenario:
        scenario = parameters.read_scenario(request.scenario)
    asked = scenario.parameters | parameters.split(request.assignments)
    in_scenario, assigned = scenario.source or "", str(asked.pop(SOURCE, ""))
    return asked, scenario.notebooks, _absolute(request.source or assigned or str(in_scenario))


def _absolute(source: str) -> str:
    """Make the path of a source file absolute; a built-in name stays as it is."""
    is_path = source and (Path(source).is_file() or Path(source).suffix in (".yaml", ".yml"))
    return str(Path(source).resolve()) if is_path else source


def _default_source(known: dict[str, Notebook]) -> str:
    for notebook in known.values():
        if notebook.is_chain and SOURCE in parameters.declared(notebook.path):
            return str(parameters.declared(notebook.path)[SOURCE].default)
    return ""


def _describe(name: str) -> dict[str, object]:
    if not name:
        return {}
    from reclib.sources import catalog

    return {**catalog.describe(name), "source": name}


def _source_options(notebook: Notebook, values: dict[str, dict[str, object]]) -> dict[str, object]:
    declared = parameters.declared(notebook.path)
    given = {name: each.default for name, each in declared.items()} | values[notebook.name]
    return {name: given[name] for name in SOURCE_OPTIONS if name in given}


def _check(name: str, options: dict[str, object]) -> None:
    from reclib.sources import catalog

    found = catalog.check(name, **options)
    if len(found):
        raise schema.ContractError(f"source {name}: broken contract.\n{schema.describe(found)}", found)


def _source_hash(source: dict[str, object]) -> str:
    """Hash what the source says of itself and the bytes of its files."""
    if not source:
        return ""
    place = Path(str(source.get("place") or source["source"]))
    names = [path for path in sorted(place.rglob("*")) if path.is_file()] if place.is_dir() else [place, *_named_in(place)]
    files = {str(path): resume.digest(path) for path in names if path.is_file()}
    return hashlib.sha256(json.dumps([source, files], sort_keys=True, default=str).encode()).hexdigest()


def _named_in(path: Path) -> list[Path]:
    """The files that a source file names."""
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return []
    words = re.findall(r"[^\s,{}\[\]\"']+", path.read_text())
    return [path.parent / word for word in sorted(set(words)) if (path.parent / word).is_file()]


def _short(source: dict[str, object], values: dict[str, dict[str, object]]) -> str:
    """A run id that the request decides alone, so that the same request makes the same tables anywhere."""
    told = hashlib.sha256(json.dumps([source.get("source"), values], sort_keys=True, default=str).encode()).hexdigest()
    word = "".join(letter if letter.isalnum() else "-" for letter in str(source.get("name") or "run"))
    return f"{word.strip('-').lower() or 'run'}-{told[:6]}"


def _place(request: Request, reports: Path, short: str) -> tuple[str, dict[str, dict]]:
    if request.run_id:
        run_id = publish.check_run_id(request.run_id)
        if (reports / run_id).exists() and not request.resume:
            raise PlanError(f"run {run_id!r} is already in {reports}; choose another --run-id, or add --resume.")
    else:
        run_id = _unfinished(reports, short) if request.resume else _free(reports, short)
    record = publish.read_json(reports / run_id / "run.json") if request.resume else {}
    return run_id, {each["name"]: each for each in record.get("notebooks", [])}


def _free(reports: Path, short: str) -> str:
    taken = {path.name for path in reports.glob(f"{short}*")}
    names = [short, *(f"{short}-{n}" for n in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _unfinished(reports: Path, short: str) -> str:
    """The last attempt at this very request: the one with the highest number."""
    found = [path.name for path in reports.glob(f"{short}*") if path.is_dir()]
    return max(found, key=lambda name: (len(name), name), default=short)

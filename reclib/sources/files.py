"""Sources that people bring: a YAML file that names their files, read whole or refused whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reclib import schema
from reclib.sources import checks, columns, manifest, reader, source
from reclib.sources.manifest import Manifest, TableFile
from reclib.sources.source import About, Source

_WHY_NOT = {
    "events": "no events, so there is no history to learn from",
    "items": "no items",
    "customers": "no table of customers, so only what they did is known of them",
    "holdout": "no holdout; pairs for evaluation are cut by time",
    "units": "no units, so there is no finished experiment to read out",
    "logged_deliveries": "no logged_deliveries, so what was shown with which probability is not known",
    "logged_outcomes": "no logged_outcomes, so answers to what was shown are not known",
    "overrides": "no overrides, so nothing is pinned or blocked by hand",
}
_FROM_CONSTANTS = ("event_type", "outcome_type", "policy", "action")
_ROW_NUMBERED = {"events": "event_id", "overrides": "override_id", "logged_deliveries": "decision_id",
                 "logged_outcomes": "decision_id"}


def load(path: Path, *, as_of: str = "") -> Source:
    """Load the source that a source file describes.

    Args:
        path: the YAML file.
        as_of: date of the run, nothing may have happened after it; today where empty.

    Raises:
        SourceError: every fault of the source file, or else of its tables and between them.
    """
    wanted = manifest.read(path)
    tables, is_typed, faults, notes = _read_all(wanted, path.parent)
    tables = _with_ids(tables, is_typed)
    faults += _contract_faults(tables, faults)
    faults += checks.between(tables, run_date=source.end_of_day(as_of) if as_of else _today())
    if wanted.experiment and "units" in tables:
        faults += checks.plan(tables["units"], wanted.experiment)
    faults += _side_files(wanted, path.parent)
    source.raise_faults(wanted.name, faults)
    about = _about(wanted)
    tables, more = _with_items(tables)
    notes += [*more, *checks.holdout_sentences(tables)]
    return Source(wanted.name, tables, _facts(about, wanted, path, tables, as_of, notes))


def describe(path: Path) -> dict:
    """Say what the source will have, from the source file alone.

    Raises:
        SourceError: the source file is not valid.
    """
    wanted = manifest.read(path)
    about = _about(wanted)
    absent = [str(path.parent / name) for name in about.files if not (path.parent / name).is_file()]
    return {
        "name": about.name, "about": about.about, "kind": about.kind, "tables": list(about.tables),
        "lacks": dict(about.lacks), "answers": False, "times": "times" not in about.lacks,
        "has_experiment": wanted.tables.units is not None,
        "has_policy": wanted.policy is not None, "place": str(path.resolve()), "is_here": not absent, "absent": absent,
    }


def _about(wanted: Manifest) -> About:
    named = wanted.tables.named()
    is_derivable = "events" in named or "logged_deliveries" in named
    names = tuple(name for name in source.TABLES if name in named or name == "items" and is_derivable)
    files = [spec.path for spec in named.values()]
    files += [wanted.policy.path] if wanted.policy else []
    files += [wanted.rules] if wanted.rules else []
    lacks = {name: f"{wanted.name} has {why}." for name, why in _WHY_NOT.items() if name not in names}
    if "events" in named and "occurred_at" in named["events"].constants:
        lacks["times"] = f"{wanted.name} gives all events one time, so nothing comes after what could be learnt from."
    return About(
        name=wanted.name, about=wanted.about or f"A source file with {', '.join(named)}.", kind="file", tables=names, lacks=lacks,
        files=tuple(files),
    )


def _read_all(wanted: Manifest, place: Path) -> tuple[dict, dict, list[dict], list[str]]:
    """Read every table that can be read; collect the faults of all."""
    tables, is_typed, faults, notes = {}, {}, [], []
    for name, spec in wanted.tables.named().items():
        raw, found = reader.read(place / spec.path, name, spec)
        faults += found
        if raw is None:
            continue
        frame, found = columns.build(raw, name, spec)
        faults += found
        frame, said = _completed(frame, name, spec, wanted)
        tables[name], is_typed[name] = frame, reader.kind_of(place / spec.path) in reader.PARQUET
        notes += said
    return tables, is_typed, faults, notes


def _completed(frame: pd.DataFrame, name: str, spec: TableFile, wanted: Manifest) -> tuple[pd.DataFrame, list[str]]:
    """Add what follows from the rest, and say so: row numbers as ids, values, the experiment's id."""
    def lacks(column: str) -> bool:
        return column not in frame and column not in spec.columns

    notes = []
    key = _ROW_NUMBERED.get(name, "")
    is_numbered = bool(key) and lacks(key)
    if is_numbered:
        frame = frame.assign(**{key: np.arange(1, len(frame) + 1)})
        notes.append(f"{name}.{key}: the row number in the file.")
    if name in ("events", "logged_outcomes") and lacks("value"):
        frame, note = _valued(frame, name)
        notes.append(note)
    if name == "logged_deliveries" and lacks("position"):
        frame = frame.assign(position=1)
        notes.append("logged_deliveries.position: 1 for each slot; the source states none.")
    if name == "logged_outcomes":
        frame, said = _answers(frame, is_numbered)
        notes += said
    if name == "overrides" and lacks("opportunity_cost"):
        frame = frame.assign(opportunity_cost=np.nan)
    return (_planned(frame, wanted) if name == "units" and wanted.experiment else frame), notes


def _planned(units: pd.DataFrame, wanted: Manifest) -> pd.DataFrame:
    """Give units the id of their plan, and make numbers of truth values, words for them, and numbers held as texts."""
    if "experiment_id" not in units:
        units = units.assign(experiment_id=wanted.experiment.experiment_id)
    measured = [column for column, place in wanted.experiment.columns().items() if column in units and place != "segments"]
    return units.assign(**{column: columns.as_numbers(units[column]) for column in measured})


def _answers(outcomes: pd.DataFrame, is_numbered: bool) -> tuple[pd.DataFrame, list[str]]:
    """Answers without a time get a missing one; in a file with a row for each slot, a value of 0 is no answer."""
    if "occurred_at" not in outcomes:
        outcomes = outcomes.assign(occurred_at=pd.Series(pd.NaT, index=outcomes.index, dtype="datetime64[us, UTC]"))
    is_none = outcomes["value"].eq(0) if "value" in outcomes else pd.Series(False, index=outcomes.index)
    if not is_numbered or not is_none.any():
        return outcomes, []
    kept = outcomes[~is_none].reset_index(drop=True)
    return kept, [f"logged_outcomes: {int(is_none.sum()):,} rows with value 0 are slots without an answer."]


def _valued(frame: pd.DataFrame, name: str) -> tuple[pd.DataFrame, str]:
    if name == "logged_outcomes":
        return frame.assign(value=1.0), "logged_outcomes.value: 1 for each answer; the source states no amount."
    parts = [frame.get(part) for part in ("price", "quantity")]
    if all(part is not None and pd.api.types.is_numeric_dtype(part) for part in parts) and "event_type" in frame:
        is_paid = frame["event_type"].isin(["purchase", "return"])
        value = (parts[0] * parts[1]).round(6).clip(lower=0).where(is_paid, 0.0)  # a part below 0 is a fault of its own
        return frame.assign(value=value), "events.value: price times quantity of purchases and returns, 0 for other events."
    return frame.assign(value=0.0), "events.value: 0 for each event; the source states no amount, so nothing here is money."


def _with_ids(tables: dict[str, pd.DataFrame], is_typed: dict[str, bool]) -> dict[str, pd.DataFrame]:
    """Decide the kind of each id once for all tables."""
    names = sorted({column for table in tables for column, known in schema.TABLES[table].columns.items()
                    if known.kind == schema.ID and column in tables[table]})
    made = {name: frame.copy() for name, frame in tables.items()}
    for column in names:
        holders = {name: frame[column] for name, frame in tables.items()
                   if column in frame and column in schema.TABLES[name].columns}
        numbered = {name: is_typed[name] or pd.api.types.is_integer_dtype(values) for name, values in holders.items()}
        for name, values in columns.as_ids(holders, numbered).items():
            made[name][column] = values
    return made


def _contract_faults(tables: dict[str, pd.DataFrame], reported: list[dict]) -> list[dict]:
    """Faults of every contract, less the missing columns that were reported with a better reason."""
    known = {(row["table"], row["column"]) for row in reported}
    faults = []
    for name, frame in tables.items():
        for row in schema.violations(frame, schema.TABLES[name]).to_dict("records"):
            if row["problem"].startswith("is missing"):
                left = [column for column in row["column"].split(", ") if (name, column) not in known]
                row = row | {"column": ", ".join(left)}
                if not left:
                    continue
                if left[0] in _FROM_CONSTANTS:
                    row["problem"] += f"; where it is the same in every row, write constants: {{{left[0]}: ...}}"
            if row["column"] == "event_type" and row["problem"].startswith("is none of"):
                row = row | {"problem": row["problem"] + _translate(frame["event_type"])}
            faults.append(row)
    return faults


def _translate(words: pd.Series) -> str:
    """Name the unknown words and how to translate them."""
    unknown = sorted(set(words.dropna()) - set(schema.EVENT_TYPES))
    shown = ", ".join(map(repr, unknown[:schema.N_ROWS_SHOWN])) + (", ..." if len(unknown) > schema.N_ROWS_SHOWN else "")
    return f"; found {shown}; translate with words: {{event_type: {{{unknown[0]}: purchase}}}}"


def _side_files(wanted: Manifest, place: Path) -> list[dict]:
    """Faults of the policy's file and of the rules' path."""
    faults = []
    if wanted.rules and not (place / wanted.rules).is_file():
        faults.append(source.fault("rules", "", f"has no file: {place / wanted.rules} not found"))
    if wanted.policy:
        raw, found = reader.read(place / wanted.policy.path, "items", TableFile(path=wanted.policy.path))
        faults += [row | {"table": "policy"} for row in found]
        faults += checks.policy(raw) if raw is not None else []
    return faults


def _with_items(tables: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Derive the items from what happened to them where the source names none; say what is assumed of the rest."""
    if "items" in tables:
        return tables, checks.strangers_sentences(tables)
    seen = [tables[name]["item_id"] for name in ("events", "logged_deliveries", "holdout") if name in tables]
    if not seen or not {"events", "logged_deliveries"} & set(tables):
        return tables, []
    known = pd.concat(seen, ignore_index=True).drop_duplicates().sort_values(ignore_index=True)
    note = f"items: the {len(known):,} items that events, log or holdout name; no title, category or price is known."
    return tables | {"items": known.to_frame("item_id")}, [*checks.strangers_sentences(tables), note]


def _facts(about: About, wanted: Manifest, path: Path, tables: dict, as_of: str, notes: list[str]) -> dict:
    until = source.end_of_day(as_of) if as_of else source.last_day(tables)
    plan = wanted.experiment.as_record() if wanted.experiment else None
    is_randomised = plan is not None and "units" in tables and plan.get("is_randomised", True)
    why = (f"The plan of {plan['experiment_id']} says that its arms were drawn by lot." if is_randomised
           else f"{wanted.name} names no experiment whose arms were drawn by lot.")
    more = {}
    if "events" in tables and (tables["events"]["event_type"] == "rating").any():
        ratings = tables["events"].loc[tables["events"]["event_type"] == "rating", "value"]
        more = {"rating_low": float(ratings.min()), "rating_high": float(ratings.max())} if ratings.notna().any() else {}
    return source.facts(
        about, tables, as_of=until, currency=wanted.currency, assumptions=notes, experiment=plan,
        is_randomised=is_randomised, randomised_why=why, place=str(path.resolve()), **more,
    ) | {
        "policy_path": str((path.parent / wanted.policy.path).resolve()) if wanted.policy else None,
        "rules_path": str((path.parent / wanted.rules).resolve()) if wanted.rules else None,
    }


def _today() -> pd.Timestamp:
    # The clock decides only whether a source is refused, never what is computed from it; a day is allowed for time zones.
    return source.end_of_day(pd.Timestamp.now("UTC").normalize()) + pd.Timedelta(days=1)

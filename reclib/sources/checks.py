"""What no single table can know: faults between the tables of a source, and the assumptions that they lead to."""

from __future__ import annotations

import pandas as pd

from reclib.sources import source
from reclib.sources.manifest import ExperimentPlan

PAST = {"events": ("occurred_at",), "logged_deliveries": ("delivered_at",), "logged_outcomes": ("occurred_at",),
        "customers": ("joined_at", "opted_out_at"), "overrides": ("made_at",)}
_SHARED_IDS = ("customer_id", "item_id", "decision_id", "experiment_id")
_HOMES = {"item_id": "items", "customer_id": "customers"}


def between(tables: dict[str, pd.DataFrame], *, run_date: pd.Timestamp) -> list[dict]:
    """All faults that need more than a contract: times to come, money below zero, ids that do not meet.

    Args:
        tables: the tables as converted.
        run_date: nothing may have happened after it.
    """
    faults = []
    for name, columns in PAST.items():
        for column in columns:
            faults += _in_future(tables, name, column, run_date)
    faults += _money_below_zero(tables) + _impossible_showings(tables)
    for column in _SHARED_IDS:
        faults += _kinds_differ(tables, column)
    for column, home in _HOMES.items():
        faults += _strangers(tables, column, home)
    return faults + _dangling_answers(tables)


def plan(units: pd.DataFrame, experiment: ExperimentPlan) -> list[dict]:
    """Faults between the units and the plan: columns that are not there, values of the wrong kind, other arms."""
    ids = units["experiment_id"].astype("str") if "experiment_id" in units else pd.Series(str(experiment.experiment_id), index=units.index)
    if not ids.eq(str(experiment.experiment_id)).any():
        return [source.fault("units", "experiment_id", f"names no customer of {experiment.experiment_id}, which the plan is of; found: "
                             f"{', '.join(sorted(ids.unique())[:5])}", n_rows=len(units))]
    units = units[ids == str(experiment.experiment_id)]
    faults = []
    wanted = experiment.columns()
    absent = {column: where for column, where in wanted.items() if column not in units}
    faults += [source.fault("units", column, f"is named by the plan ({where}) but is not there; found: {', '.join(units)}")
               for column, where in absent.items()]
    for column in wanted:
        if column in units and column not in experiment.segments and not pd.api.types.is_numeric_dtype(units[column]):
            faults.append(source.fault("units", column, f"is not a number (type {units[column].dtype}), so the plan cannot use it",
                                       n_rows=len(units), first_rows=_first(units[column])))
    for name, metric in experiment.metrics.items():
        column = metric.column or name
        if metric.kind == "proportion" and column in units and pd.api.types.is_numeric_dtype(units[column]):
            is_bad = units[column].notna() & ~units[column].isin([0, 1])
            faults += source.faults_where(units, "units", column, "is neither 0 nor 1, so it is no proportion", is_bad)
    return faults + _other_arms(units, experiment) + _in_two_arms(units)


def policy(frame: pd.DataFrame) -> list[dict]:
    """Faults of the policy that off-policy evaluation values."""
    absent = [column for column in ("item_id", "p_target") if column not in frame]
    if absent:
        return [source.fault("policy", ", ".join(absent), f"is missing; found: {', '.join(map(str, frame.columns))}")]
    if not pd.api.types.is_numeric_dtype(frame["p_target"]):
        return [source.fault("policy", "p_target", f"is not a number (type {frame['p_target'].dtype})", n_rows=len(frame))]
    faults = source.faults_where(frame, "policy", "p_target", "is not a probability", ~frame["p_target"].between(0, 1))
    context = [column for column in frame if column not in ("item_id", "p_target")]
    sums = frame.groupby(context, dropna=False)["p_target"].sum() if context else pd.Series([frame["p_target"].sum()])
    if not faults and (sums > 1 + 1e-6).any():
        faults.append(source.fault("policy", "p_target", f"sums to {sums.max():.4g} in one context; a policy's probabilities "
                                   "sum to 1", n_rows=int((sums > 1 + 1e-6).sum())))
    return faults


def strangers_sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Say which events are about items or customers that their own table lacks."""
    sentences = []
    events = tables.get("events")
    for column, home in _HOMES.items():
        if events is None or home not in tables:
            continue
        is_strange = ~events[column].isin(tables[home][column])
        if is_strange.any():
            n_ids, what = events.loc[is_strange, column].nunique(), column.removesuffix("_id")
            sentences.append(
                f"{int(is_strange.sum()):,} events name {n_ids:,} {what}{'s' * (n_ids > 1)} that the table {home} lacks: "
                f"they count as signals, but nothing is known of {'those ' + what + 's' if n_ids > 1 else 'that ' + what}.")
    return sentences


def holdout_sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Say how many pairs kept for evaluation stand in the history too."""
    if not {"holdout", "events"} <= set(tables):
        return []
    pairs = tables["holdout"][["customer_id", "item_id"]]
    seen = tables["events"][["customer_id", "item_id"]].drop_duplicates()
    n_seen = len(pairs.merge(seen, on=["customer_id", "item_id"], validate="one_to_one"))
    if not n_seen:
        return [f"None of the {len(pairs):,} holdout pairs stands in events."]
    return [f"{n_seen:,} of {len(pairs):,} holdout pairs stand in events too: right for what is bought again, a leak otherwise."]


def _in_future(tables: dict[str, pd.DataFrame], name: str, column: str, run_date: pd.Timestamp) -> list[dict]:
    if column not in tables.get(name, ()) or not pd.api.types.is_datetime64_any_dtype(tables[name][column]):
        return []
    is_late = tables[name][column] > run_date
    return source.faults_where(tables[name], name, column, f"is after the run date {run_date.date()}", is_late)


def _money_below_zero(tables: dict[str, pd.DataFrame]) -> list[dict]:
    events = tables.get("events", pd.DataFrame())
    faults = []
    if {"event_type", "value"} <= set(events) and pd.api.types.is_numeric_dtype(events["value"]):
        is_bad = (events["event_type"] == "purchase") & (events["value"] < 0)
        faults += source.faults_where(events, "events", "value", "is below 0 for a purchase; a return has its own event_type",
                                      is_bad)
    for column in ("price", "list_value", "discount"):
        if column in events and pd.api.types.is_numeric_dtype(events[column]):
            faults += source.faults_where(events, "events", column, "is below 0", events[column] < 0)
    return faults


def _impossible_showings(tables: dict[str, pd.DataFrame]) -> list[dict]:
    log = tables.get("logged_deliveries", pd.DataFrame())
    if "p_shown" not in log or not pd.api.types.is_numeric_dtype(log["p_shown"]):
        return []
    problem = "is 0 for a slot that was shown; the probability of what happened is above 0"
    return source.faults_where(log, "logged_deliveries", "p_shown", problem, log["p_shown"] == 0)


def _kinds_differ(tables: dict[str, pd.DataFrame], column: str) -> list[dict]:
    holders = {name: frame[column] for name, frame in tables.items() if column in frame and frame[column].notna().any()}
    kinds = {name: "whole numbers" if pd.api.types.is_integer_dtype(values) else "texts" for name, values in holders.items()}
    if len(set(kinds.values())) < 2:
        return []
    home = _home_of(column, kinds)
    return [source.fault(name, column, f"holds {kinds[name]} such as {_example(holders[name])}, {home}.{column} holds "
                         f"{kinds[home]} such as {_example(holders[home])}: ids that differ only in type never meet; "
                         "make both of one kind", n_rows=len(holders[name]), first_rows=_first(holders[name]))
            for name in kinds if kinds[name] != kinds[home]]


def _strangers(tables: dict[str, pd.DataFrame], column: str, home: str) -> list[dict]:
    """Refuse ids that no row of their own table has, and ids that would be there if written alike."""
    if home not in tables or column not in tables[home]:
        return []
    known = tables[home][column].dropna()
    faults = []
    for name, frame in tables.items():
        if name == home or name == "units" or column not in frame or _is_text(known) != _is_text(frame[column]):
            continue
        strange = frame[column].notna() & ~frame[column].isin(known)
        if not strange.any():
            continue
        if _is_text(known):
            alike = strange & _bare(frame[column]).isin(set(_bare(known)))
            problem = f"differs only in its writing from ids of {home}; write both alike"
            faults += source.faults_where(frame, name, column, problem, alike)
            strange &= ~alike
        if strange.sum() == frame[column].notna().sum():
            faults += source.faults_where(frame, name, column, f"is in no row of {home}; are these the same ids?", strange)
    return faults


def _dangling_answers(tables: dict[str, pd.DataFrame]) -> list[dict]:
    log, answers = tables.get("logged_deliveries"), tables.get("logged_outcomes")
    if answers is None or "decision_id" not in answers:
        return []
    if log is None or "decision_id" not in log:
        return [] if log is not None else [
            source.fault("logged_outcomes", "", "answers a log that is not there; name logged_deliveries too")]
    if _is_text(log["decision_id"]) != _is_text(answers["decision_id"]):
        return []
    is_bad = answers["decision_id"].notna() & ~answers["decision_id"].isin(log["decision_id"])
    return source.faults_where(answers, "logged_outcomes", "decision_id", "is in no row of logged_deliveries", is_bad)


def _other_arms(units: pd.DataFrame, experiment: ExperimentPlan) -> list[dict]:
    if "arm" not in units:
        return []
    planned, there = set(experiment.expected_shares), set(units["arm"].dropna())
    faults = source.faults_where(units, "units", "arm", f"is none of the plan's arms: {', '.join(sorted(planned))}",
                                 units["arm"].notna() & ~units["arm"].isin(planned))
    empty = sorted(arm for arm in planned - there if experiment.expected_shares[arm] > 0)
    if empty:
        faults.append(source.fault("units", "arm", f"has no customer in {', '.join(empty)}, which the plan expects; "
                                   f"found: {', '.join(sorted(map(str, there)))}"))
    return faults


def _in_two_arms(units: pd.DataFrame) -> list[dict]:
    """Customers whom nobody can compare: the contract says only that they are repeated."""
    if not {"arm", "customer_id"} <= set(units):
        return []
    n_arms = units.drop_duplicates(["customer_id", "arm"])["customer_id"].value_counts()
    is_both = units["customer_id"].isin(n_arms.index[n_arms > 1])
    return source.faults_where(units, "units", "customer_id", "stands in two arms or more, so it cannot be told which one it shows", is_both)


def _home_of(column: str, kinds: dict[str, str]) -> str:
    home = _HOMES.get(column, "logged_deliveries")
    return home if home in kinds else next(iter(kinds))


def _is_text(values: pd.Series) -> bool:
    return not pd.api.types.is_integer_dtype(values)


def _bare(values: pd.Series) -> pd.Series:
    """Ids without what tools add or lose: spaces around, zeros in front, a decimal point behind."""
    bare = values.astype("str").str.strip().str.replace(r"\.0+$", "", regex=True)
    return bare.str.replace(r"^0+(?=.)", "", regex=True)


def _example(values: pd.Series) -> str:
    value = values.dropna().iloc[0]
    return repr(value.item() if hasattr(value, "item") else value)


def _first(values: pd.Series) -> str:
    return "; ".join(f"row {at}: {_example(values.iloc[at:at + 1])}" for at in range(min(3, len(values))) if pd.notna(values.iloc[at]))

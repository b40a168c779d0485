"""Table contracts: what every layer may expect of every table.

A contract names the key, the columns and what each may hold. `check` finds all violations at once;
`require` raises a `ContractError` that lists them. Optional columns are checked only where they are there,
and any further column is welcome (flags of items and customers, `part_*` of a ranking, metrics of a readout).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

ID, TIME, NUMBER, COUNT, FLAG, WORD, TEXT = "id", "time", "number", "count", "flag", "word", "text"
N_ROWS_SHOWN = 5

EVENT_TYPES = (
    "impression", "view", "click", "add_to_cart", "purchase", "return",
    "rating", "dismiss", "unsubscribe", "complaint", "override",
)
RULE_KINDS = (
    "eligibility", "applicability", "suitability", "safety", "policy",
    "stock", "budget", "margin_floor", "min_exposure",
    "frequency_cap", "suppression", "quiet_hours", "slate_quota", "diversity", "boost", "pin", "block",
)
RULE_OUTCOMES = ("filtered", "penalised", "boosted", "pinned", "not_allocated")
METRIC_ROLES = ("success", "guardrail", "quality", "exploratory")
STATUSES = ("pass", "warn", "fail")


class ContractError(ValueError):
    """A table breaks its contract; `violations` holds one row for each kind of fault."""

    def __init__(self, message: str, violations: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.violations = violations


@dataclass(frozen=True)
class Column:
    """What one column may hold.

    Attributes:
        kind: id (strings or integers, one kind only), time (UTC), number, count (whole, not negative),
            flag (boolean), word (one of `allowed`) or text.
        about: meaning and unit, for the data dictionary.
        is_required: the column must be there.
        is_nullable: values may be missing.
        low, high: closed bounds of numbers.
        allowed: the words of a `word` column; empty means any.
    """

    kind: str
    about: str
    is_required: bool = True
    is_nullable: bool = False
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The contract of a table: its key and its columns."""

    name: str
    about: str
    key: tuple[str, ...]
    columns: dict[str, Column] = field(default_factory=dict)

    @property
    def required(self) -> list[str]:
        """Names of the columns that must be there."""
        return [name for name, column in self.columns.items() if column.is_required]


def _id(about: str, **options: bool) -> Column:
    return Column(ID, about, **options)


def _optional(kind: str, about: str, **options) -> Column:
    return Column(kind, about, is_required=False, is_nullable=True, **options)


def _number(about: str, low: float | None = None, high: float | None = None, **options) -> Column:
    return Column(NUMBER, about, low=low, high=high, **options)


def _share(about: str, **options) -> Column:
    return Column(NUMBER, about, low=0.0, high=1.0, **options)


def _rank(about: str, **options) -> Column:
    return Column(COUNT, about, low=1, **options)


_CUSTOMER = _id("customer, as the source names it")
_ITEM = _id("item, as the source names it")
_POLICY = Column(WORD, "name of the policy that ranks")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("events", "what customers did, one row an event", ("event_id",), {
            "event_id": _id("event"),
            "occurred_at": Column(TIME, "when it happened, UTC"),
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "event_type": Column(WORD, "what happened", allowed=EVENT_TYPES),
            "value": _number("rating, or money paid or paid back; 0 where the event has none", is_nullable=True),
            "quantity": _optional(NUMBER, "units bought or returned", low=0),
            "channel": _optional(WORD, "where it happened"),
            "session_id": _optional(ID, "visit or basket"),
            "decision_id": _optional(ID, "delivered slot that it answers"),
            "served_ms": _optional(NUMBER, "milliseconds until the slate of an impression was there", low=0),
        }),
        Table("items", "what can be shown", ("item_id",), {
            "item_id": _ITEM,
            "title": _optional(TEXT, "name for people"),
            "category": _optional(WORD, "category"),
            "brand": _optional(WORD, "brand"),
            "supplier": _optional(WORD, "supplier"),
            "price": _optional(NUMBER, "current price, in the currency of the source", low=0),
            "unit_cost": _optional(NUMBER, "cost of one unit, same currency", low=0),
            "stock_on_hand": _optional(NUMBER, "units in stock", low=0),
            "valid_from": _optional(TIME, "first moment on sale"),
            "valid_to": _optional(TIME, "last moment on sale"),
        }),
        Table("customers", "who can be addressed", ("customer_id",), {
            "customer_id": _CUSTOMER,
            "joined_at": _optional(TIME, "first contact"),
            "segment": _optional(WORD, "segment"),
            "region": _optional(WORD, "region"),
            "timezone": _optional(WORD, "time zone by its name, such as Europe/Berlin"),
            "has_consent": _optional(FLAG, "agreed to personalisation"),
            "opted_out_at": _optional(TIME, "withdrew from contact"),
        }),
        Table("ratings", "graded signal of each pair", ("customer_id", "item_id"), {
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "rating": _number("strength of the signal on the stated scale"),
            "n_events": _rank("events behind it"),
            "last_event_at": Column(TIME, "latest of them"),
        }),
        Table("holdout", "pairs kept for evaluation only", ("customer_id", "item_id"), {
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "is_new": _optional(FLAG, "the customer had no such item before"),
        }),
        Table("candidates", "what could be shown to whom, by source", ("customer_id", "item_id", "source"), {
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "source": Column(WORD, "candidate source"),
            "source_rank": _rank("rank within (customer, source)"),
            "source_score": _number("score of the source, higher is better"),
            "is_known_customer": Column(FLAG, "the source has learnt from this customer"),
            "is_known_item": Column(FLAG, "the source has learnt from this item"),
        }),
        Table("ranked", "candidates in order of priority", ("policy", "customer_id", "item_id"), {
            "policy": _POLICY,
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "p_response": _share("probability that the customer responds"),
            "value": _number("what a response is worth, in the currency of the source"),
            "priority": _number("what the ranking sorts by, higher first"),
            "rank": _rank("rank within (policy, customer)"),
        }),
        Table("rehearsals", "what each policy would have shown, had it been decided before the last days",
              ("policy", "customer_id", "item_id"), {
            "policy": _POLICY,
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "position": _rank("slot, from 1"),
            "decided_at": Column(TIME, "last moment that the decision knew, UTC"),
        }),
        Table("rules", "the rule register", ("rule_id",), {
            "rule_id": _id("rule"),
            "version": Column(TEXT, "hash of the rule file"),
            "kind": Column(WORD, "kind of rule", allowed=RULE_KINDS),
            "is_hard": Column(FLAG, "never relaxed"),
            "scope": Column(WORD, "what it is held against: row, slate, customer or all"),
            "limit": _number("threshold, where it has one", is_nullable=True),
            "window": Column(TEXT, "period it counts over", is_nullable=True),
            "owner": Column(TEXT, "who answers for it"),
            "reason": Column(TEXT, "why it is there, for people"),
            "valid_from": Column(TIME, "first moment in force", is_nullable=True),
            "valid_to": Column(TIME, "last moment in force", is_nullable=True),
            "on_missing": Column(WORD, "what missing data means", allowed=("block", "allow")),
        }),
        Table("rule_outcomes", "what each rule did to each pair", ("policy", "customer_id", "item_id", "rule_id"), {
            "policy": _POLICY,
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "rule_id": _id("rule"),
            "outcome": Column(WORD, "what it did", allowed=RULE_OUTCOMES),
            "detail": Column(TEXT, "the value that it met", is_nullable=True),
        }),
        Table("decisions", "every ranked pair with its fate", ("policy", "customer_id", "item_id"), {
            "policy": _POLICY,
            "customer_id": _CUSTOMER,
            "item_id": _ITEM,
            "rank": _rank("rank before rules"),
            "is_allowed": Column(FLAG, "no rule refused it"),
            "rule_id": _id("first rule that refused it", is_nullable=True),
            "position": _rank("slot in the slate, from 1", is_nullable=True),
        }),
        Table("rule_prices", "what each rule costs", ("policy", "rule_id"), {
            "policy": _POLICY,
            "rule_id": _id("rule"),
            "kind": Column(WORD, "kind of rule", allowed=RULE_KINDS),
            "is_binding": Column(FLAG, "it changes the decision"),
            "slack": _number("room left below the limit", is_nullable=True),
            "shadow_price": _number("value of one more unit of the limit", is_nullable=True),
            "drop_one_value": _number("value gained by lifting it alone", is_nullable=True),
            "n_removed": Column(COUNT, "pairs that it refused first", low=0),
            "unit": Column(TEXT, "unit of slack and shadow price", is_nullable=True),
        }),
        Table("deliveries", "slates as published, one row a slot", ("decision_id",), {
            "decision_id": _id("slot of a slate"),
            "delivered_at": Column(TIME, "when it was published, UTC"),
            "customer_id": _CUSTOMER,
            "channel": Column(WORD, "where it is shown"),
            "position": _rank("slot, from 1"),
            "item_id": _ITEM,
            "policy": _POLICY,
            "experiment_id": _optional(ID, "experiment"),
            "arm": _optional(WORD, "arm of the experiment"),
            "p_shown": _share("probability that the policy shows this item here, after rules"),
            "p_before_rules": _share("the same before rules", is_nullable=True),
            "n_eligible": Column(COUNT, "items that the customer could have been shown", low=1),
            "source": Column(WORD, "candidate source"),
            "is_fallback": Column(FLAG, "filled by the fallback chain"),
            "run_id": _id("run that decided"),
        }),
        Table("logged_deliveries", "slots shown in the past, with the probability that they were", ("decision_id",), {
            "decision_id": _id("slot shown"),
            "delivered_at": Column(TIME, "when it was shown, UTC"),
            "item_id": _ITEM,
            "position": _rank("slot, from 1"),
            "policy": Column(WORD, "logging policy"),
            "p_shown": Column(NUMBER, "probability that the logging policy shows this item here", is_nullable=False,
                              low=0.0, high=1.0),
            "customer_id": _optional(ID, "customer, where the log knows them"),
            "channel": _optional(WORD, "where it was shown"),
            "n_eligible": _optional(COUNT, "items that could have been shown", low=1),
            "session_id": _optional(ID, "visit"),
            "p_in_slate": _optional(NUMBER, "probability that it is shown anywhere in this slate", low=0.0, high=1.0),
        }),
        Table("outcomes", "answers to deliveries", ("decision_id", "outcome_type"), {
            "decision_id": _id("slot that was answered"),
            "outcome_type": Column(WORD, "what the customer did", allowed=EVENT_TYPES),
            "occurred_at": Column(TIME, "when, UTC", is_nullable=True),
            "value": _number("money or count of it"),
        }),
        Table("logged_outcomes", "answers to the slots shown in the past", ("decision_id", "outcome_type"), {
            "decision_id": _id("slot that was answered"),
            "outcome_type": Column(WORD, "what the customer did", allowed=EVENT_TYPES),
            "occurred_at": Column(TIME, "when, UTC", is_nullable=True),
            "value": _number("money or count of it"),
        }),
        Table("assignments", "who was in which arm", ("experiment_id", "customer_id"), {
            "experiment_id": _id("experiment"),
            "customer_id": _CUSTOMER,
            "arm": Column(WORD, "arm"),
            "assigned_at": Column(TIME, "when, UTC"),
        }),
        Table("units", "one row a customer of a finished experiment", ("experiment_id", "customer_id"), {
            "experiment_id": _id("experiment"),
            "customer_id": _CUSTOMER,
            "arm": Column(WORD, "arm"),
        }),
        Table("readout", "what the experiment says", ("experiment_id", "metric", "arm", "method"), {
            "experiment_id": _id("experiment"),
            "metric": Column(WORD, "metric"),
            "arm": Column(WORD, "arm held against the control"),
            "method": Column(WORD, "how it was estimated"),
            "role": Column(WORD, "what the metric decides", allowed=METRIC_ROLES),
            "control": Column(WORD, "control arm"),
            "n_arm": Column(COUNT, "customers in the arm", low=0),
            "n_control": Column(COUNT, "customers in the control", low=0),
            "mean_arm": _number("mean in the arm", is_nullable=True),
            "mean_control": _number("mean in the control", is_nullable=True),
            "effect": _number("difference", is_nullable=True),
            "effect_low": _number("lower end", is_nullable=True),
            "effect_high": _number("upper end", is_nullable=True),
            "lift": _number("relative difference", is_nullable=True),
            "lift_low": _number("lower end", is_nullable=True),
            "lift_high": _number("upper end", is_nullable=True),
            "p_value": _share("two-sided p-value", is_nullable=True),
            "is_primary": Column(FLAG, "this method carries the decision"),
        }),
        Table("policy_values", "what a policy would have earned", ("policy", "estimator"), {
            "policy": Column(WORD, "policy that is valued"),
            "estimator": Column(WORD, "estimator"),
            "value": _number("reward a decision", is_nullable=True),
            "low": _number("lower end", is_nullable=True),
            "high": _number("upper end", is_nullable=True),
            "ess": _number("effective sample size", low=0, is_nullable=True),
            "max_weight": _number("largest weight", low=0, is_nullable=True),
            "mean_weight": _number("mean weight, about one", low=0, is_nullable=True),
            "unsupported_share": _share("mass of the policy that the log never showed", is_nullable=True),
        }),
        Table("forecasts", "what was foretold and what came", ("forecast_id",), {
            "forecast_id": _id("forecast"),
            "policy": Column(WORD, "policy"),
            "metric": Column(WORD, "metric"),
            "made_at": Column(TIME, "when it was made, UTC"),
            "forecast": _number("foretold"),
            "low": _number("lower end", is_nullable=True),
            "high": _number("upper end", is_nullable=True),
            "observed": _number("what came", is_nullable=True),
            "observed_low": _number("lower end", is_nullable=True),
            "observed_high": _number("upper end", is_nullable=True),
        }),
        Table("overrides", "pins and blocks set by hand", ("override_id",), {
            "override_id": _id("override"),
            "customer_id": _optional(ID, "customer; missing means a segment or everyone"),
            "segment": _optional(WORD, "segment"),
            "item_id": _ITEM,
            "action": Column(WORD, "what it does", allowed=("pin", "block")),
            "owner": Column(TEXT, "who set it"),
            "reason": Column(TEXT, "why"),
            "made_at": Column(TIME, "when, UTC"),
            "expires_at": Column(TIME, "until when", is_nullable=True),
            "opportunity_cost": _number("value given up for it", is_nullable=True),
        }),
        Table("offline_metrics", "how good each stage is offline", ("stage", "metric", "k"), {
            "stage": Column(WORD, "a source, merged, ranked or final"),
            "metric": Column(WORD, "metric, its variant in the name"),
            "k": _rank("length of the list"),
            "value": _number("estimate", is_nullable=True),
            "low": _number("lower end", is_nullable=True),
            "high": _number("upper end", is_nullable=True),
            "n_customers": Column(COUNT, "customers behind it", low=0),
        }),
        Table("funnel", "what is left after each layer", ("layer",), {
            "layer": Column(WORD, "layer"),
            "n_customers": Column(COUNT, "customers left", low=0),
            "n_items": Column(COUNT, "items left", low=0),
            "n_pairs": Column(COUNT, "pairs left", low=0),
        }),
        Table("checks", "what was checked and found", ("check_id",), {
            "check_id": _id("check"),
            "layer": Column(WORD, "layer"),
            "status": Column(WORD, "finding", allowed=STATUSES),
            "observed": Column(TEXT, "what was seen", is_nullable=True),
            "allowed": Column(TEXT, "what is allowed", is_nullable=True),
            "detail": Column(TEXT, "what it means", is_nullable=True),
        }),
    )
}


def violations(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Hold a frame against its contract and list every fault.

    Returns:
        One row a fault: `table`, `column`, `problem`, `n_rows` and `first_rows` (text of the first offending rows,
        with their row number from 0). Empty where the contract holds.
    """
    found = [_missing_columns(frame, table)]
    for name, column in table.columns.items():
        if name in frame.columns:
            found += _column_faults(frame, name, column)
    key = [name for name in table.key if name in frame.columns]
    if key and len(key) == len(table.key) and len(frame):
        found.append(_fault(frame, "+".join(key), "is repeated; the key must be unique", _duplicated(frame, key)))
    rows = [row | {"table": table.name} for row in found if row]
    return pd.DataFrame(rows, columns=["table", "column", "problem", "n_rows", "first_rows"])


def require(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the frame, or raise a `ContractError` that lists all its violations."""
    found = violations(frame, table)
    if len(found):
        raise ContractError(describe(found), found)
    return frame


def describe(found: pd.DataFrame) -> str:
    """Put violations into sentences, one a line: table, column, problem, count and first offending rows."""
    lines = []
    for row in found.itertuples():
        where = f"{row.table}.{row.column}" if row.column else row.table
        shown = f" First: {row.first_rows}." if row.first_rows else ""
        count = f" ({row.n_rows:,} rows)" if row.n_rows else ""
        lines.append(f"{where} {row.problem}{count}.{shown}")
    return "\n".join(lines)


def end_of_day(day: str | pd.Timestamp) -> pd.Timestamp:
    """The moment that a date such as `as_of` stands for: its last second, UTC; a time of day stays as it is.

    Raises:
        ValueError: the text is not a date.
    """
    try:
        at = pd.Timestamp(day)
    except ValueError as error:
        raise ValueError(f"date == {day!r}, must be a date such as 2024-06-30.") from error
    if pd.isna(at):
        raise ValueError(f"date == {day!r}, must be a date such as 2024-06-30.")
    at = (at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")).as_unit("us")
    return at + pd.Timedelta(hours=23, minutes=59, seconds=59) if at == at.normalize() else at


def columns_of(table: Table, frame: pd.DataFrame) -> list[str]:
    """Order columns: the contract's own first, in its order, then the rest by name."""
    own = [name for name in table.columns if name in frame.columns]
    return own + sorted(set(frame.columns) - set(own))


def _missing_columns(frame: pd.DataFrame, table: Table) -> dict | None:
    missing = [name for name in table.required if name not in frame.columns]
    if not missing:
        return None
    found = ", ".join(map(str, frame.columns)) or "none"
    return {"column": ", ".join(missing), "problem": f"is missing; found: {found}", "n_rows": 0, "first_rows": ""}


def _column_faults(frame: pd.DataFrame, name: str, column: Column) -> list[dict | None]:
    values = frame[name]
    missing = values.isna()
    found = [] if column.is_nullable else [_fault(frame, name, "has no value", missing)]
    return found + _KIND_FAULTS[column.kind](frame, name, column, ~missing)


def _fault(frame: pd.DataFrame, name: str, problem: str, is_bad: pd.Series) -> dict | None:
    n_rows = int(is_bad.sum())
    if not n_rows:
        return None
    columns = [part for part in name.split("+") if part in frame.columns]
    first = frame.loc[is_bad.to_numpy(), columns].head(N_ROWS_SHOWN)
    positions = np.flatnonzero(is_bad.to_numpy())[:N_ROWS_SHOWN]
    shown = "; ".join(
        f"row {position}: " + ", ".join(repr(_plain(value)) for value in row)
        for position, row in zip(positions, first.itertuples(index=False))
    )
    return {"column": name, "problem": problem, "n_rows": n_rows, "first_rows": shown}


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, pd.Timestamp) else value


def _duplicated(frame: pd.DataFrame, key: list[str]) -> pd.Series:
    return frame.duplicated(key, keep="first") & frame[key].notna().all(axis=1)


def _id_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    values = frame[name]
    if pd.api.types.is_integer_dtype(values) or isinstance(values.dtype, pd.StringDtype) or values.dtype == "category":
        is_bad = pd.Series(False, index=frame.index)
        if not pd.api.types.is_integer_dtype(values):
            is_bad = is_there & (values.astype("str").str.strip() == "")
        return [_fault(frame, name, "is an empty text", is_bad)]
    if values.dtype != object:
        if not is_there.any():
            return []
        return [_fault(frame, name, f"has type {values.dtype}; ids are texts or whole numbers", is_there)]
    is_text = values.map(lambda value: isinstance(value, str))
    is_whole = values.map(lambda value: isinstance(value, (int, np.integer)) and not isinstance(value, bool))
    other = is_there & ~is_text & ~is_whole
    found = [_fault(frame, name, "is neither a text nor a whole number", other)]
    if (is_text & is_there).any() and (is_whole & is_there).any():
        rarer = is_text if is_text.sum() <= is_whole.sum() else is_whole
        found.append(_fault(frame, name, "mixes texts and whole numbers; ids must be of one kind", rarer & is_there))
    return found


def _time_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    values = frame[name]
    if not is_there.any():
        return []
    if not pd.api.types.is_datetime64_any_dtype(values):
        return [_fault(frame, name, f"is not a time (type {values.dtype})", is_there)]
    if values.dt.tz is None or str(values.dt.tz) != "UTC":
        return [_fault(frame, name, "is not in UTC", is_there)]
    return []


def _number_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    values = frame[name]
    if not is_there.any():
        return []
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return [_fault(frame, name, f"is not a number (type {values.dtype})", is_there)]
    numbers = values.astype("float64")
    found = [_fault(frame, name, "is infinite", is_there & np.isinf(numbers))]
    if column.low is not None:
        found.append(_fault(frame, name, f"is below {column.low:g}", is_there & (numbers < column.low)))
    if column.high is not None:
        found.append(_fault(frame, name, f"is above {column.high:g}", is_there & (numbers > column.high)))
    return found


def _count_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    found = _number_faults(frame, name, column, is_there)
    if pd.api.types.is_float_dtype(frame[name]):
        numbers = frame[name]
        found.append(_fault(frame, name, "is not a whole number", is_there & np.isfinite(numbers) & (numbers % 1 != 0)))
    return found


def _flag_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    values = frame[name]
    if pd.api.types.is_bool_dtype(values):
        return []
    is_flag = values.map(lambda value: isinstance(value, (bool, np.bool_)))
    return [_fault(frame, name, "is neither true nor false", is_there & ~is_flag)]


def _word_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    found = _text_faults(frame, name, column, is_there)
    if column.allowed and not any(found):
        unknown = is_there & ~frame[name].isin(column.allowed)
        found.append(_fault(frame, name, f"is none of {', '.join(column.allowed)}", unknown))
    return found


def _text_faults(frame: pd.DataFrame, name: str, column: Column, is_there: pd.Series) -> list[dict | None]:
    values = frame[name]
    if isinstance(values.dtype, pd.StringDtype) or not is_there.any():
        return []
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
        if isinstance(values.dtype, pd.StringDtype):
            return []
    is_text = values.map(lambda value: isinstance(value, str))
    return [_fault(frame, name, "is not a text", is_there & ~is_text)]


_KIND_FAULTS = {
    ID: _id_faults, TIME: _time_faults, NUMBER: _number_faults, COUNT: _count_faults,
    FLAG: _flag_faults, WORD: _word_faults, TEXT: _text_faults,
}

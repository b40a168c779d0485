"""Sufficient statistics in the data engine: ten million customers are reduced where they lie, none comes into memory.

A first pass finds the mean of every column, a second one sums the distances from it and their products: plain sums of
small numbers are as fast as the engine can be and lose no digits. Equal sums are asked for once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reclib.experiments.plan import Metric, Plan
from reclib.experiments.stats import (
    MetricStats,
    Moments,
    column_reason,
    q_ranks,
    quantile_variance,
    without_rounding,
)

if TYPE_CHECKING:
    import duckdb

TEXT = "VARCHAR"


@dataclass(frozen=True)
class _Variable:
    """A number a customer in the engine's words: SQL that is null where the value is missing, its mean, its name."""

    sql: str
    mean: float
    name: str = ""

    @property
    def distance(self) -> str:
        return f"({self.sql} - ({self.mean!r})::DOUBLE)"


def connect() -> duckdb.DuckDBPyConnection:
    """Open the data engine in memory, without the progress bar that it would draw into a notebook."""
    import duckdb

    engine = duckdb.connect()
    engine.execute("SET enable_progress_bar = false")
    return engine


def from_parquet(path: str | Path, plan: Plan) -> dict[str, MetricStats]:
    """Compute in the data engine what `stats.statistics` computes from a frame.

    Args:
        path: Parquet file with the columns of `units`; rows of other experiments and arms are left out.
        plan: its plan.

    Returns:
        As `stats.statistics`.
    """
    arms = (plan.control, *plan.arms)
    with connect() as engine:
        kinds = _open(engine, path, plan)

        def ask(expressions: list[str], *, by_arm: bool = False) -> list[dict]:
            unique = list(dict.fromkeys(expressions))
            head, tail = ("CAST(arm AS VARCHAR) AS arm, ", " GROUP BY 1") if by_arm else ("", "")
            inside = ", ".join(_literal(arm) for arm in arms)
            rows = engine.execute(f"SELECT {head}{', '.join(unique)} FROM units WHERE CAST(arm AS VARCHAR) IN ({inside}){tail}")
            return [dict(zip((["arm"] if by_arm else []) + unique, row)) for row in rows.fetchall()]

        return _read(ask, plan, arms, kinds)


def blocking_reason(path: str | Path, plan: Plan) -> str:
    """Why no effect can be read from the file, or an empty text (see `readout.blocking_reason`)."""
    if not plan.is_randomised:
        return "the arms were not drawn by lot, so a difference between them is not an effect"
    with connect() as engine:
        kinds = _open(engine, path, plan)
        one = "count(DISTINCT customer_id)" if "customer_id" in kinds else "count(*)"
        n, n_arm, n_customers = engine.execute(f"SELECT count(*), count(arm), {one} FROM units").fetchall()[0]
        if n_arm < n:
            return f"{n - n_arm:,} customers have no arm"
        if n_customers == n:
            return ""
        n_twice, first = engine.execute(
            "SELECT count(*), min(customer_id) FROM (SELECT customer_id FROM units GROUP BY 1 HAVING count(DISTINCT arm) > 1)").fetchall()[0]
        if n_twice:
            return f"{n_twice:,} customers are in two arms or more, the first of them {first}"
        first = engine.execute("SELECT min(customer_id) FROM (SELECT customer_id FROM units GROUP BY 1 HAVING count(*) > 1)").fetchall()[0][0]
    return f"{n - n_customers:,} rows repeat a customer, the first of them {first}; there must be one row a customer"


def _open(engine: duckdb.DuckDBPyConnection, path: str | Path, plan: Plan) -> dict[str, str]:
    """Open the plan's rows of a file as `units`; says what kind each column is."""
    file = f"read_parquet({_literal(path)})"
    kinds = {row[0]: row[1] for row in engine.execute(f"DESCRIBE SELECT * FROM {file}").fetchall()}
    own = f" WHERE CAST(experiment_id AS VARCHAR) = {_literal(plan.experiment_id)}" if "experiment_id" in kinds else ""
    engine.execute(f"CREATE VIEW units AS SELECT * FROM {file}{own}")
    return kinds


def _read(ask: Callable[..., list[dict]], plan: Plan, arms: tuple[str, ...], kinds: dict[str, str]) -> dict[str, MetricStats]:
    def is_share(name: str) -> bool:
        other = f"count_if({_quoted(name)} NOT IN (0, 1))"
        return not ask([other])[0][other]

    is_number = {name: kind != TEXT for name, kind in kinds.items()}
    reasons = {metric.name: column_reason(metric, is_number, is_share) for metric in plan.metrics}
    metrics = [metric for metric in plan.metrics if not reasons[metric.name]]
    caps = _caps(ask, metrics)
    covariates = [name for name in plan.covariates if kinds.get(name, TEXT) != TEXT]
    outcomes = {(metric.name, name): _outcome(name, caps.get(metric.name) if at == 0 else None)
                for metric in metrics for at, name in enumerate(metric.columns)}
    first = ask(["count(*)", *(f"{what}({sql})" for sql in [*outcomes.values(), *map(_finite, covariates)] for what in ("count", "avg"))])[0]
    total = first["count(*)"]
    shared = _covariates(covariates, first, total)
    variables = {}
    for metric in metrics:
        own = [_Variable(outcomes[metric.name, name], first[f"avg({outcomes[metric.name, name]})"] or 0.0) for name in metric.columns]
        is_complete = all(first[f"count({one.sql})"] == total for one in own)
        variables[metric.name] = [*own, *shared] if is_complete else _masked(own, shared)
    asked = [sql for metric in metrics for sql in _sums(metric, variables[metric.name], caps.get(metric.name)).values()]
    rows = {row["arm"]: row for row in ask(["count(*)", *asked], by_arm=True)}
    names = tuple(one.name for one in shared)
    found = {metric.name: _stats(metric, arms, rows, variables[metric.name], caps.get(metric.name), names) for metric in metrics}
    return {metric.name: MetricStats(metric, arms, reason=reasons[metric.name]) if reasons[metric.name]
            else _with_quantile(ask, found[metric.name]) if metric.kind == "quantile" else found[metric.name] for metric in plan.metrics}


def _with_quantile(ask: Callable[..., list[dict]], entry: MetricStats) -> MetricStats:
    """Add the quantile of each arm and its variance from the order statistics around it (see `stats.quantile_of`)."""
    value, q = _finite(entry.metric.columns[0]), entry.metric.quantile
    ranks = np.clip([q_ranks(q, n) for n in np.maximum(entry.moments.n, 2)], 0, 1)
    asked = [f"quantile_cont({value}, {list(map(float, three))}) FILTER (WHERE CAST(arm AS VARCHAR) = {_literal(arm)})"
             for three, arm in zip(ranks, entry.arms)]
    row = ask(asked)[0]
    low, middle, high = np.array([row[sql] or [np.nan] * 3 for sql in asked], dtype=float).T
    return replace(entry, quantile=(middle, quantile_variance(low, high, entry.moments.n)), third=np.zeros(0), covariates=())


def _caps(ask: Callable[..., list[dict]], metrics: list[Metric]) -> dict[str, float]:
    asked = {}
    for metric in metrics:
        if metric.winsorise is not None:
            size = f"abs({_finite(metric.columns[0])})"
            only = f" FILTER (WHERE {size} > 0)" if metric.winsorise_over == "nonzero" else ""
            asked[metric.name] = f"quantile_cont({size}, {metric.winsorise}){only}"
    found = ask(list(asked.values()))[0] if asked else {}
    return {name: float(found[sql] or 0.0) for name, sql in asked.items()}


def _covariates(names: list[str], first: dict, total: int) -> list[_Variable]:
    """Covariates; a missing one is zero with an indicator beside it."""
    found = []
    for name in names:
        sql = _finite(name)
        n_known = first[f"count({sql})"]
        filled = sql if n_known == total else f"coalesce({sql}, 0)"
        found.append(_Variable(filled, (first[f"avg({sql})"] or 0.0) * n_known / max(total, 1), name))
        if 0 < n_known < total:
            found.append(_Variable(f"CAST({sql} IS NULL AS DOUBLE)", 1 - n_known / total, f"{name} is missing"))
    return found


def _masked(own: list[_Variable], shared: list[_Variable]) -> list[_Variable]:
    """Variables that are all null where an outcome is missing."""
    is_there = " AND ".join(f"{one.sql} IS NOT NULL" for one in own)
    return [_Variable(f"CASE WHEN {is_there} THEN {one.sql} END", one.mean, one.name) for one in [*own, *shared]]


def _sums(metric: Metric, variables: list[_Variable], cap: float | None) -> dict[str, str]:
    raw = [f"CAST({_quoted(name)} AS DOUBLE)" for name in metric.columns]
    first = variables[0]
    found = {
        "n": f"count({first.sql})", "n_nonzero": f"count_if({first.sql} <> 0)",
        "n_missing": f"count_if({' OR '.join(f'{one} IS NULL OR isnan({one})' for one in raw)})",
        "n_infinite": f"count_if({' OR '.join(f'isinf({one})' for one in raw)})",
        "n_capped": "0" if cap is None else f"count_if(isfinite({raw[0]}) AND abs({raw[0]}) > {cap!r})",
    }
    for power in (1, 2, 3):
        for places in combinations_with_replacement(range(len(variables)), power):
            found[_label(places)] = f"sum({' * '.join(variables[at].distance for at in places)})"
    return found


def _label(places: tuple[int, ...]) -> str:
    return "_".join(["s", *map(str, sorted(places))])


def _stats(metric: Metric, arms: tuple[str, ...], rows: dict[str, dict], variables: list[_Variable], cap: float | None,
           names: tuple[str, ...]) -> MetricStats:
    sums = _sums(metric, variables, cap)
    get = lambda label: np.array([float(rows.get(arm, {}).get(sums[label]) or 0.0) for arm in arms])
    n, shape = get("n"), (len(variables),) * 3
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two, three = (np.stack([get(_label(places)) for places in np.ndindex(shape[:power])], axis=-1).reshape(len(arms), *shape[:power])
                           / n.reshape(-1, *[1] * power) for power in (1, 2, 3))
        cov = (two - one[:, :, None] * one[:, None, :]) * (n / (n - 1))[:, None, None]
        mean = one + np.array([each.mean for each in variables])
    count = {label: get(label) for label in ("n_missing", "n_infinite", "n_capped", "n_nonzero")}
    return MetricStats(metric, arms, Moments(n, mean, without_rounding(mean, cov)), third=np.nan_to_num(_third(one, two, three)),
                       cap=np.nan if cap is None else cap, covariates=names, **count)


def _third(one: np.ndarray, two: np.ndarray, three: np.ndarray) -> np.ndarray:
    """Third central moments from mean distances, mean products of two and mean products of three, arms in front."""
    crossed = sum(np.einsum(f"ai,ajk->a{order}", one, two) for order in ("ijk", "jik", "jki"))
    return three - crossed + 2 * np.einsum("ai,aj,ak->aijk", one, one, one)


def _outcome(name: str, cap: float | None) -> str:
    return _finite(name, inner="{value}" if cap is None else f"greatest(least({{value}}, {cap!r}), {-cap!r})")


def _finite(name: str, inner: str = "{value}") -> str:
    value = f"CAST({_quoted(name)} AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {inner.format(value=value)} END"


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""Can the experiment be trusted? Checks in the shape of the `checks` table; a failed one withholds the verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.experiments import doubt, effects, srm
from reclib.experiments.plan import Plan
from reclib.experiments.readout import blocking_reason, of_experiment
from reclib.experiments.stats import (
    MetricStats,
    grouped_moments,
    grouped_thirds,
    statistics,
)

LAYER = "experiments"
COUPLED = ("stock", "budget")


def check_units(units: pd.DataFrame, plan: Plan, *, stats: dict[str, MetricStats] | None = None) -> pd.DataFrame:
    """Check the split, the units, the missing values and the balance before the experiment.

    Args:
        units: `units`.
        plan: the plan.
        stats: their sufficient statistics, where they are made already.

    Returns:
        A `checks` table: units, sample_ratio, leaked_arms, sample_ratio_<segment>, missing_values, balance_<covariate>,
        doubt_<metric> (only where it warns: rare or large values, or a small arm, let its interval err).
        p-values of several segments, metrics or covariates are corrected for their number (Bonferroni).
    """
    own = of_experiment(units, plan)
    stats = statistics(own, plan) if stats is None else stats
    rows = [_units_row(own, plan), *_split_rows(own, plan), *_segment_rows(own, plan), _missing_row(stats, plan),
            *_balance_rows(own, plan), *_doubt_rows(stats, is_adjusted=bool(plan.covariates))]
    return pd.DataFrame(rows)


def check_interference(rule_prices: pd.DataFrame | None, *, is_split: bool | None) -> pd.DataFrame:
    """Check whether the arms took from the same stock or budget while it ran out.

    Args:
        rule_prices: `rule_prices`, or None where no rule was priced.
        is_split: stock and budgets were divided between the arms by their shares; None where nobody says so, which
            is a warning.

    Returns:
        A `checks` table of one row; it fails where the arms share what binds.
    """
    if rule_prices is None:
        return pd.DataFrame([_row("shared_stock", "pass", 0, 0, "no shared stock or budget was priced")])
    binding = rule_prices[rule_prices["kind"].isin(COUPLED) & rule_prices["is_binding"].astype(bool)]["rule_id"].astype("str").unique()
    names = ", ".join(sorted(binding)[:5])
    status, detail = "pass", "no stock or budget binds"
    if len(binding):
        status, detail = {
            None: ("warn", f"{names} bind, and it is not said whether each arm has its own part of them"),
            False: ("fail", f"the arms share what runs out ({names}): what one arm takes, the other lacks"),
            True: ("pass", f"{names} bind, but each arm has its own part"),
        }[is_split]
    return pd.DataFrame([_row("shared_stock", status, len(binding), 0, detail)])


def check_support(gate: str, detail: str) -> pd.DataFrame:
    """Check that the log supports the policy that a decision rests on (see `support.gate` of `offpolicy`)."""
    status = {"usable": "pass", "weak": "warn"}.get(gate, "fail")
    return pd.DataFrame([_row("policy_support", status, np.nan, np.nan, detail)])


def _row(check_id: str, status: str, observed: float, allowed: float, detail: str) -> dict:
    return {"check_id": check_id, "layer": LAYER, "status": status, "observed": _shown(observed), "allowed": _shown(allowed),
            "detail": detail}


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _units_row(units: pd.DataFrame, plan: Plan) -> dict:
    reason = blocking_reason(units, plan)
    if not plan.is_randomised:
        return _row("units", "warn", len(units), "", reason)
    return _row("units", "fail" if reason else "pass", len(units), "", reason or f"{len(units):,} customers, one row each, one arm each")


def _split_rows(units: pd.DataFrame, plan: Plan) -> list[dict]:
    table = srm.split_table(units["arm"].dropna(), plan.expected_shares)
    planned = table[table["planned_share"] > 0]
    leaked = table[(table["planned_share"] == 0) & (table["n_customers"] > 0)]
    p = float(srm.sample_ratio(planned["n_customers"].to_numpy(), planned["planned_share"].to_numpy()))
    found = ", ".join(f"{row.arm} {100 * row.share:.2f} % (planned {100 * row.planned_share:.2f} %)" for row in planned.itertuples())
    if plan.is_randomised:
        is_off = p < plan.srm_alpha
        first = _row("sample_ratio", "fail" if is_off else "pass", p, plan.srm_alpha,
                     f"the arms do not have their planned shares: {found}" if is_off else found)
    else:
        first = _row("sample_ratio", "pass", np.nan, np.nan, f"not applicable, the arms were not drawn by lot; {found}")
    names = ", ".join(f"{row.arm} ({row.n_customers:,})" for row in leaked.itertuples())
    n_leaked = int(leaked["n_customers"].sum())
    second = _row("leaked_arms", "fail" if n_leaked else "pass", n_leaked, 0,
                  f"customers in arms that the plan gives no share: {names}" if n_leaked else "every customer is in an arm of the plan")
    return [first, second]


def _segment_rows(units: pd.DataFrame, plan: Plan) -> list[dict]:
    segments = [name for name in plan.segments if name in units]
    rows = []
    for segment in segments if plan.is_randomised else []:
        table = srm.segment_ratios(units, segment, plan.expected_shares)
        if table.empty:
            continue
        worst = table.loc[table["p_adjusted"].idxmin()]
        p = min(float(worst["p_adjusted"]) * len(segments), 1.0)
        where = f"{segment} {worst['value']}, the worst of {len(table)} with {int(worst['n_customers']):,} customers"
        rows.append(_row(f"sample_ratio_{segment}", "fail", p, plan.srm_alpha, f"the arms do not have their planned shares in {where}")
                    if p < plan.srm_alpha else _row(f"sample_ratio_{segment}", "pass", p, plan.srm_alpha, f"as planned even in {where}"))
    return rows


def _missing_row(stats: dict[str, MetricStats], plan: Plan) -> dict:
    known = [entry for entry in stats.values() if entry.moments is not None and len(entry.n_missing)]
    found = {entry.metric.name: srm.missing_ratio(entry.n_missing, entry.n_missing + entry.moments.n) for entry in known}
    n_missing = {entry.metric.name: int(entry.n_missing.sum()) for entry in known}
    if not any(n_missing.values()):
        return _row("missing_values", "pass", 0, "", "no value is missing")
    worst = min(found, key=lambda name: (found[name], name))
    p = min(found[worst] * len(found), 1.0)
    counts = ", ".join(f"{name} {count:,}" for name, count in n_missing.items() if count)
    status = "fail" if p < plan.srm_alpha else "warn"
    how = "unevenly between the arms" if status == "fail" else "about as often in every arm"
    return _row("missing_values", status, p, plan.srm_alpha, f"values are missing {how} and left out, not taken as zero: {counts}")


def _balance_rows(units: pd.DataFrame, plan: Plan) -> list[dict]:
    """Each covariate: as often missing in every arm, and the same on average where its shape lets a mean be compared."""
    names = [name for name in plan.covariates if name in units and pd.api.types.is_numeric_dtype(units[name])]
    rows = []
    for name in names:
        p_missing, p_mean, doubted = _balance(units, plan, name)
        p = min(min(p_missing, p_mean) * len(names) * (len(plan.arms) + 1), 1.0)
        is_off = p < plan.srm_alpha and plan.is_randomised
        status = "fail" if is_off and (p_missing < p_mean or not doubted) else "warn" if p < plan.alpha else "pass"
        told = f"one arm lacks {name} more often" if p_missing < p_mean else f"the arms differ in {name}"
        cause = ": they were not drawn by lot, or it was measured after" if status == "fail" else f", but {doubted}" if doubted else ""
        rows.append(_row(f"balance_{name}", status, p, plan.srm_alpha, "same before the experiment" if status == "pass"
                         else f"before the experiment {told}{cause}"))
    absent = sorted(set(plan.covariates) - set(names))
    return rows + ([_row("covariates", "warn", len(absent), 0, f"the units lack {absent} as numbers")] if absent else [])


def _balance(units: pd.DataFrame, plan: Plan, name: str) -> tuple[float, float, str]:
    """p-values of "as often missing" and "the same mean" (the smallest of all arms), and why that mean is to be doubted."""
    arms = (plan.control, *plan.arms)
    values = units[name].astype("float64").to_numpy()
    codes = pd.Index(arms).get_indexer(units["arm"].astype("str"))
    kept = (codes >= 0) & np.isfinite(values)
    n = np.bincount(codes[codes >= 0], minlength=len(arms))
    moments = grouped_moments(values[kept, None], codes[kept], len(arms))
    p_missing = srm.missing_ratio(n - moments.n, n)
    found = effects.compare(effects.mean_estimate(moments[1:]), effects.mean_estimate(moments[0]), alpha=plan.alpha)["p_value"]
    if not np.isfinite(found).any():
        return p_missing, 1.0, ""
    worst = int(np.nanargmin(found)) + 1
    pair = effects.mean_estimate(moments[worst]), effects.mean_estimate(moments[0])
    third = grouped_thirds(values[kept, None], codes[kept], moments)
    n_nonzero = np.bincount(codes[kept & (values != 0)], minlength=len(arms))
    return p_missing, float(found[worst - 1]), doubt.of_shape(pair, third[[worst, 0]], n_nonzero[[worst, 0]])


def _doubt_rows(stats: dict[str, MetricStats], *, is_adjusted: bool) -> list[dict]:
    """Warn of metrics whose interval must not be trusted."""
    found = {name: [doubt.why(entry, at, is_adjusted=is_adjusted) for at in range(1, len(entry.arms))] for name, entry in stats.items()}
    return [_row(f"doubt_{name}", "warn", "", "", f"{name} is not to be trusted: {next(filter(None, reasons))}")
            for name, reasons in found.items() if any(reasons)]

"""Layer 8: is the data fresh, do the slates keep every promise, has the world moved?

Every check is one row of the `checks` table. `fail` refuses to publish; `warn` is read by people. Thresholds of drift
come from the law that the statistic follows when nothing changes, so that a quiet night stays quiet.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ["check_id", "layer", "status", "observed", "allowed", "detail"]
DRIFT_COLUMNS = ["signal", "n_before", "n_now", "mean_before", "mean_now", "psi", "limit", "is_drifted"]
PSI_FLOOR = 0.02
N_BINS = 10


def check(check_id: str, layer: str, is_good: bool, *, observed: str, allowed: str, detail: str,
          on_failure: str = "fail") -> pd.DataFrame:
    """Make one row of `checks`: `pass`, or else what a failure means (`fail` or `warn`)."""
    if on_failure not in ("fail", "warn"):
        raise ValueError(f"on_failure == {on_failure!r}, must be 'fail' or 'warn'.")
    status = "pass" if is_good else on_failure
    return pd.DataFrame([[check_id, layer, status, observed, allowed, detail]], columns=COLUMNS)


def promises(tables: dict[str, pd.DataFrame | None], *, as_of: pd.Timestamp | None, k: int,
             experiment: dict | None = None) -> pd.DataFrame:
    """Recount every promise that the tables at hand allow to be recounted (a `checks` table).

    Args:
        tables: name -> table, None where it is not there.
        as_of: end of the night.
        k: slots of a slate.
        experiment: the source's plan; tonight's arms are held against its `expected_shares` where they are of this plan.
    """
    deliveries, decisions, assignments = (tables.get(name) for name in ("deliveries", "decisions", "assignments"))
    rows = [pd.DataFrame(columns=COLUMNS)]
    if deliveries is not None and decisions is not None:
        rows += [check_slates(deliveries, decisions, tables["items"], k=k), check_propensities(deliveries),
                 check_contact(deliveries, tables.get("customers"), as_of=as_of),
                 check_output(deliveries, tables["items"], k=k)]
    if tables.get("funnel") is not None and decisions is not None:
        rows.append(check_funnel(tables["funnel"], decisions, policy="value"))
    if assignments is not None and experiment and assignments["experiment_id"].eq(experiment["experiment_id"]).all():
        rows.append(check_shares(assignments, experiment["expected_shares"]))
    return pd.concat([row for row in rows if len(row)] or rows, ignore_index=True)


def supply(events: pd.DataFrame | None, *, as_of: pd.Timestamp | None, max_days: float) -> pd.DataFrame:
    """Check freshness and volume where there are events (a `checks` table)."""
    if events is None or as_of is None:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat([check_freshness(events, as_of=as_of, max_days=max_days), check_volume(events, as_of=as_of)],
                     ignore_index=True)


def drift_or_empty(events: pd.DataFrame | None, *, as_of: pd.Timestamp | None, days: int, alpha: float) -> pd.DataFrame:
    """`drift` where there are events, else an empty table."""
    if events is None or as_of is None:
        return pd.DataFrame(columns=DRIFT_COLUMNS)
    return drift(events, as_of=as_of, days=days, alpha=alpha)


def drift_sentence(table: pd.DataFrame) -> str:
    """Say which signals moved beyond chance, or why none could be compared."""
    if table.empty:
        return "No signal has enough customers in both periods to be compared."
    moved = table.loc[table["is_drifted"], "signal"].tolist()
    if not moved:
        return f"None of the {len(table)} signals moved more than chance allows."
    return f"{len(moved)} of {len(table)} signals moved more than chance allows: {', '.join(moved)}."


def check_freshness(events: pd.DataFrame, *, as_of: pd.Timestamp, max_days: float) -> pd.DataFrame:
    """The latest event is at most `max_days` older than the date of the run, and none is younger."""
    age = (as_of - events["occurred_at"].max()) / pd.Timedelta(days=1)
    late = int((events["occurred_at"] > as_of).sum())
    return pd.concat([
        check("data_is_fresh", "data", bool(age <= max_days), observed=f"{max(age, 0):.1f} days old",
              allowed=f"at most {max_days:g} days", detail="Age of the latest event on the date of the run."),
        check("data_is_not_from_the_future", "data", late == 0, observed=f"{late:,} events", allowed="0 events",
              detail="Events later than the date of the run."),
    ])


def check_volume(events: pd.DataFrame, *, as_of: pd.Timestamp, days: int = 7, low: float = 0.5,
                 high: float = 2.0) -> pd.DataFrame:
    """The last days hold about as many events as the same number of days before, by type."""
    recent = _counts(events, as_of - pd.Timedelta(days=days), as_of)
    before = _counts(events, as_of - pd.Timedelta(days=2 * days), as_of - pd.Timedelta(days=days))
    usual = before[before >= 50]
    ratio = recent.reindex(usual.index).fillna(0) / usual
    off = ratio[(ratio < low) | (ratio > high)]
    shown = ", ".join(f"{kind} × {value:.2f}" for kind, value in off.items()) or "none"
    return check("volume_is_usual", "data", off.empty, observed=shown, allowed=f"between × {low:g} and × {high:g}",
                 detail=f"Event types whose count in {days} days left its band against the {days} days before.",
                 on_failure="warn")


def check_slates(deliveries: pd.DataFrame, decisions: pd.DataFrame, items: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """Recount on the published slates what must never happen: the last gate before anyone sees them."""
    key = ["policy", "customer_id", "item_id"]
    allowed = decisions.loc[decisions["is_allowed"], key].assign(is_known=True)
    refused = deliveries.merge(allowed, on=key, how="left")["is_known"].isna()
    slot = deliveries.groupby("customer_id")
    repeats = deliveries.duplicated(["customer_id", "item_id"])
    gaps = slot["position"].max() != slot["position"].size()
    rows = [
        _zero("no_refused_item_is_shown", int(refused.sum()), "Shown pairs that a rule refused."),
        _zero("no_item_twice_in_a_slate", int(repeats.sum()), "Items that stand twice in one slate."),
        _zero("slates_have_no_gap", int(gaps.sum()), "Customers whose positions are not 1, 2, 3 and so on."),
        _zero("slates_are_not_too_long", int((slot.size() > k).sum()), f"Customers with more than {k} slots."),
        _zero("every_shown_item_is_in_the_catalogue", int((~deliveries["item_id"].isin(items["item_id"])).sum()),
              "Shown items that the catalogue lacks."),
    ]
    if "stock_on_hand" in items:
        stock = items.set_index("item_id")["stock_on_hand"]
        unavailable = deliveries["item_id"].map(stock).fillna(0) <= 0
        rows.append(_zero("no_item_without_stock_is_shown", int(unavailable.sum()), "Shown slots without any stock."))
    return pd.concat(rows)


def check_contact(deliveries: pd.DataFrame, customers: pd.DataFrame | None, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """No slate goes to a customer who had opted out by the date of the run."""
    if customers is None or "opted_out_at" not in customers:
        return pd.DataFrame(columns=COLUMNS)
    gone = customers.loc[customers["opted_out_at"] <= as_of, "customer_id"]
    reached = int(deliveries.loc[deliveries["customer_id"].isin(gone), "customer_id"].nunique())
    return _zero("nobody_who_opted_out_is_contacted", reached, "Customers with a slate although they opted out.")


def check_propensities(deliveries: pd.DataFrame, *, tolerance: float = 1e-6) -> pd.DataFrame:
    """`p_shown` is a probability, and the mean weight 1 / (k p) of what was shown is about one in each slot."""
    p = deliveries["p_shown"]
    bad = int(((p <= 0) | (p > 1 + tolerance)).sum())
    return _zero("p_shown_is_a_probability", bad, "Slots whose probability of being shown is not in (0, 1].")


def check_shares(assignments: pd.DataFrame, shares: dict[str, float], *, alpha: float = 0.001) -> pd.DataFrame:
    """The arms have their planned shares (chi-square test of the sample ratio)."""
    from scipy.stats import chisquare

    counts = assignments["arm"].value_counts().reindex(list(shares)).fillna(0)
    planned = pd.Series(shares, dtype=float)
    leaked = int(counts[planned == 0].sum() + (~assignments["arm"].isin(shares)).sum())
    kept = planned > 0
    p_value = 1.0
    if kept.sum() > 1:
        expected = planned[kept] / planned[kept].sum() * counts[kept].sum()
        p_value = float(chisquare(counts[kept], expected).pvalue)
    return check("arms_have_their_planned_shares", "delivery", p_value >= alpha and leaked == 0,
                 observed=f"p = {p_value:.4f}, {leaked} outside the plan", allowed=f"p of at least {alpha:g}",
                 detail="Sample ratio of tonight's assignment against the plan.")


def check_funnel(funnel: pd.DataFrame, decisions: pd.DataFrame, *, policy: str) -> pd.DataFrame:
    """The last line of the funnel is what the decisions show, to the row."""
    shown = int((decisions["position"].notna() & (decisions["policy"] == policy)).sum())
    last = int(funnel.loc[funnel["layer"] == "shown", "n_pairs"].sum())
    return check("funnel_reconciles", "rules", shown == last, observed=f"{last:,} against {shown:,} pairs",
                 allowed="equal", detail="Shown pairs in the funnel against those in the decisions.")


def check_output(deliveries: pd.DataFrame, items: pd.DataFrame, *, k: int, min_fill: float = 0.9,
                 max_fallback: float = 0.3, max_concentration: float = 0.5) -> pd.DataFrame:
    """Slates are full, few come from the fallback chain, and exposure is not held by a handful of items."""
    fill = len(deliveries) / max(deliveries["customer_id"].nunique() * k, 1)
    fallback = float(deliveries["is_fallback"].mean()) if len(deliveries) else 1.0
    counts = deliveries["item_id"].value_counts()
    top = max(int(np.ceil(len(items) / 100)), 1)
    held = float(counts.head(top).sum() / max(counts.sum(), 1))
    return pd.concat([
        check("slates_are_full", "delivery", fill >= min_fill, observed=f"{100 * fill:.1f} %",
              allowed=f"at least {100 * min_fill:g} %", detail="Filled slots of those there were.", on_failure="warn"),
        check("fallback_is_rare", "delivery", fallback <= max_fallback, observed=f"{100 * fallback:.1f} %",
              allowed=f"at most {100 * max_fallback:g} %", detail="Slots filled for customers no source knows.",
              on_failure="warn"),
        check("exposure_is_spread", "delivery", held <= max_concentration, observed=f"{100 * held:.1f} %",
              allowed=f"at most {100 * max_concentration:g} %",
              detail="Share of all slots that the top hundredth of the catalogue holds.", on_failure="warn"),
    ])


def check_trust(units: pd.DataFrame | None, *, control: str) -> pd.DataFrame:
    """Opt-outs and complaints outside the control group are not clearly above those inside (Fisher's exact test).

    Where they are, it is a warning: harm calls for a rollback, which the guardrails of the plan decide; the data are sound.
    """
    from scipy.stats import fisher_exact

    wanted = [name for name in ("opted_out", "complaints") if units is not None and name in units]
    rows = []
    for name in wanted:
        hit = units[name] > 0
        held = units["arm"] == control
        table = [[int((hit & ~held).sum()), int((~hit & ~held).sum())], [int((hit & held).sum()), int((~hit & held).sum())]]
        p_value = float(fisher_exact(table, alternative="greater").pvalue)
        rows.append(check(
            f"{name}_are_not_above_control", "feedback", p_value >= 0.001,
            observed=f"{table[0][0]:,} of {sum(table[0]):,} against {table[1][0]:,} of {sum(table[1]):,}",
            allowed="not above control at p < 0.001", detail="Customers, new policy against control group.", on_failure="warn"))
    return pd.concat(rows) if rows else pd.DataFrame(columns=COLUMNS)


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Population stability index over the deciles of the reference: sum (q - p) ln(q / p), with half a count added."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    p = np.bincount(np.searchsorted(edges, reference, side="right"), minlength=len(edges) + 1) + 0.5
    q = np.bincount(np.searchsorted(edges, current, side="right"), minlength=len(edges) + 1) + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def psi_limit(n_reference: int, n_current: int, *, n_bins: int = N_BINS, alpha: float = 0.001) -> float:
    """What the index stays below when nothing moved: (1/n + 1/m) times a chi-square quantile, at least 0.02."""
    from scipy.stats import chi2

    return max(float((1 / n_reference + 1 / n_current) * chi2.ppf(1 - alpha, n_bins - 1)), PSI_FLOOR)


def drift(events: pd.DataFrame, *, as_of: pd.Timestamp, days: int = 28, alpha: float = 0.01) -> pd.DataFrame:
    """Hold the customers of the last days against those of the same number of days before.

    The unit is the customer: events of one customer are not independent. Each signal is compared by the stability
    index of its value per customer; the level is divided by the number of signals compared (Bonferroni).

    Returns:
        One row a signal: signal, n_before, n_now, mean_before, mean_now, psi, limit, is_drifted.
    """
    now = _per_customer(events, as_of - pd.Timedelta(days=days), as_of)
    before = _per_customer(events, as_of - pd.Timedelta(days=2 * days), as_of - pd.Timedelta(days=days))
    signals = [name for name in before.columns if name in now and min(before[name].count(), now[name].count()) >= 200]
    rows = []
    for name in signals:
        old, new = before[name].dropna().to_numpy(), now[name].dropna().to_numpy()
        limit = psi_limit(len(old), len(new), alpha=alpha / len(signals))
        rows.append([name, len(old), len(new), old.mean(), new.mean(), psi(old, new), limit])
    table = pd.DataFrame(rows, columns=DRIFT_COLUMNS[:-1])
    return table.assign(is_drifted=table["psi"] > table["limit"])


def check_drift(table: pd.DataFrame) -> pd.DataFrame:
    """No signal has moved more than chance and the floor of materiality allow."""
    moved = table[table["is_drifted"]]
    shown = ", ".join(f"{row.signal} ({row.psi:.3f})" for row in moved.itertuples()) or "none"
    return check("signals_are_stable", "signals", moved.empty, observed=shown, allowed="each below its limit",
                 detail="Signals whose stability index left its band.", on_failure="warn")


def health_sentence(checks: pd.DataFrame) -> str:
    """Say how the checks came out, and name those that did not pass."""
    n = checks["status"].value_counts()
    failed = checks.loc[checks["status"] == "fail", "check_id"].tolist()
    warned = checks.loc[checks["status"] == "warn", "check_id"].tolist()
    if checks.empty:
        return "Nothing here could be checked: this source lacks the tables for it."
    if failed:
        return f"{len(failed)} of {len(checks)} checks failed, so this run must not be published: {', '.join(failed)}."
    if warned:
        return f"No check failed and {n.get('pass', 0)} of {len(checks)} passed; to look at: {', '.join(warned)}."
    return f"All {len(checks)} checks passed."


def _zero(check_id: str, count: int, detail: str) -> pd.DataFrame:
    return check(check_id, "delivery", count == 0, observed=f"{count:,}", allowed="0", detail=detail)


def _counts(events: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.Series:
    inside = events[(events["occurred_at"] > start) & (events["occurred_at"] <= end)]
    return inside["event_type"].astype("str").value_counts().sort_index()


def _per_customer(events: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    inside = events[(events["occurred_at"] > start) & (events["occurred_at"] <= end)]
    counts = inside.groupby(["customer_id", "event_type"], observed=True).size().unstack()
    bought = inside[inside["event_type"] == "purchase"]
    spend = bought.groupby("customer_id")["value"].sum().rename("spend")
    stars = inside[inside["event_type"] == "rating"].groupby("customer_id")["value"].mean().rename("mean_rating")
    return counts.add_prefix("n_").join(spend, how="left").join(stars, how="left").dropna(axis=1, how="all")

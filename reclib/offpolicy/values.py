"""Value every policy that there is from every log that can say something of it, and say so in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from reclib.offpolicy import carryover, estimators, logs, support
from reclib.offpolicy.carryover import CarryOver, Memory
from reclib.offpolicy.support import DIAGNOSTICS, REFUSE, USABLE, WEAK

PREFERENCE = ("snips", "sndr", "dr", "ips", "examined")
NUMBERS = ["value", "low", "high", *DIAGNOSTICS, "n_positives", "largest_share", "withdrawn_share", "carry_over"]
BEYOND = 0.05
Question = tuple[str, pd.DataFrame, pd.DataFrame]


def value_policy(log: pd.DataFrame, target: pd.DataFrame, *, policy: str, alpha: float = 0.05, tau: float = 5.0,
                 prior: float = 100.0, memory: Memory | None = None) -> pd.DataFrame:
    """Value a policy from the log of another.

    Args:
        log: result of `logs.with_rewards`.
        target: the policy's table (see `logs`).
        policy: its name.
        alpha: error rate of the intervals.
        tau: largest weight of the switch estimator.
        prior: shrinkage of the direct model.
        memory: what the log tells of its own past (`carryover.remember`); without it, a value is that of slots shown once.

    Returns:
        A `policy_values` table: one row an estimator, with n_rows, n_positives, largest_share, withdrawn_share (places
        whose item was not on offer that day, and which are not valued), carry_over (change of the value by being lived),
        gate, reason and unit. Where the gate refuses,
        no value is named. Slates add `iips`, the value of a whole slate; a log that knows `p_in_slate` adds `examined`,
        which has diagnostics and a gate of its own.
    """
    away = logs.is_withdrawn(log, target)
    try:
        weighed = estimators.weigh(log[~away], target, prior=prior)
    except ValueError as error:
        return refused(policy, str(error).rstrip("."))
    columns = [weighed[name].to_numpy(dtype=float) for name in ("weight", "reward", "q", "q_target")]
    lost = float(support.unsupported_mass(log[~away], target)["share"].sum())
    values = estimators.estimate(*columns, tau=tau, alpha=alpha, clusters=logs.clusters_of(weighed))
    values |= estimators.by_slate(weighed, alpha=alpha)
    rows = [_rows(values, support.diagnose(columns[0], columns[1], unsupported=lost), len(weighed))]
    if {"p_in_slate", "customer_id"} <= set(log) and logs.context_of(target) == ["customer_id", "position"]:
        rows.append(_examined(log, target, len(weighed), lost, alpha=alpha))
    table = pd.concat(rows, ignore_index=True).assign(policy=policy, withdrawn_share=float(away.mean()), carry_over=np.nan)
    change = None if memory is None else carryover.carry_over(memory, target, away.to_numpy())
    table = table if change is None else _lived(table, change, alpha)
    return table[["policy", "estimator", *NUMBERS, "n_rows", "gate", "reason", "unit"]]


def _examined(log: pd.DataFrame, target: pd.DataFrame, n_places: int, lost: float, *, alpha: float) -> pd.DataFrame:
    """The estimator by items, whose weights average one over the target's places."""
    moved = estimators.by_examination(log, target)
    weight, reward = moved["weight"].to_numpy() * len(moved) / n_places, moved["moved"].to_numpy()
    value = estimators.ratio(weight, reward, alpha=alpha, clusters=logs.clusters_of(moved))
    return _rows({"examined": value}, support.diagnose(weight, reward, unsupported=lost), len(moved))


def _rows(values: dict, found: dict, n_rows: int) -> pd.DataFrame:
    """One row an estimator of the same weights; no value where their gate refuses."""
    gate, reason = support.gate(found)
    rows = [{"estimator": name, "value": value, "low": low, "high": high} for name, (value, low, high) in values.items()]
    table = pd.DataFrame(rows).astype(dict.fromkeys(("value", "low", "high"), "float64"))
    if gate == REFUSE:
        table[["value", "low", "high"]] = np.nan
    extra = {name: float(found[name]) for name in [*DIAGNOSTICS, "n_positives", "largest_share"]}
    return table.assign(**extra, n_rows=n_rows, gate=gate, reason=reason,
                        unit=np.where(table["estimator"] == "iips", "slate", "slot"))


def _lived(table: pd.DataFrame, change: CarryOver, alpha: float) -> pd.DataFrame:
    """Move values to where the policy is lived, and widen their intervals by what that is uncertain of.

    Intervals are symmetric on the log scale, with as many degrees of freedom as effective rewards less one: weighed rewards
    are skewed, and where they fall short by chance their error does too. Repetition beyond what the log knows is weak.
    """
    value = table["value"].where(table["value"] > 0)
    wide = spread((table["high"] - table["low"]) / (2 * estimators.edge(alpha) * value), table["n_positives"], change, alpha)
    plain = {name: change.factor * table[name] for name in ("value", "low", "high")}
    found = table.assign(value=plain["value"], low=(plain["value"] / wide).where(value.notna(), plain["low"]),
                         high=(plain["value"] * wide).where(value.notna(), plain["high"]), carry_over=change.factor - 1)
    if change.beyond <= BEYOND:
        return found
    is_weaker = found["gate"] == USABLE
    return found.assign(gate=found["gate"].mask(is_weaker, WEAK), reason=found["reason"].mask(is_weaker, beyond_reason(change)))


def spread(relative: pd.Series | float, n_positives: pd.Series | float, change: CarryOver, alpha: float) -> pd.Series | float:
    """By which factor an interval reaches up and down from the value: t quantile of the relative errors added as squares."""
    return np.exp(stdtrit(np.maximum(n_positives - 1, 1.0), 1 - alpha / 2) * np.hypot(relative, change.error))


def beyond_reason(change: CarryOver) -> str:
    """Say why a policy that repeats itself more than the log did is weak."""
    return f"{100 * change.beyond:.0f} % of its slots would be repeated more often than the log knows"


def refused(policy: str, reason: str) -> pd.DataFrame:
    """The table of a policy that cannot be valued at all, and why."""
    table = pd.DataFrame({"policy": policy, "estimator": list(estimators.ESTIMATORS)})
    return table.assign(**dict.fromkeys(NUMBERS, np.nan), n_rows=0, gate=REFUSE, reason=reason, unit="slot")


def value_all(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, *, decisions: pd.DataFrame | None = None,
              rehearsed: pd.DataFrame | None = None, stated: pd.DataFrame | None = None, outcome_type: str = "click",
              as_of: pd.Timestamp | None = None, tau: float = 5.0, alpha: float = 0.05, days: int = 7) -> pd.DataFrame:
    """Value every policy that there is from every log that can say something of it.

    Args:
        deliveries, outcomes, decisions, rehearsed, stated, outcome_type, as_of: as in `questions`.
        tau, alpha: as in `value_policy`.
        days: days for which policies of customers are lived, where the log tells how they tire.

    Returns:
        `policy_values` as `value_policy` makes it, empty without a log.
    """
    asked = questions(deliveries, outcomes, decisions=decisions, rehearsed=rehearsed, stated=stated,
                      outcome_type=outcome_type, as_of=as_of)
    of_customers, memory = memory_of(asked, deliveries, outcomes, outcome_type=outcome_type, days=days)
    found = [value_policy(log, target, policy=policy, tau=tau, alpha=alpha, memory=memory if log is of_customers else None)
             if len(log) else refused(policy, _too_late(policy)) for policy, log, target in asked]
    table = pd.concat(found, ignore_index=True) if found else refused("none", "").iloc[:0]
    return table.drop_duplicates(["policy", "estimator"], ignore_index=True)


def memory_of(asked: list[Question], deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, *, outcome_type: str,
              days: int) -> tuple[pd.DataFrame | None, Memory | None]:
    """The log that policies of customers are asked of, and what all that was logged tells of repetition and weeks."""
    log = next((log for _, log, target in asked if "customer_id" in target and len(log)), None)
    if log is None:
        return None, None
    return log, carryover.remember(log, logs.with_rewards(deliveries, outcomes, outcome_type=outcome_type), days=days)


def questions(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, *, decisions: pd.DataFrame | None = None,
              rehearsed: pd.DataFrame | None = None, stated: pd.DataFrame | None = None, outcome_type: str = "click",
              as_of: pd.Timestamp | None = None) -> list[Question]:
    """Say which policy is asked of which log.

    A policy made from answers must not be valued by them: slots that helped to choose it would call it better than it
    is. Policies of customers are therefore asked of slots shown after they were decided, and of no others.

    Args:
        deliveries: `logged_deliveries`, or None.
        outcomes: `logged_outcomes`, or None.
        decisions: `decisions`, made at `as_of`.
        rehearsed: `rehearsals`, policies as they would have been decided at an earlier moment; they stand in for those
            decisions after which nothing was logged.
        stated: a policy given by the source, as p_target by item_id and further columns.
        outcome_type: the answer that counts.
        as_of: the last moment that the decisions knew; None where they knew nothing of this log.

    Returns:
        Name, the log that is asked (with rewards; empty where there is none), and the policy's table. Where the log holds
        several policies, each is valued from the largest log of the others; the source's own policy is named `stated`.
    """
    if deliveries is None or outcomes is None or deliveries.empty:
        return []
    log = logs.with_rewards(deliveries, outcomes, outcome_type=outcome_type)
    asked = [("stated", log, stated)] if stated is not None else []
    if logs.names_customers(log):
        asked += _of_customers(log, decisions, rehearsed, as_of)
    sizes = log["policy"].value_counts().sort_index()
    for policy in sizes.index if len(sizes) > 1 else []:
        other = log[log["policy"] == sizes.drop(policy).idxmax()].reset_index(drop=True)
        asked.append((str(policy), other, logs.policy_of_log(log[log["policy"] == policy], items=log["item_id"])))
    return asked


def _of_customers(log: pd.DataFrame, decisions: pd.DataFrame | None, rehearsed: pd.DataFrame | None,
                  as_of: pd.Timestamp | None) -> list[Question]:
    later = log if as_of is None else log[log[logs.DAY] > as_of].reset_index(drop=True)
    decided = [] if decisions is None else sorted(decisions["policy"].unique())
    if len(later) or rehearsed is None or rehearsed.empty:
        return [(policy, later, logs.slates_of(decisions, policy)) for policy in decided]
    after = log[log[logs.DAY] > rehearsed["decided_at"].iloc[0]].reset_index(drop=True)
    return [(policy, after, logs.slates_of(rehearsed, policy)) for policy in sorted(rehearsed["policy"].unique())]


def _too_late(policy: str) -> str:
    return f"no slot was logged after {policy} was decided, and answers that helped to choose its slates cannot judge them"


def best(values: pd.DataFrame) -> pd.DataFrame:
    """The estimator to read of each policy: the plainest that its gate calls usable, else the one with most evidence."""
    order = {name: place for place, name in enumerate((USABLE, WEAK, REFUSE))}
    own = values[values["estimator"].isin(PREFERENCE)]
    own = own.assign(is_missing=own["value"].isna(), grade=own["gate"].map(order),
                     evidence=own["n_positives"].where(own["gate"] != USABLE, np.inf).fillna(0.0),
                     place=own["estimator"].map({name: at for at, name in enumerate(PREFERENCE)}))
    by = ["policy", "is_missing", "grade", "evidence", "place"]
    first = own.sort_values(by, ascending=[True, True, True, False, True]).drop_duplicates("policy")
    return first.drop(columns=["is_missing", "grade", "evidence", "place"]).reset_index(drop=True)


def summary(values: pd.DataFrame) -> pd.DataFrame:
    """One row a policy: gate, the estimator to read and its value with interval, and what the log can carry."""
    wanted = ["policy", "gate", "estimator", "value", "low", "high", "n_rows", "ess", "n_positives", "largest_share",
              "mean_weight", "unsupported_share", "withdrawn_share"]
    return best(values)[wanted]


def values_sentence(values: pd.DataFrame) -> str:
    """Say what each policy would have earned, or why the log cannot tell."""
    if values.empty:
        return "No policy is valued: there is no log that knows the probability of what it showed."
    parts = []
    for row in best(values).itertuples():
        if row.gate == REFUSE:
            parts.append(f"{row.policy} is not valued: {row.reason}")
        else:
            parts.append(f"{row.policy} would have earned {row.value:.3g} [{row.low:.3g}, {row.high:.3g}] a slot by "
                         f"{row.estimator} ({row.gate}: {row.reason})")
    return "; ".join(parts) + "."

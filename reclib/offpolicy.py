"""Layer 7: what would another policy have earned? Off-policy values from a log that knows its probabilities.

A target policy is a table `p_target` by item_id and, where it depends on them, position, customer_id or context columns.
Every log row is weighted by p_target / p_shown, where `p_shown` is the probability of what was finally shown, after
rules. Whether the log can carry the question is decided before any value is named (`gate`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtri

USABLE, WEAK, REFUSE = "usable", "weak", "refuse"
ESTIMATORS = ("ips", "snips", "dm", "dr", "sndr", "switch_dr")
DIAGNOSTICS = ["ess", "max_weight", "mean_weight", "unsupported_share"]


def with_rewards(deliveries: pd.DataFrame, outcomes: pd.DataFrame, *, outcome_type: str = "click",
                 policy: str | None = None, is_value: bool = False) -> pd.DataFrame:
    """Add the reward of each slot to a log.

    Args:
        deliveries: `logged_deliveries` or `deliveries`.
        outcomes: their `logged_outcomes` or `outcomes`.
        outcome_type: the answer that counts.
        policy: keep the slots of this logging policy only.
        is_value: the reward is the answer's value; else 1 where there is an answer.

    Returns:
        The log with `reward`. Where impressions are among the answers, slots without one are left out: nobody saw them.
    """
    log = deliveries if policy is None else deliveries[deliveries["policy"] == policy]
    seen = outcomes.loc[outcomes["outcome_type"] == "impression", "decision_id"]
    answers = outcomes[outcomes["outcome_type"] == outcome_type]
    if len(seen):
        log = log[log["decision_id"].isin(seen) | log["decision_id"].isin(answers["decision_id"])]
    reward = log["decision_id"].map(answers.set_index("decision_id")["value"]).astype("float64").fillna(0.0)
    return log.assign(reward=reward if is_value else (reward > 0).astype("float64")).reset_index(drop=True)


def shares_by_position(log: pd.DataFrame) -> pd.DataFrame:
    """The policy that shows items in the shares in which a log shows them, slot by slot."""
    counts = log.groupby(["position", "item_id"]).size().rename("n").reset_index()
    return counts.assign(p_target=counts["n"] / counts.groupby("position")["n"].transform("sum")).drop(columns="n")


def uniform(items: pd.Series, positions: pd.Series) -> pd.DataFrame:
    """The policy that shows every item with the same probability in every slot."""
    names = items.drop_duplicates().sort_values(ignore_index=True)
    slots = positions.drop_duplicates().sort_values(ignore_index=True)
    return pd.DataFrame({
        "position": np.repeat(slots.to_numpy(), len(names)), "item_id": np.tile(names.to_numpy(), len(slots)),
        "p_target": 1.0 / len(names),
    })


def slates_of(decisions: pd.DataFrame, policy: str) -> pd.DataFrame:
    """The policy that shows each customer the slate decided for them."""
    shown = decisions[(decisions["policy"] == policy) & decisions["position"].notna()]
    return shown[["customer_id", "position", "item_id"]].assign(
        position=shown["position"].astype("int64"), p_target=1.0).reset_index(drop=True)


def weigh(log: pd.DataFrame, target: pd.DataFrame, *, prior: float = 100.0) -> pd.DataFrame:
    """Weigh each log row by how much likelier the target is to show it.

    The direct model is tabular: q(item) = (rewards + prior * mean reward) / (rows + prior).

    Args:
        log: a log with `reward`; `p_shown` above 0.
        target: p_target by item_id and further columns of the log.
        prior: rows that the direct model adds to each item at the mean reward.

    Returns:
        The log rows whose context the target knows, with p_target, weight, q (direct model at the item shown) and
        q_target (the same averaged over what the target shows in this context).

    Raises:
        ValueError: a column of the target is not in the log, probabilities are out of range, or nothing is in common.
    """
    keys = [name for name in target.columns if name != "p_target"]
    absent = sorted(set(keys) - set(log.columns))
    if absent:
        raise ValueError(f"target: columns {absent} are not in the log; found {sorted(map(str, log.columns))}.")
    if len(log) and (log["p_shown"] <= 0).any():
        raise ValueError(f"log.p_shown: {(log['p_shown'] <= 0).sum():,} rows are not above 0; what was shown had a chance.")
    context = [name for name in keys if name != "item_id"]
    totals = target.groupby(context)["p_target"].sum() if context else pd.Series([target["p_target"].sum()])
    if (target["p_target"] < 0).any() or (totals > 1 + 1e-6).any():
        raise ValueError(f"target.p_target: largest sum in a context is {totals.max():.6g}, must be in [0, 1].")
    model = _direct_model(log, prior)
    rate = float(log["reward"].mean()) if len(log) else 0.0
    worth = target.assign(part=target["p_target"] * target["item_id"].map(model).fillna(rate))
    known = log.merge(target[keys + ["p_target"]], on=keys, how="left", validate="many_to_one")
    if context:
        expected = worth.groupby(context)["part"].sum().rename("q_target").reset_index()
        known = known.merge(expected, on=context, how="inner", validate="many_to_one")
    else:
        known = known.assign(q_target=worth["part"].sum())
    if known.empty:
        raise ValueError(f"the log and the target have no {' and '.join(context) or 'row'} in common.")
    p_target = known["p_target"].fillna(0.0)
    return known.assign(p_target=p_target, weight=p_target / known["p_shown"], q=known["item_id"].map(model))


def _direct_model(log: pd.DataFrame, prior: float) -> pd.Series:
    totals = log.groupby("item_id")["reward"].agg(["sum", "size"])
    return (totals["sum"] + prior * log["reward"].mean()) / (totals["size"] + prior)


def estimate(weight: np.ndarray, reward: np.ndarray, q: np.ndarray, q_target: np.ndarray, *, tau: float = 5.0,
             alpha: float = 0.05, clusters: np.ndarray | None = None) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Estimate the value a decision by six estimators, along the last axis.

    Args:
        weight: p_target / p_shown.
        reward: what was earned.
        q: direct model at the item shown.
        q_target: direct model averaged over the target.
        tau: largest weight that the switch estimator uses.
        alpha: error rate of the intervals.
        clusters: number of the customer of each row, from 0; rows of one customer may move together.

    Returns:
        Value, low and high by estimator: ips = mean(w r); snips = mean(w r) / mean(w); dm = mean(q_target), without
        an interval, since its error is bias that no sample shows; dr = mean(q_target + w (r - q)); sndr the same with
        weights that average one; switch_dr uses w only where w <= tau.
    """
    mean_weight = weight.mean(axis=-1, keepdims=True)
    rest = reward - q
    kept = np.where(weight <= tau, weight, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        snips = (weight * reward).mean(axis=-1, keepdims=True) / mean_weight
        correction = (weight * rest).mean(axis=-1, keepdims=True) / mean_weight
        pieces = {
            "ips": weight * reward, "snips": snips + weight * (reward - snips) / mean_weight, "dm": q_target,
            "dr": q_target + weight * rest, "sndr": q_target + correction + weight * (rest - correction) / mean_weight,
            "switch_dr": q_target + kept * rest,
        }
    found = {}
    for name, piece in pieces.items():
        value = piece.mean(axis=-1)
        half = np.full(np.shape(value), np.nan) if name == "dm" else ndtri(1 - alpha / 2) * _error(piece, clusters)
        found[name] = (value, value - half, value + half)
    return found


def _error(piece: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Standard error of a mean, with rows of one cluster moving together."""
    n = piece.shape[-1]
    centred = piece - piece.mean(axis=-1, keepdims=True)
    if clusters is None:
        return np.sqrt((centred**2).sum(axis=-1) / max(n - 1, 1) / n)
    sums = np.bincount(clusters, weights=centred)
    return np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)) / n


def diagnose(weight: np.ndarray, reward: np.ndarray, *, unsupported: float = 0.0) -> dict[str, np.ndarray]:
    """Say how much of the log carries the answer, along the last axis.

    Returns:
        ess (effective sample size), mean_weight, max_weight, mean_weight_z (its distance from one in standard
        errors), n_positives (effective number of weighted rewards), largest_share (of one reward in all), and
        unsupported_share as given.
    """
    n = weight.shape[-1]
    earned = weight * np.abs(reward)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = weight.std(axis=-1, ddof=1) / np.sqrt(n)
        distance = weight.mean(axis=-1) - 1
        z = np.where(error > 0, distance / error, np.where(np.abs(distance) < 1e-9, 0.0, np.inf))
        total, squares = earned.sum(axis=-1), (earned**2).sum(axis=-1)
        return {
            "ess": np.nan_to_num(weight.sum(axis=-1) ** 2 / (weight**2).sum(axis=-1)),
            "mean_weight": weight.mean(axis=-1), "max_weight": weight.max(axis=-1), "mean_weight_z": z,
            "n_positives": np.nan_to_num(total**2 / squares), "largest_share": np.nan_to_num(earned.max(axis=-1) / total, nan=1.0),
            "unsupported_share": np.broadcast_to(unsupported, np.shape(total)),
        }


def gate(found: Mapping[str, float]) -> tuple[str, str]:
    """Decide whether the log can carry the question: usable, weak or refuse, and why.

    Usable: at least 50 effective rewards, none of them above 5 % of all, an effective sample of 100 slots, a mean
    weight within 3 standard errors of one, at most 1 % of the target without support. Refuse: fewer than 10 rewards
    or slots, a mean weight further off, one reward that is a third of all, or more than 10 % without support. Weak:
    between.
    """
    z, positives = float(found["mean_weight_z"]), float(found["n_positives"])
    share, unsupported, ess = (float(found[name]) for name in ("largest_share", "unsupported_share", "ess"))
    if unsupported > 0.10:
        return REFUSE, f"the log never shows {100 * unsupported:.1f} % of what the policy would show"
    if abs(z) > 3:
        mean = float(found["mean_weight"])
        why = f"the log had no chance of showing {100 * (1 - mean):.0f} % of what the policy shows, or its" if mean < 1 else "its"
        return REFUSE, f"the mean weight is {mean:.3g} where it should be 1: {why} probabilities are not those of what was shown"
    if min(positives, ess) < 10:
        return REFUSE, f"the answer rests on {positives:.1f} effective rewards of {ess:.1f} effective slots, fewer than 10"
    if share > 1 / 3:
        return REFUSE, f"a single reward carries {100 * share:.0f} % of the value"
    if positives < 50 or share > 0.05 or unsupported > 0.01 or ess < 100:
        return WEAK, (f"it rests on {positives:.1f} effective rewards of {ess:,.0f} effective slots, the largest reward "
                      f"carries {100 * share:.1f} %, {100 * unsupported:.1f} % is without support: the interval may be too narrow")
    return USABLE, f"it rests on {positives:.0f} effective rewards and the mean weight is {float(found['mean_weight']):.3f}"


def value_policy(log: pd.DataFrame, target: pd.DataFrame, *, policy: str, alpha: float = 0.05, tau: float = 5.0,
                 prior: float = 100.0) -> pd.DataFrame:
    """Value a policy from the log of another.

    Args:
        log: result of `with_rewards`.
        target: the policy's table (see `weigh`).
        policy: its name.
        alpha: error rate of the intervals.
        tau: largest weight of the switch estimator.
        prior: shrinkage of the direct model.

    Returns:
        A `policy_values` table: one row an estimator, with n_rows, n_positives, largest_share, gate and reason. Where
        the gate refuses, no value is named. Slates add the row `iips`, the value of a whole slate.
    """
    try:
        weighed = weigh(log, target, prior=prior)
    except ValueError as error:
        return _refused(policy, str(error).rstrip("."))
    columns = [weighed[name].to_numpy(dtype=float) for name in ("weight", "reward", "q", "q_target")]
    unsupported = unsupported_mass(log, target)
    found = diagnose(columns[0], columns[1], unsupported=float(unsupported["share"].sum()))
    word, reason = gate(found)
    values = estimate(*columns, tau=tau, alpha=alpha, clusters=clusters_of(weighed)) | _by_slate(weighed, alpha=alpha)
    rows = [{"policy": policy, "estimator": name, "value": value, "low": low, "high": high} for name, (value, low, high) in values.items()]
    table = pd.DataFrame(rows).astype({"value": "float64", "low": "float64", "high": "float64"})
    if word == REFUSE:
        table[["value", "low", "high"]] = np.nan
    extra = {name: float(found[name]) for name in [*DIAGNOSTICS, "n_positives", "largest_share"]}
    return table.assign(**extra, n_rows=len(weighed), gate=word, reason=reason,
                        unit=np.where(table["estimator"] == "iips", "slate", "slot"))


def value_all(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, *, decisions: pd.DataFrame | None = None,
              stated: pd.DataFrame | None = None, outcome_type: str = "click", tau: float = 5.0,
              alpha: float = 0.05) -> pd.DataFrame:
    """Value every policy that there is from every log that can say something of it.

    Args:
        deliveries: `logged_deliveries`, or None.
        outcomes: `logged_outcomes`, or None.
        decisions: `decisions`; its policies are valued where the log names customers.
        stated: a policy given by the source, as p_target by item_id and further columns.
        outcome_type: the answer that counts.
        tau, alpha: as in `value_policy`.

    Returns:
        `policy_values` as `value_policy` makes it, empty without a log. Where the log holds several policies, each is
        valued from the largest log of the others; the source's own policy is named `stated`.
    """
    asked = questions(deliveries, outcomes, decisions=decisions, stated=stated, outcome_type=outcome_type)
    found = [value_policy(log, target, policy=policy, tau=tau, alpha=alpha) for policy, log, target in asked]
    table = pd.concat(found, ignore_index=True) if found else _refused("none", "").iloc[:0]
    return table.drop_duplicates(["policy", "estimator"], ignore_index=True)


def questions(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, *, decisions: pd.DataFrame | None = None,
              stated: pd.DataFrame | None = None, outcome_type: str = "click") -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """The policies that `value_all` values: name, the log that is asked (with rewards), and the policy's table."""
    if deliveries is None or outcomes is None or deliveries.empty:
        return []
    log = with_rewards(deliveries, outcomes, outcome_type=outcome_type)
    asked = [("stated", log, stated)] if stated is not None else []
    if decisions is not None and "customer_id" in log and log["customer_id"].notna().all():
        asked += [(policy, log, slates_of(decisions, policy)) for policy in sorted(decisions["policy"].unique())]
    sizes = log["policy"].value_counts().sort_index()
    for policy in sizes.index if len(sizes) > 1 else []:
        other = log[log["policy"] == sizes.drop(policy).idxmax()].reset_index(drop=True)
        asked.append((str(policy), other, policy_of_log(log[log["policy"] == policy], items=log["item_id"])))
    return asked


def policy_of_log(log: pd.DataFrame, *, items: pd.Series) -> pd.DataFrame:
    """The policy behind a log: uniform where every probability is one in the number of items, else the shares it showed."""
    p = log["p_shown"]
    is_uniform = np.allclose(p, 1 / items.nunique(), rtol=1e-9, atol=0)
    return uniform(items, log["position"]) if is_uniform else shares_by_position(log)


def read_target(path: str | None) -> pd.DataFrame | None:
    """Read the policy that a source states (Parquet or csv with item_id and p_target), or None where it states none."""
    if not path:
        return None
    table = pd.read_parquet(path) if str(path).endswith(".parquet") else pd.read_csv(path)
    absent = [name for name in ("item_id", "p_target") if name not in table]
    if absent:
        raise ValueError(f"{path}: columns {absent} are missing; found {list(table.columns)}.")
    return table


def summary(values: pd.DataFrame) -> pd.DataFrame:
    """One row a policy: gate, self-normalised value with its interval, and what the log can carry."""
    own = values[values["estimator"] == "snips"]
    wanted = ["policy", "gate", "value", "low", "high", "n_rows", "ess", "n_positives", "largest_share", "mean_weight",
              "unsupported_share", "reason"]
    return own[wanted].reset_index(drop=True)


def values_sentence(values: pd.DataFrame) -> str:
    """Say what each policy would have earned, or why the log cannot tell."""
    if values.empty:
        return "No policy is valued: there is no log that knows the probability of what it showed."
    parts = []
    for row in summary(values).itertuples():
        if row.gate == REFUSE:
            parts.append(f"{row.policy} is not valued: {row.reason}")
        else:
            parts.append(f"{row.policy} would have earned {row.value:.3g} [{row.low:.3g}, {row.high:.3g}] a slot ({row.gate}: {row.reason})")
    return "; ".join(parts) + "."


def _refused(policy: str, reason: str) -> pd.DataFrame:
    table = pd.DataFrame({"policy": policy, "estimator": list(ESTIMATORS)})
    numbers = dict.fromkeys(["value", "low", "high", *DIAGNOSTICS, "n_positives", "largest_share"], np.nan)
    return table.assign(**numbers, n_rows=0, gate=REFUSE, reason=reason, unit="slot")


def unsupported_mass(log: pd.DataFrame, target: pd.DataFrame, reasons: pd.DataFrame | None = None) -> pd.DataFrame:
    """What the target would show and the log never does, over the contexts of the log.

    Where the target depends on customers, support is judged by item alone: that a customer never saw an item proves
    nothing, since each is seen seldom; what is then still missing shows in the mean weight.

    Args:
        log: the log.
        target: p_target by item_id and further columns.
        reasons: rule_id by item_id: which rule keeps the item out of the log, where known.

    Returns:
        One row an item (or a rule, where reasons are given), largest first: item_id or rule_id, share of all mass.
    """
    keys = [name for name in target.columns if name != "p_target"]
    context = [name for name in keys if name != "item_id"]
    judged = ["item_id"] if "customer_id" in keys else keys
    shown = log[judged].drop_duplicates().assign(is_shown=True)
    rows = log.groupby(context).size().rename("n").reset_index() if context else pd.DataFrame({"n": [len(log)]})
    spread = target.merge(rows, on=context, validate="many_to_one") if context else target.merge(rows, how="cross")
    spread = spread.merge(shown, on=judged, how="left", validate="many_to_one")
    mass = (spread["p_target"] * spread["n"])
    lost = spread[spread["is_shown"].isna()].assign(share=mass / max(rows["n"].sum(), 1))
    by = "item_id"
    if reasons is not None:
        by, first = "rule_id", reasons.drop_duplicates("item_id")[["item_id", "rule_id"]]
        lost = lost.merge(first, on="item_id", how="left", validate="many_to_one").fillna({"rule_id": "no rule known"})
    table = lost.groupby(by)["share"].sum().reset_index()
    return table[table["share"] > 0].sort_values(["share", by], ascending=[False, True], ignore_index=True)


def mass_by_rule(decisions: pd.DataFrame | None) -> pd.DataFrame:
    """What a policy would show before rules and no log of it after rules can support, by the rule that refused it.

    Args:
        decisions: `decisions`, or None. A policy's slate before rules is its first k ranks, k being its largest position.

    Returns:
        policy, rule_id, share (of the policy's slots before rules), largest first; empty without decisions.
    """
    if decisions is None or decisions["position"].isna().all():
        return pd.DataFrame({"policy": pd.Series(dtype="str"), "rule_id": pd.Series(dtype="str"), "share": pd.Series(dtype="float64")})
    k = decisions.groupby("policy")["position"].transform("max")
    before = decisions[decisions["rank"] <= k]
    lost = before[before["rule_id"].notna()].groupby(["policy", "rule_id"], observed=True).size().rename("n").reset_index()
    sizes = before.groupby("policy").size()
    shares = lost.assign(share=lost["n"] / lost["policy"].map(sizes)).drop(columns="n")
    return shares.sort_values(["policy", "share", "rule_id"], ascending=[True, False, True], ignore_index=True)


def mass_sentence(table: pd.DataFrame) -> str:
    """Say how much of each policy the rules leave without support, and which rule takes most."""
    if table.empty:
        return "No decisions are here, or no rule refused what a policy would have shown."
    parts = [f"{policy} loses {100 * own['share'].sum():.1f} % of its slots to rules, most of them to {own['rule_id'].iloc[0]}"
             for policy, own in table.groupby("policy", sort=True)]
    return "; ".join(parts) + ": what is valued is the policy after rules, with the probability of what was finally shown."


def clusters_of(log: pd.DataFrame) -> np.ndarray | None:
    """Number of the customer (or session) of each row from 0, or None where the log names neither."""
    name = next((name for name in ("customer_id", "session_id") if name in log and log[name].notna().all()), None)
    return None if name is None else pd.factorize(log[name])[0]


def _by_slate(weighed: pd.DataFrame, *, alpha: float) -> dict[str, tuple[float, float, float]]:
    """The value of a whole slate, where the log says which slots were shown together."""
    if "customer_id" not in weighed or weighed["customer_id"].isna().any():
        return {}
    slate = weighed.groupby(["customer_id", "delivered_at"], sort=False).ngroup().to_numpy()
    n_slates = int(slate.max()) + 1
    if n_slates == len(weighed):
        return {}
    value = np.bincount(slate, weighed["weight"] * weighed["reward"], n_slates)
    owner = pd.factorize(weighed.drop_duplicates(["customer_id", "delivered_at"])["customer_id"])[0]
    half = ndtri(1 - alpha / 2) * _error(value, owner)
    return {"iips": (value.mean(), value.mean() - half, value.mean() + half)}


def slate_values(weight: np.ndarray, reward: np.ndarray, *, alpha: float = 0.05) -> dict[str, tuple[float, float, float]]:
    """Value slates whose slots were drawn one after another, each with its own probability given those before.

    Args:
        weight: p_target / p_shown of each slot given the slots before it, shape (slates, positions).
        reward: of each slot, same shape.
        alpha: error rate of the intervals.

    Returns:
        Value of a slate, low and high: sips weighs all by the whole slate (right whatever customers do), rips each
        slot by the slots up to it (right where customers look from top to bottom), iips each by itself (right only
        where slots do not influence each other).
    """
    ahead = np.cumprod(weight, axis=1)
    pieces = {"sips": ahead[:, -1] * reward.sum(axis=1), "iips": (weight * reward).sum(axis=1), "rips": (ahead * reward).sum(axis=1)}
    half = {name: ndtri(1 - alpha / 2) * _error(piece, None) for name, piece in pieces.items()}
    return {name: (float(piece.mean()), float(piece.mean() - half[name]), float(piece.mean() + half[name]))
            for name, piece in pieces.items()}

"""The estimators: of slots by their probabilities, of slates by position, and of items by where they are looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from reclib.offpolicy.logs import context_of

ESTIMATORS = ("ips", "snips", "dm", "dr", "sndr", "switch_dr")
Found = tuple[float, float, float]


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
    keys, context = [name for name in target.columns if name != "p_target"], context_of(target)
    _require(log, target, keys, context)
    model, rate = _direct_model(log, prior), float(log["reward"].mean()) if len(log) else 0.0
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


def _require(log: pd.DataFrame, target: pd.DataFrame, keys: list[str], context: list[str]) -> None:
    absent = sorted(set(keys) - set(log.columns))
    if absent:
        raise ValueError(f"target: columns {absent} are not in the log; found {sorted(map(str, log.columns))}.")
    if len(log) and (log["p_shown"] <= 0).any():
        raise ValueError(f"log.p_shown: {(log['p_shown'] <= 0).sum():,} rows are not above 0; what was shown had a chance.")
    totals = target.groupby(context)["p_target"].sum() if context else pd.Series([target["p_target"].sum()])
    if (target["p_target"] < 0).any() or (totals > 1 + 1e-6).any():
        raise ValueError(f"target.p_target: largest sum in a context is {totals.max():.6g}, must be in [0, 1].")


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
        half = np.full(np.shape(value), np.nan) if name == "dm" else edge(alpha) * error(piece, clusters)
        found[name] = (value, value - half, value + half)
    return found


def edge(alpha: float) -> float:
    """Standard errors that an interval reaches to each side."""
    return float(ndtri(1 - alpha / 2))


def error(piece: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Standard error of a mean along the last axis, with rows of one cluster moving together."""
    n = piece.shape[-1]
    centred = piece - piece.mean(axis=-1, keepdims=True)
    if clusters is None:
        return np.sqrt((centred**2).sum(axis=-1) / max(n - 1, 1) / n)
    sums = np.bincount(clusters, weights=centred)
    return np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)) / n


def slate_values(weight: np.ndarray, reward: np.ndarray, *, own: np.ndarray | None = None,
                 clusters: np.ndarray | None = None, alpha: float = 0.05) -> dict[str, Found]:
    """Value slates whose slots were drawn one after another, each with its own probability given those before.

    Args:
        weight: p_target / p_shown of each slot given the slots before it, shape (slates, positions).
        reward: of each slot, same shape.
        own: the same of each slot whatever stands before it (`p_shown` as logged); `weight` where slots are drawn
            independently.
        clusters: number of the customer of each slate, from 0; slates of one customer may move together.
        alpha: error rate of the intervals.

    Returns:
        Value of a slate, low and high: sips weighs all by the whole slate (right whatever customers do), rips each
        slot by the slots up to it (right where customers look from top to bottom), iips each by itself (right only
        where slots do not influence each other).
    """
    ahead = np.cumprod(weight, axis=1)
    pieces = {"sips": ahead[:, -1] * reward.sum(axis=1), "rips": (ahead * reward).sum(axis=1),
              "iips": ((weight if own is None else own) * reward).sum(axis=1)}
    return {name: _interval(piece, clusters, alpha) for name, piece in pieces.items()}


def by_slate(weighed: pd.DataFrame, *, alpha: float = 0.05) -> dict[str, Found]:
    """`iips`, the value of a whole slate, where the log says which slots were shown together; else nothing."""
    if "customer_id" not in weighed or weighed["customer_id"].isna().any():
        return {}
    slate = weighed.groupby(["customer_id", "delivered_at"], sort=False).ngroup().to_numpy()
    n_slates = int(slate.max()) + 1
    if n_slates == len(weighed):
        return {}
    value = np.bincount(slate, weighed["weight"] * weighed["reward"], n_slates)
    return {"iips": _interval(value, pd.factorize(weighed.drop_duplicates(["customer_id", "delivered_at"])["customer_id"])[0], alpha)}


def examination(log: pd.DataFrame) -> pd.Series:
    """How likely each position is looked at, the most looked at being 1, from the log's own chance.

    Each slot is weighed by p_in_slate / p_shown, as if its item had been as likely in every position; then positions
    differ by attention alone: e(position) = sum of weighed rewards / sum of weights.
    """
    lift = log["p_in_slate"] / log["p_shown"]
    sums = pd.DataFrame({"position": log["position"], "top": lift * log["reward"], "below": lift}).groupby("position").sum()
    rate = sums["top"] / sums["below"]
    return rate / rate.max()


def by_examination(log: pd.DataFrame, target: pd.DataFrame) -> pd.DataFrame:
    """Weigh what the target shows by the chance of being anywhere in the slate, moved to the target's position.

    A reward at position j of an item that the target shows at position t tells of t by e(t) / e(j), where attention
    depends on the position alone and the reward on the item (position-based clicks, Li and others 2018). That uses
    every showing of the item, where the plain weights use those in one position only.

    Args:
        log: a log with `reward`, `p_in_slate` and `customer_id`.
        target: one item a customer and position.

    Returns:
        The log rows with weight (expected to average one over the target's places) and moved (e(t) / e(j) x reward); both
        0 where the target does not show the item.
    """
    looked = examination(log)
    places = target[["customer_id", "item_id", "position"]].rename(columns={"position": "target_position"})
    rows = log.merge(places, on=["customer_id", "item_id"], how="left", validate="many_to_one")
    ratio = (rows["target_position"].map(looked) / rows["position"].map(looked).where(lambda e: e > 0)).fillna(0.0)
    weight = (1 / rows["p_in_slate"]).where(rows["target_position"].notna(), 0.0)
    return rows.assign(weight=weight, moved=ratio * rows["reward"])


def ratio(weight: np.ndarray, reward: np.ndarray, *, alpha: float = 0.05, clusters: np.ndarray | None = None) -> Found:
    """Sum of weighted rewards over sum of weights, with the interval of a ratio (delta method)."""
    total = weight.sum()
    if not total:
        return np.nan, np.nan, np.nan
    value = float((weight * reward).sum() / total)
    piece = value + weight * (reward - value) * len(weight) / total
    half = float(edge(alpha) * error(piece, clusters))
    return value, value - half, value + half


def _interval(piece: np.ndarray, clusters: np.ndarray | None, alpha: float) -> Found:
    value, half = float(piece.mean()), float(edge(alpha) * error(piece, clusters))
    return value, value - half, value + half

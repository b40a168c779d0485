"""The layer ladder: what does each layer add, from slates at random to allocation?

Each rung is a policy made of the tables of one run. Standing arms give every rung an equal part of the customers at
once, as a shop could; the truth gives every rung to everybody, each in its own copy of the same world, as no shop can.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import ndtri

from reclib import report
from reclib.experiments import effects, power
from reclib.experiments.stats import moments_of

RUNGS = ("random eligible", "popular", "similar customers", "ranker", "value", "rules", "allocation")
ALPHA = 0.05
COLLABORATIVE = ("item_neighbours", "ease", "surprise_knn", "surprise_svd")


def build(ranked: pd.DataFrame, candidates: pd.DataFrame, decisions: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
    """Make the slates of every rung from the tables of one run.

    Args:
        ranked: `ranked` with the policies popular, relevance and value.
        candidates: `candidates`; the first collaborative source that is there is the rung `similar customers`.
        decisions: `decisions` of the policy value.
        rng: draws the slates at random.

    Returns:
        rung, customer_id, item_id and position (from 1), at most as many slots as the decisions have positions.
    """
    own = decisions[decisions["policy"] == "value"].sort_values(["customer_id", "item_id"])
    k = int(own["position"].max())
    allowed = own[own["is_allowed"]]
    sources = [name for name in COLLABORATIVE if (candidates["source"] == name).any()]
    orders = {
        "random eligible": allowed.assign(order=rng.random(len(allowed))),
        "popular": _ranking(ranked, "popular"), "ranker": _ranking(ranked, "relevance"), "value": _ranking(ranked, "value"),
        "rules": allowed.assign(order=allowed["rank"]), "allocation": own[own["position"].notna()].assign(order=own["position"]),
    }
    if sources:
        similar = candidates[candidates["source"] == sources[0]]
        orders["similar customers"] = similar.assign(order=similar["source_rank"])
    return pd.concat([_slates(orders[rung], rung, k) for rung in RUNGS if rung in orders], ignore_index=True)


def _ranking(ranked: pd.DataFrame, policy: str) -> pd.DataFrame:
    own = ranked[ranked["policy"] == policy]
    return own.assign(order=own["rank"])


def _slates(ordered: pd.DataFrame, rung: str, k: int) -> pd.DataFrame:
    first = ordered.sort_values(["customer_id", "order", "item_id"])
    position = first.groupby("customer_id").cumcount() + 1
    return first.assign(rung=rung, position=position)[position <= k][["rung", "customer_id", "item_id", "position"]]


def standing_arms(rungs: pd.DataFrame, params: dict, *, metric: str, n_days: int, rng: np.random.Generator) -> pd.DataFrame:
    """Give each rung its own part of the customers and of the stock, and read it against the rung below, adjusted by the past.

    Returns:
        rung, below, value (mean a customer), gain with gain_low and gain_high.
    """
    names = [rung for rung in RUNGS if (rungs["rung"] == rung).any()]
    customers = np.arange(1, int(params["n_customers"]) + 1)
    arm = pd.Series(np.array(names)[rng.permutation(len(customers)) % len(names)], index=customers)
    own = rungs[rungs["rung"].to_numpy() == rungs["customer_id"].map(arm).to_numpy()]
    after = _answers(own, params, n_days, assignments=pd.DataFrame({"customer_id": customers, "arm": arm.to_numpy()}))
    values = after.set_index("customer_id").loc[customers, [metric, "pre_revenue", "pre_orders", "pre_clicks"]].astype(float)
    found = {name: effects.mean_estimate(moments_of(values[(arm == name).to_numpy()].to_numpy())) for name in names}
    return _steps(names, {name: float(one.value) for name, one in found.items()}, {
        name: effects.compare(*effects.adjust(found[name], found[below]), alpha=ALPHA) for below, name in pairwise(names)})


def truth(rungs: pd.DataFrame, params: dict, *, metric: str, n_days: int) -> pd.DataFrame:
    """Give each rung to everybody in a copy of the world; the gain is each customer's own difference.

    Returns:
        rung, below, value, gain with gain_low and gain_high (of the customers as a sample).
    """
    names = [rung for rung in RUNGS if (rungs["rung"] == rung).any()]
    values = {name: _answers(rungs[rungs["rung"] == name], params, n_days).set_index("customer_id")[metric].astype(float) for name in names}
    gains = {}
    for below, name in pairwise(names):
        own = moments_of((values[name] - values[below]).to_numpy()[:, None])
        nothing = effects.Estimate(own.n, np.array(0.0), np.array(0.0))
        gains[name] = effects.compare(effects.mean_estimate(own), nothing, alpha=ALPHA)
    return _steps(names, {name: float(each.mean()) for name, each in values.items()}, gains)


def _answers(slates: pd.DataFrame, params: dict, n_days: int, *, assignments: pd.DataFrame | None = None) -> pd.DataFrame:
    from reclib.sources.storefront import tables

    shown = slates.sort_values(["customer_id", "position"], ignore_index=True)
    deliveries = shown.assign(decision_id=np.arange(len(shown)))
    found = tables.answer(deliveries, assignments, params=params, n_days=n_days, is_split=assignments is not None)
    return found["customers_after"]


def _steps(names: list[str], values: dict[str, float], gains: dict[str, dict]) -> pd.DataFrame:
    rows = [{"rung": name, "below": below, "value": values[name],
             **{label: np.nan if name not in gains else float(gains[name][key])
                for label, key in (("gain", "effect"), ("gain_low", "effect_low"), ("gain_high", "effect_high"))}}
            for below, name in zip(["", *names], names)]
    return pd.DataFrame(rows)


def sentence(steps: pd.DataFrame, *, currency: str) -> str:
    """Say which layers earn their keep, which cost, and which cannot be told."""
    known = steps[steps["gain"].notna()]
    parts = []
    for words, own in (("adds", known[known["gain_low"] > 0]), ("costs", known[known["gain_high"] < 0])):
        parts += [f"{row.rung} {words} {report.money(abs(row.gain), currency)} a customer over {row.below}" for row in own.itertuples()]
    rest = known[(known["gain_low"] <= 0) & (known["gain_high"] >= 0)]["rung"].tolist()
    if rest:
        parts.append(f"not told apart from the rung below: {', '.join(rest)}")
    return "; ".join(parts) + "."


def power_sentence(arms: pd.DataFrame, *, currency: str) -> str:
    """Say how large a gain standing arms of this size find, and how many customers a gain half as large needs."""
    half = float(((arms["gain_high"] - arms["gain_low"]) / 2).median())
    found = power.detectable(half / ndtri(1 - ALPHA / 2), alpha=ALPHA)
    return (f"Arms of this size find a gain of {report.money(found, currency)} a customer or more with 80% chance; "
            "to find half of it, each needs four times the customers.")


def agreement(arms: pd.DataFrame, true: pd.DataFrame) -> str:
    """Say in how many rungs the standing arms' interval holds the true gain."""
    both = arms.merge(true, on="rung", suffixes=("", "_true")).dropna(subset=["gain"])
    inside = (both["gain_low"] <= both["gain_true"]) & (both["gain_true"] <= both["gain_high"])
    missed = f"; outside: {', '.join(both.loc[~inside, 'rung'])}" if not inside.all() else ""
    return f"The standing arms' intervals hold the true gain of {int(inside.sum())} of {len(both)} rungs{missed}."

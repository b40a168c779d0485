"""Decision diff: two policies, or two rule files, over the same customers: who sees something else, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.report import number, percent
from reclib.rules import fields as fields_of
from reclib.rules.fields import n_distinct
from reclib.rules.plan import Case, Plan

LAYERS = ("candidates", "ranking", "filters", "slates and limits")
WIDTH = 2**20


@dataclass(frozen=True)
class Diff:
    """What changes from one decision to another.

    Attributes:
        measures: one row a measure: measure, before, after, change.
        layers: one row a layer: layer, n_customers whose slates first part there.
        customers: one row a changed customer: customer_id, layer, n_new (items new in the slate), value_change.
        n_customers: customers that were decided for.
    """

    measures: pd.DataFrame
    layers: pd.DataFrame
    customers: pd.DataFrame
    n_customers: int


def decision_diff(before: tuple[Case, Plan], after: tuple[Case, Plan]) -> Diff:
    """Compare two decisions over the same customers and items.

    The first layer that differs for a customer: the pairs that are ranked, their order, the pairs that the filters
    leave, or else slate rules and shared limits.

    Args:
        before: a case and one of its plans.
        after: another plan of the same case, or one of another case of the same world.

    Raises:
        ValueError: the two were decided for different customers.
    """
    world = before[0].world
    for table, name in ((each, f"{each[:-1]}_id") for each in ("customers", "items")):
        if not getattr(world, table)[name].equals(getattr(after[0].world, table)[name]):
            raise ValueError(f"decision_diff: the two were decided for different {table}; prepare both with the same world.")
    old, new = _rows(*before), _rows(*after)
    n, n_items = len(world.customers), len(world.items)
    layer = np.full(n, len(LAYERS) - 1)
    for place, look in reversed(list(enumerate(LAYERS[:-1]))):
        layer[_parted(old[look], new[look], n, n_items)] = place
    rows = np.flatnonzero(_parted(old[LAYERS[-1]], new[LAYERS[-1]], n, n_items))
    fresh = np.setdiff1d(new["shown"], old["shown"], assume_unique=True)
    gained = _value(*after, n) - _value(*before, n)
    people = pd.DataFrame({
        "customer_id": world.customers["customer_id"].take(rows).reset_index(drop=True),
        "layer": np.array(LAYERS, dtype=object)[layer[rows]], "n_new": np.bincount(fresh // n_items, minlength=n)[rows],
        "value_change": np.round(gained, 4)[rows]})
    counts = pd.DataFrame({"layer": LAYERS, "n_customers": [int((layer[rows] == place).sum()) for place in range(len(LAYERS))]})
    order = people.sort_values(["n_new", "value_change", "customer_id"], ascending=[False, True, True], ignore_index=True)
    return Diff(_measures(before, after), counts, order, n)


def sentence(diff: Diff) -> str:
    """Say how many customers see something else, where it starts, and what it does to value and repetition."""
    n = len(diff.customers)
    if not n:
        return f"All {diff.n_customers:,} customers see the same."
    top = diff.layers.sort_values(["n_customers", "layer"], ascending=[False, True]).iloc[0]
    value = diff.measures.set_index("measure").loc["predicted value"]
    moved = (value["after"] / value["before"] - 1) if value["before"] else np.nan
    return (f"{n:,} of {diff.n_customers:,} customers see something else ({percent(n / max(diff.n_customers, 1))}), "
            f"{int(top['n_customers']):,} of them first because of {top['layer']}; predicted value goes from "
            f"{number(value['before'])} to {number(value['after'])} ({'+' if moved >= 0 else ''}{percent(moved)}).")


def _rows(case: Case, plan: Plan) -> dict[str, np.ndarray]:
    """What each layer hands on, as numbers: the key of a pair, for an order or a slate with the rank or slot behind it."""
    key, offered, shown = case.key, plan.is_ranked & ~plan.is_added, plan.position > 0
    return {"candidates": key[offered] * WIDTH, "ranking": (key * WIDTH + plan.rank)[offered],
            "filters": key[plan.is_ranked & (plan.first < 0)] * WIDTH, LAYERS[-1]: (key * WIDTH + plan.position)[shown],
            "shown": key[shown]}


def _parted(old: np.ndarray, new: np.ndarray, n_customers: int, n_items: int) -> np.ndarray:
    """Mark the customers for whom the two are not the same set of rows."""
    odd = np.setxor1d(old, new, assume_unique=True) // WIDTH // n_items
    return np.bincount(odd, minlength=n_customers) > 0


def _value(case: Case, plan: Plan, n: int) -> np.ndarray:
    shown = plan.position > 0
    return np.bincount(case.pairs.customer[shown], weights=plan.money[shown], minlength=n)


def _measures(before: tuple[Case, Plan], after: tuple[Case, Plan]) -> pd.DataFrame:
    old, new = _measured(*before), _measured(*after)
    return pd.DataFrame([{"measure": name, "before": old[name], "after": new[name], "change": round(new[name] - old[name], 6)}
                         for name in old if name in new])


def _measured(case: Case, plan: Plan) -> dict[str, float]:
    shown = plan.position > 0
    item, p = case.pairs.item[shown], plan.p_response[shown]
    counts = np.sort(np.bincount(item, minlength=len(case.world.items)))
    n = len(counts)
    made = {"predicted value": plan.money[shown].sum(), "expected responses": p.sum(), "slots filled": float(shown.sum()),
            "customers with a slate": float(n_distinct(case.pairs.customer[shown]))}
    if not (fields_of.fault(case.world, "margin_rate") or fields_of.fault(case.world, "price")):
        price = case.world.items["price"].fillna(0.0).to_numpy("float64")[item] * p
        rate = fields_of.level(case.world, "margin_rate")[0].fillna(0.0).to_numpy("float64")[item]
        made["margin rate of expected sales (%)"] = 100 * (price * rate).sum() / price.sum() if price.sum() else 0.0
    if not fields_of.fault(case.world, "stock_on_hand"):
        stock = fields_of.level(case.world, "stock_on_hand")[0].fillna(0).to_numpy("float64")[item]
        made["slots on items with under 10 in stock (%)"] = 100 * float((stock < 10).mean()) if len(stock) else 0.0
    made["different items shown"] = float((counts > 0).sum())
    made["exposure Gini"] = float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * counts.sum())) if counts.sum() else 0.0
    for name, measure in (("n_seen_7d", "slots seen this week (%)"), ("n_bought_28d", "slots bought in 28 days (%)")):
        if not fields_of.fault(case.world, name):
            made[measure] = 100 * float((case.pairs.column(name)[shown] > 0).mean()) if shown.any() else 0.0
    return {name: round(float(value), 6) for name, value in made.items()}

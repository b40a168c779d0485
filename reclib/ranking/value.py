"""What a response is worth, and the policies that follow: `popular`, `relevance`, `value`.

The priority is money: p_response x value x lever. It is a sum of parts in the same money, to 1e-9: `part_base` (what an
average pair would bring), one part a group of features (what the customer's own history, taste, the other sources,
demand, price and the customer add), and `part_lever` (what the lever adds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.ranking.log import is_response, moment, response_type

POLICIES = ("popular", "relevance", "value")
POPULAR_DAYS = 28
PARTS = {
    "part_base": "everyone gets this", "part_pair": "own history with the item", "part_taste": "taste for its kind",
    "part_source": "what similar customers choose", "part_item": "demand for the item", "part_price": "its price",
    "part_customer": "how much the customer responds at all", "part_model": "the boosted model, not split further",
    "part_lever": "the commercial lever", "part_popular": "responses lately",
}


@dataclass(frozen=True)
class Worth:
    """Value of a response by item.

    Attributes:
        values: item_id -> value.
        basis: margin, price or response.
        sentences: what the page says about it.
    """

    values: pd.Series
    basis: str
    sentences: tuple[str, ...]


def worth(items: pd.DataFrame, *, currency: str | None = None) -> Worth:
    """Value a response: the margin where costs are known, else the price, else one.

    An item without a cost beside others that have one gets their median margin rate; an item without a price the
    median value. Both are counted in a sentence. Margins may be negative: such items lose money with each response.
    """
    index = pd.Index(items["item_id"])
    price = _numbers(items, "price")
    cost = _numbers(items, "unit_cost")
    unit = f" in {currency}" if currency else ""
    if not (price > 0).any():
        return Worth(pd.Series(1.0, index=index), "response",
                     ("No prices are known: every response is worth 1, so that value and relevance rank alike.",))
    if not (np.isfinite(cost) & (price > 0)).any():
        filled, said = _filled(price, np.isfinite(price), "price")
        return Worth(pd.Series(filled, index=index), "price",
                     (f"No unit costs are known: a response is worth the price{unit}, not the margin.", *said))
    known = np.isfinite(cost) & (price > 0)
    rate = float(np.median(1 - cost[known] / price[known]))
    margin = np.where(known, price - cost, price * rate)
    filled, said = _filled(margin, np.isfinite(margin), "price")
    n_assumed, n_loss = int((~known & np.isfinite(price)).sum()), int((filled < 0).sum())
    sentences = [f"A response is worth the margin{unit}: price less unit cost.", *said]
    if n_assumed:
        sentences.append(f"{n_assumed:,} of {len(items):,} items have no unit cost; they get the median margin rate of "
                         f"{100 * rate:.0f} %.")
    if n_loss:
        sentences.append(f"{n_loss:,} of {len(items):,} items lose money with each response; they rank last by value.")
    return Worth(pd.Series(np.round(filled, 6), index=index), "margin", tuple(sentences))


def _numbers(items: pd.DataFrame, name: str) -> np.ndarray:
    if name not in items.columns:
        return np.full(len(items), np.nan)
    return items[name].to_numpy(dtype="float64", na_value=np.nan)


def _filled(values: np.ndarray, there: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    if there.all():
        return values, []
    middle = float(np.median(values[there]))
    n = int((~there).sum())
    return np.where(there, values, middle), [
        f"{n:,} of {len(values):,} items have no {name}; a response to them counts as the median of {middle:.2f}."]


def popularity(events: pd.DataFrame, *, as_of: str | pd.Timestamp, response: str | None = None,
               days: int = POPULAR_DAYS) -> pd.Series:
    """Responses to each item in the last days up to `as_of`: what the control policy sorts by."""
    end = moment(as_of)
    recent = events[((events["occurred_at"] <= end)
                     & (events["occurred_at"] > end - pd.Timedelta(days=days))).to_numpy()]
    answered = recent[is_response(recent, response or response_type(events))]
    return answered.groupby("item_id").size().astype("float64")


def rank(predicted: pd.DataFrame, values: pd.Series, popular: pd.Series, *, levers: pd.Series | None = None,
         policies: tuple[str, ...] = POLICIES, is_learned: bool = True) -> pd.DataFrame:
    """Order every customer's candidates under each policy.

    Args:
        predicted: output of `models.predict`.
        values: item_id -> value of a response.
        popular: item_id -> responses lately.
        levers: item_id -> commercial factor, at least 0; 1 where an item is not named.
        policies: which to rank; `popular` sorts by `popular`, `relevance` by p_response, `value` by
            p_response x value x lever.
        is_learned: whether p_response tells pairs apart; if not, `relevance` and `value` break its ties by popularity.

    Returns:
        Table `ranked`. The priority is rounded to a millionth; ties go by the raw score, then by `item_id`.
    """
    unknown = sorted(set(policies) - set(POLICIES))
    if unknown:
        raise ValueError(f"unknown policies {unknown}; known policies: {list(POLICIES)}.")
    value = _looked_up(predicted, values, float(values.median()) if len(values) else 1.0)
    count = _looked_up(predicted, popular, 0.0)
    lever = np.ones(len(predicted)) if levers is None else _looked_up(predicted, levers, 1.0)
    if not (np.isfinite(lever) & (lever >= 0)).all():
        raise ValueError(f"levers: {lever[~(np.isfinite(lever) & (lever >= 0))][0]}, must be at least 0 and finite.")
    tie = predicted["raw"].to_numpy() if is_learned else count
    tables = [_policy(name, predicted, value, count, lever, tie) for name in policies]
    ranked = pd.concat(tables, ignore_index=True)
    parts = [name for name in PARTS if name in ranked.columns]
    return ranked.assign(**{name: ranked[name].fillna(0.0) for name in parts})


def _looked_up(predicted: pd.DataFrame, series: pd.Series, default: float) -> np.ndarray:
    codes, uniques = pd.factorize(predicted["item_id"])
    return series.reindex(uniques).fillna(default).to_numpy(dtype="float64")[codes]


def _policy(name: str, predicted: pd.DataFrame, value: np.ndarray, count: np.ndarray, lever: np.ndarray,
            tie: np.ndarray) -> pd.DataFrame:
    p = predicted["p_response"].to_numpy()
    shares = [column for column in predicted.columns if column.startswith("part_")]
    if name == "popular":
        priority, parts, tie = count, {"part_popular": count}, np.zeros(len(count))
    elif name == "relevance":
        priority, parts = p, {column: predicted[column].to_numpy() for column in shares}
    else:
        priority = np.round(p * value * lever, 6)
        parts = {column: predicted[column].to_numpy() * value for column in shares}
        parts["part_lever"] = p * value * (lever - 1)
        parts["part_base"] = parts["part_base"] + (priority - sum(parts.values(), np.zeros(len(p))))
    table = pd.DataFrame({
        "policy": name, "customer_id": predicted["customer_id"], "item_id": predicted["item_id"], "p_response": p,
        "value": value, "priority": priority, "is_new": predicted["is_new"], **parts})
    table["policy"] = table["policy"].astype("str")
    customer = pd.factorize(predicted["customer_id"], sort=True)[0]
    item = pd.factorize(predicted["item_id"], sort=True)[0]
    order = np.lexsort((item, -tie, -priority, customer))
    ordered = table.iloc[order].reset_index(drop=True)
    starts = np.concatenate([[True], np.diff(customer[order]) != 0]) if len(order) else np.zeros(0, bool)
    first = np.flatnonzero(starts)
    within = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    return ordered.assign(rank=within + 1)


def money_sentence(ranked: pd.DataFrame, basis: str, currency: str | None) -> str:
    """Show the arithmetic of the best-placed pair by value: probability x value x lever = priority."""
    best = ranked[(ranked["policy"] == "value").to_numpy()].nlargest(1, "priority")
    if not len(best):
        return "No pair is ranked by value."
    row = best.iloc[0]
    money = row["p_response"] * row["value"]
    lever = row["priority"] / money if money else 1.0
    unit = f" {currency}" if currency and basis != "response" else ""
    return (f"The highest priority: customer {row['customer_id']}, item {row['item_id']}, {100 * row['p_response']:.1f} % "
            f"x {row['value']:.2f}{unit} ({basis}) x {lever:.2f} (lever) = {row['priority']:.3f}{unit} expected.")


def parts_table(ranked: pd.DataFrame, *, policy: str = "value", top: int = 10) -> pd.DataFrame:
    """Mean of each part of the priority over the first `top` places, and of the same over all candidates."""
    rows = ranked[(ranked["policy"] == policy).to_numpy()]
    first = rows[(rows["rank"] <= top).to_numpy()]
    found = [{"part": name, "meaning": about, "first_places": float(first[name].mean()),
              "all_candidates": float(rows[name].mean())}
             for name, about in PARTS.items() if name in rows.columns and rows[name].abs().max() > 1e-9]
    return pd.DataFrame(found, columns=["part", "meaning", "first_places", "all_candidates"])


def parts_sentence(table: pd.DataFrame) -> str:
    """Name the part that lifts the first places most above the average candidate."""
    rest = table[~table["part"].isin(["part_base"])]
    if not len(rest):
        return "The priority has one part only: nothing tells the candidates apart."
    lift = (rest["first_places"] - rest["all_candidates"]).to_numpy()
    row = rest.iloc[int(np.argmax(lift))]
    if lift.max() <= 0:
        return "No part lifts the first places above the average candidate."
    share = lift.max() / max(lift[lift > 0].sum(), 1e-12)
    return (f"What lifts the first places most is {row['meaning']}: {row['first_places']:+.4f} a place against "
            f"{row['all_candidates']:+.4f} over all candidates, {100 * share:.0f} % of what is added.")

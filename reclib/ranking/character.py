"""What lists are like beside being right: how novel, how varied, how much of them is known, how much is the fallback's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.ranking.evaluate import KEYS, N_DRAWS, STAGE_COLUMNS

MEASURES = ("novelty", "diversity", "repetition", "fallback")


def of_stages(ranked: dict[str, pd.DataFrame], history: pd.DataFrame, items: pd.DataFrame, *, k: int,
              own: pd.DataFrame | None = None, seed: int = 7) -> pd.DataFrame:
    """Measure the first k of each stage with bootstrap intervals over customers.

    Args:
        ranked: customer_id, item_id, rank by stage.
        history: `events` up to the moment of the lists, impressions among them or not.
        items: table `items`; without `category` there is no diversity.
        k: length of the list.
        own: pairs offered by a source that knows the customer; without it there is no fallback.

    Returns:
        Rows of `offline_metrics`: `novelty` (bits), `diversity`, `repetition` and `fallback` (shares; the last of
        places that no source filled that knows the customer).
    """
    first = {stage: table.loc[(table["rank"] <= k).to_numpy(), [*KEYS, "rank"]] for stage, table in ranked.items()}
    rows = []
    for metric, measure in _measures(first, history, items, own, k).items() if first else ():
        values = pd.DataFrame({stage: measure(table) for stage, table in first.items()})
        is_whole = values.notna().all()
        for part in ([name for name in values if is_whole[name]], *([name] for name in values if not is_whole[name])):
            means = metrics.mean_intervals(values[part].dropna(), rng=np.random.default_rng(seed), n_boot=N_DRAWS)
            rows.append(means.assign(metric=metric))
    found = pd.concat(rows).reset_index(names="stage").assign(k=k) if rows else pd.DataFrame(columns=STAGE_COLUMNS)
    return found[STAGE_COLUMNS].astype({"stage": "str", "metric": "str", "value": float})


def _measures(first: dict[str, pd.DataFrame], history: pd.DataFrame, items: pd.DataFrame, own: pd.DataFrame | None,
              k: int) -> dict[str, Callable[[pd.DataFrame], pd.Series]]:
    """What can be measured of a list, customer by customer, with what is known."""
    had = history.loc[(history["event_type"] != "impression").to_numpy(), KEYS].drop_duplicates()
    n_of, n_customers = had["item_id"].value_counts(), had["customer_id"].nunique()
    listed = pd.concat([table[KEYS] for table in first.values()]).drop_duplicates()
    had = had.merge(listed, on=KEYS, validate="one_to_one")
    found = {"novelty": partial(metrics.novelty_at_k, n_customers_of=n_of, n_customers=n_customers, k=k),
             "repetition": partial(metrics.repetition_at_k, had=had, k=k)}
    if "category" in items:
        found["diversity"] = partial(metrics.diversity_at_k, category_of=items.set_index("item_id")["category"], k=k)
    if own is not None:
        known = own[KEYS].drop_duplicates()
        found["fallback"] = lambda table: 1 - metrics.repetition_at_k(table, known, k=k)
    return {name: found[name] for name in MEASURES if name in found}


def wide(measured: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, one column a measure, shares in %, most repetition first."""
    table = measured.pivot(index="stage", columns="metric", values="value").rename_axis(columns=None).reset_index()
    columns = [name for name in MEASURES if name in table]
    table = table[["stage", *columns]].sort_values(["repetition", "stage"], ascending=[False, True], ignore_index=True)
    return table.assign(**{name: 100 * table[name] for name in columns if name != "novelty"})


def sentence(measured: pd.DataFrame, *, k: int) -> str:
    """Say how much of the ranked lists the customer had before, how varied they are, and who filled them, with intervals."""
    ranked = measured[(measured["stage"] == "ranked").to_numpy()].set_index("metric")
    if "repetition" not in ranked.index or not ranked.loc["repetition", "n_customers"]:
        return "The ranker listed nothing that could be described."
    share = {name: _percent(ranked.loc[name]) for name in MEASURES[1:]
             if name in ranked.index and pd.notna(ranked.loc[name, "value"])}
    said = f"Of the first {k} that the ranker lists, {share['repetition']} are items the customer had before"
    if "fallback" in share:
        said += f" and {share['fallback']} come from the fallback alone, from no source that knows the customer"
    if "diversity" not in share:
        return f"{said}; variety is not measured, for want of categories or of lists of two."
    return f"{said}; {share['diversity']} of their pairs differ in category."


def _percent(row: pd.Series) -> str:
    if row["high"] == 0:
        return "none"
    interval = f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" if pd.notna(row["low"]) else " (one customer, no interval)"
    return f"{100 * row['value']:.1f} %{interval}"

"""What lists are like beside being right: how novel, how varied, how much of them the customer knows, stage by stage."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.ranking.evaluate import N_DRAWS, STAGE_COLUMNS

MEASURES = ("novelty", "diversity", "repetition")


def of_stages(ranked: dict[str, pd.DataFrame], history: pd.DataFrame, items: pd.DataFrame, *, k: int,
              seed: int = 7) -> pd.DataFrame:
    """Measure the first k of each stage with bootstrap intervals over customers.

    Args:
        ranked: customer_id, item_id, rank by stage.
        history: `events` up to the moment of the lists, impressions among them or not.
        items: table `items`; without `category` there is no diversity.
        k: length of the list.

    Returns:
        Rows of `offline_metrics`: `novelty` (bits), `diversity` and `repetition` (shares).
    """
    had = history.loc[(history["event_type"] != "impression").to_numpy(), ["customer_id", "item_id"]].drop_duplicates()
    rows = []
    for stage, table in ranked.items():
        for metric, values in _per_customer(table, had, items, k=k).items():
            found = metrics.mean_interval(values, rng=np.random.default_rng(seed), n_boot=N_DRAWS)
            rows.append({"stage": stage, "metric": metric, "k": k} | found)
    return pd.DataFrame(rows, columns=STAGE_COLUMNS).astype({"stage": "str", "metric": "str"})


def _per_customer(table: pd.DataFrame, had: pd.DataFrame, items: pd.DataFrame, *, k: int) -> dict[str, pd.Series]:
    found = {"novelty": metrics.novelty_at_k(table, had["item_id"].value_counts(), n_customers=had["customer_id"].nunique(), k=k),
             "repetition": metrics.repetition_at_k(table, had, k=k)}
    if "category" in items:
        found["diversity"] = metrics.diversity_at_k(table, items.set_index("item_id")["category"], k=k)
    return {name: found[name] for name in MEASURES if name in found}


def wide(measured: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, one column a measure, most repetition first."""
    table = measured.pivot(index="stage", columns="metric", values="value").rename_axis(columns=None).reset_index()
    columns = ["stage", *(name for name in MEASURES if name in table)]
    return table[columns].sort_values(["repetition", "stage"], ascending=[False, True], ignore_index=True)


def sentence(measured: pd.DataFrame, *, k: int) -> str:
    """Say how much of the ranked lists the customer had before, and how varied they are, with intervals."""
    ranked = measured[(measured["stage"] == "ranked").to_numpy()].set_index("metric")
    if "repetition" not in ranked.index or not ranked.loc["repetition", "n_customers"]:
        return "The ranker listed nothing that could be described."
    share = {name: _percent(ranked.loc[name]) for name in ("repetition", "diversity")
             if name in ranked.index and pd.notna(ranked.loc[name, "value"])}
    said = f"Of the first {k} that the ranker lists, {share['repetition']} are items the customer had before"
    if "diversity" not in share:
        return f"{said}; variety is not measured, for want of categories or of lists of two."
    return f"{said}; {share['diversity']} of their pairs differ in category."


def _percent(row: pd.Series) -> str:
    interval = f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" if pd.notna(row["low"]) else " (one customer, no interval)"
    return f"{100 * row['value']:.1f} %{interval}"

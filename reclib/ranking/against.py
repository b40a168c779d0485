"""Hold probabilities against a truth that the caller opens; no truth is read here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

COLUMNS = ["pairs", "n_pairs", "rank_correlation", "within_customers"]


def truth_table(ranked: pd.DataFrame | None, source: Mapping, truth: Callable[[pd.DataFrame, dict], pd.DataFrame], *,
                most: int = 100_000) -> pd.DataFrame:
    """Rank correlation of `p_response` with the true probability, over all pairs and on each task.

    Args:
        ranked: table `ranked`, or None.
        source: facts of the source; without `params` there is no truth.
        truth: function from pairs and parameters to a table with `p_buy`.
        most: pairs that are looked at, customers in the order of their ids.

    Returns:
        pairs, n_pairs, rank_correlation (Spearman, over all pairs), within_customers (mean of each customer's own).
    """
    if ranked is None or not source.get("answers"):
        return pd.DataFrame(columns=COLUMNS)
    pairs = ranked[(ranked["policy"] == "relevance").to_numpy()].sort_values(["customer_id", "item_id"]).head(most)
    known = truth(pairs[["customer_id", "item_id"]], source["params"])
    both = pairs.merge(known, on=["customer_id", "item_id"], validate="one_to_one")
    rows = [_row("all", both), _row("bought before", both[~both["is_new"]]),
            _row("new to the customer", both[both["is_new"]])]
    return pd.DataFrame([row for row in rows if row], columns=COLUMNS)


def _row(name: str, both: pd.DataFrame) -> dict | None:
    if len(both) < 3:
        return None
    places = both.groupby("customer_id")[["p_response", "p_buy"]].rank()
    centred = places - places.groupby(both["customer_id"]).transform("mean")
    spread = (centred["p_response"].pow(2).groupby(both["customer_id"]).sum()
              * centred["p_buy"].pow(2).groupby(both["customer_id"]).sum())
    shared = (centred["p_response"] * centred["p_buy"]).groupby(both["customer_id"]).sum()
    return {"pairs": name, "n_pairs": len(both),
            "rank_correlation": both["p_response"].rank().corr(both["p_buy"].rank()),
            "within_customers": (shared[spread > 0] / spread[spread > 0] ** 0.5).mean()}


def truth_sentence(table: pd.DataFrame) -> str:
    """Say how well the order of the probabilities agrees with the truth, and that the truth was opened for it."""
    if not len(table):
        return "The run has no source whose truth is known, so that the ranker cannot be held against it."
    row = table.iloc[0]
    return (f"Opening the truth of the shop: over {row['n_pairs']:,} pairs p_response orders like the true probability with "
            f"rank correlation {row['rank_correlation']:.2f}, and {row['within_customers']:.2f} within a customer.")

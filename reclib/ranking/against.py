"""Hold probabilities and their parts against a truth that the caller opens; no truth is read here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

COLUMNS = ["pairs", "n_pairs", "rank_correlation", "within_customers"]
COUNTERPARTS = {
    "part_pair": ("habit", "fatigue"), "part_taste": ("category",), "part_source": ("taste",), "part_item": ("appeal", "season"),
    "part_price": ("price", "promotion"), "part_customer": ("visit_rate",),
}
PART_COLUMNS = ["part", "in_truth", "bought_before", "new", "closest"]


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
    return agreement_table(pairs, truth(pairs[["customer_id", "item_id"]], source["params"]))


def agreement_table(scored: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """`truth_table` of pairs whose truth is at hand: `scored` has p_response and is_new, `true` has p_buy."""
    both = scored.merge(true, on=["customer_id", "item_id"], validate="one_to_one")
    rows = {"all": both, "bought before": both[~both["is_new"]], "new to the customer": both[both["is_new"]]}
    return pd.DataFrame([{"pairs": name, "n_pairs": len(part)} | _agreement(part) for name, part in rows.items() if len(part) >= 3],
                        columns=COLUMNS)


def parts_table(scored: pd.DataFrame, true: pd.DataFrame, *, labels: Mapping[str, str]) -> pd.DataFrame:
    """Rank correlation of each part of `p_response` with the part of the true utility that it should stand for.

    The parts tell how a pair differs from an average pair of its task, so that the tasks are looked at apart.

    Args:
        scored: customer_id, item_id, is_new and `part_*`.
        true: customer_id, item_id and the true parts, by the names of `COUNTERPARTS`.
        labels: words for the parts.

    Returns:
        part, in_truth, bought_before and new (Spearman over the pairs of either task), and `closest`, the true part that
        the learnt one follows best over the pairs that are new, whatever its sign.
    """
    if true.empty:
        return pd.DataFrame(columns=PART_COLUMNS)
    both = scored.merge(true, on=["customer_id", "item_id"], validate="one_to_one")
    names = sorted({name for each in COUNTERPARTS.values() for name in each if name in both})
    tasks = {"bought_before": both[~both["is_new"].to_numpy(bool)], "new": both[both["is_new"].to_numpy(bool)]}
    places, rows = tasks["new"][names].rank(), []
    for part, meant in COUNTERPARTS.items():
        if part in both and set(meant) <= set(names):
            follows = places.corrwith(tasks["new"][part].rank()).abs().dropna()
            rows.append({"part": labels[part], "in_truth": " and ".join(meant).replace("_", " "),
                         **{name: pairs[part].rank().corr(pairs[list(meant)].sum(axis=1).rank()) for name, pairs in tasks.items()},
                         "closest": follows.idxmax().replace("_", " ") if len(follows) else ""})
    return pd.DataFrame(rows, columns=PART_COLUMNS)


def _agreement(both: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation over all pairs, and the mean of each customer's own."""
    owner = both["customer_id"]
    places = both.groupby("customer_id")[["p_response", "p_buy"]].rank()
    centred = places - places.groupby(owner).transform("mean")
    spread = centred["p_response"].pow(2).groupby(owner).sum() * centred["p_buy"].pow(2).groupby(owner).sum()
    shared = (centred["p_response"] * centred["p_buy"]).groupby(owner).sum()
    return {"rank_correlation": both["p_response"].rank().corr(both["p_buy"].rank()),
            "within_customers": (shared[spread > 0] / spread[spread > 0] ** 0.5).mean()}


def truth_sentence(table: pd.DataFrame) -> str:
    """Say how well the order of the probabilities agrees with the truth, and that the truth was opened for it."""
    if not len(table):
        return "The run has no source whose truth is known, so that the ranker cannot be held against it."
    row = table.iloc[0]
    return (f"Opening the truth of the shop: over {row['n_pairs']:,} pairs p_response orders like the true probability with "
            f"rank correlation {row['rank_correlation']:.2f}, and {row['within_customers']:.2f} within a customer.")


def parts_sentence(table: pd.DataFrame) -> str:
    """Say which learnt parts follow their true counterpart on pairs that are new, and which follow something else."""
    known = table.dropna(subset=["new"])
    if known.empty:
        return "Nor can the parts of the priority."
    best = known.loc[known["new"].idxmax()]
    said = (f"On pairs that are new, the part that follows the truth best is '{best['part']}', with {best['in_truth']}: rank correlation "
            f"{best['new']:.2f}.")
    other = [f"'{row.part}' follows {row.closest} rather than {row.in_truth} ({row.new:.2f})" for row in known.itertuples()
             if row.closest not in row.in_truth]
    return f"{said} But {'; '.join(other)}." if other else f"{said} Every part follows what it should stand for more than anything else."

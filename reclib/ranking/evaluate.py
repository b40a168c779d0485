"""How good each stage ranks, offline: sources, merged, ranked; both tasks apart; intervals over customers.

All figures are per customer first: NDCG (gain 1, discount 1/log2(rank + 1), ideal of min(relevant, k)), recall
(hits / relevant). Customers without a relevant item are skipped; those without a single offer count as zero.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

N_DRAWS = 400
ALL, AGAIN, NEW = "all", "again", "new"
RRF = 60.0
STAGE_COLUMNS = ["stage", "metric", "k", "value", "low", "high", "n_customers"]


def lists(candidates: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split candidates into one ranked list a source, and `merged` by reciprocal ranks (1 / (60 + rank) summed)."""
    found = {str(name): rows[["customer_id", "item_id", "source_rank"]].rename(columns={"source_rank": "rank"})
             for name, rows in candidates.groupby("source", sort=True, observed=True)}
    votes = candidates.assign(votes=np.rint(1e9 / (RRF + candidates["source_rank"])).astype(np.int64))
    merged = votes.groupby(["customer_id", "item_id"], as_index=False, sort=True)["votes"].sum()
    return found | {"merged": renumber(merged.assign(order=-merged["votes"]), by="order")}


def renumber(pairs: pd.DataFrame, *, by: str = "rank") -> pd.DataFrame:
    """Number each customer's items from 1 by a column, ties by `item_id`."""
    ordered = pairs.sort_values(["customer_id", by, "item_id"], ignore_index=True)
    return ordered[["customer_id", "item_id"]].assign(rank=ordered.groupby("customer_id").cumcount() + 1)


def only(ranked: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Keep the items of a list that are among `pairs`, and number them anew."""
    return renumber(ranked.merge(pairs[["customer_id", "item_id"]], on=["customer_id", "item_id"], validate="many_to_one"))


def per_customer(ranked: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """NDCG and recall at `k` of each customer with a relevant item, by customer.

    On one list with hits at ranks 1 and 4 of two relevant items and k = 5, NDCG is
    (1 + 1/log2(5)) / (1 + 1/log2(3)) = 0.877 and recall is 1.
    """
    n_relevant = relevant.groupby("customer_id").size()
    hits = ranked[(ranked["rank"] <= k).to_numpy()].merge(
        relevant[["customer_id", "item_id"]], on=["customer_id", "item_id"], validate="many_to_one")
    gain = (1 / np.log2(hits["rank"] + 1)).groupby(hits["customer_id"]).sum().reindex(n_relevant.index).fillna(0.0)
    n_hits = hits.groupby("customer_id").size().reindex(n_relevant.index).fillna(0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(n_relevant.to_numpy(), k) - 1] if k else 1.0
    return pd.DataFrame({"ndcg": (gain / ideal).round(9), "recall": (n_hits / n_relevant).round(9)})


@lru_cache(maxsize=8)
def _draws(n: int, seed: int) -> np.ndarray:
    """How often each of `n` customers is drawn in each bootstrap sample, as shares."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_DRAWS).astype("float32") / n


def mean_interval(values: np.ndarray, *, seed: int = 7) -> tuple[float, float, float]:
    """Mean over customers with its 95 % bootstrap interval; missing below two customers."""
    if not len(values):
        return np.nan, np.nan, np.nan
    if len(values) < 2:
        return float(values.mean()), np.nan, np.nan
    means = np.round(_draws(len(values), seed) @ values, 9)
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def stages(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, *, k: int, tasks: pd.DataFrame | None = None,
           n_items: int | None = None, seed: int = 7) -> pd.DataFrame:
    """Measure every stage on all responses, and on what is bought again and what is new apart.

    Args:
        ranked: stage -> customer_id, item_id, rank.
        relevant: customer_id, item_id, is_new.
        k: length of the list.
        tasks: customer_id, item_id, is_new of every candidate; with it, lists of each task are cut from the stage's.
        n_items: size of the eligible catalogue, for coverage.

    Returns:
        Rows of `offline_metrics`; metrics `ndcg`, `recall`, `ndcg_again`, `ndcg_new`, ... and `coverage`.
    """
    rows = []
    for stage, table in ranked.items():
        for task in (ALL, AGAIN, NEW):
            is_wanted = np.ones(len(relevant), bool) if task == ALL else relevant["is_new"].to_numpy() == (task == NEW)
            if task != ALL and (tasks is None or not is_wanted.any() or is_wanted.all()):
                continue
            pool = table if task == ALL else only(table, tasks[tasks["is_new"].to_numpy() == (task == NEW)])
            found = per_customer(pool, relevant[is_wanted], k=k)
            for metric in found.columns:
                mean = mean_interval(found[metric].to_numpy(), seed=seed)
                name = metric if task == ALL else f"{metric}_{task}"
                rows.append((stage, name, k, *mean, len(found)))
        if n_items:
            top = table[(table["rank"] <= k).to_numpy()]
            rows.append((stage, "coverage", k, top["item_id"].nunique() / n_items, np.nan, np.nan, top["customer_id"].nunique()))
    return pd.DataFrame(rows, columns=STAGE_COLUMNS).astype({"stage": "str", "metric": "str"})


def wide(metrics: pd.DataFrame, *, sort_by: str = "ndcg") -> pd.DataFrame:
    """One row a stage, one column a metric, best first by one of them."""
    table = metrics.pivot(index="stage", columns="metric", values="value").reset_index()
    names = ["stage"] + [name for name in metrics["metric"].unique()]
    return table[names].sort_values([sort_by, "stage"], ascending=[False, True], ignore_index=True)


def difference(one: pd.DataFrame, other: pd.DataFrame, relevant: pd.DataFrame, *, k: int, metric: str = "ndcg",
               seed: int = 7) -> tuple[float, float, float]:
    """Mean difference of two stages over the same customers, with its bootstrap interval."""
    left, right = (per_customer(table, relevant, k=k)[metric] for table in (one, other))
    return mean_interval((left - right).to_numpy(), seed=seed)


def best_source(metrics: pd.DataFrame, metric: str = "ndcg") -> str | None:
    """Name of the single source with the highest value of a metric."""
    rows = metrics[(metrics["metric"] == metric) & ~metrics["stage"].isin(["merged", "ranked", "final"])]
    return None if not len(rows) else str(rows.sort_values(["value", "stage"], ascending=[False, True])["stage"].iloc[0])


def comparison_sentence(one: str, other: str, difference: tuple[float, float, float], *, metric: str) -> str:
    """Say which of two stages ranks better, or that the interval spans zero."""
    mean, low, high = difference
    if np.isnan(mean) or np.isnan(low):
        return f"{one} and {other} cannot be compared by {metric}: fewer than two customers have a response to judge by."
    figures = f"difference in {metric} {mean:+.4f} [{low:+.4f}, {high:+.4f}]"
    if low <= 0 <= high:
        return f"{one} and {other} cannot be told apart: {figures} spans zero."
    return f"{one} ranks {'better' if mean > 0 else 'worse'} than {other}: {figures}."


def task_sentences(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, metrics: pd.DataFrame, tasks: pd.DataFrame,
                   *, k: int, seed: int = 7) -> list[str]:
    """Compare `ranked` with the best single source, on all responses and on each task."""
    said = []
    for task in (ALL, AGAIN, NEW):
        metric = "ndcg" if task == ALL else f"ndcg_{task}"
        best = best_source(metrics, metric)
        if best is None:
            continue
        one, other, wanted = ranked["ranked"], ranked[best], relevant
        if task != ALL:
            pool = tasks[tasks["is_new"].to_numpy() == (task == NEW)]
            one, other = only(one, pool), only(other, pool)
            wanted = relevant[relevant["is_new"].to_numpy() == (task == NEW)]
        about = {ALL: "All responses", AGAIN: "Bought again", NEW: "New to the customer"}[task]
        said.append(f"{about}: " + comparison_sentence(
            "ranked", best, difference(one, other, wanted, k=k, seed=seed), metric=f"NDCG@{k}"))
    return said


def split_pairs(events: pd.DataFrame, response: np.ndarray, *, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold out a random share of the pairs that responded, whatever their time.

    Returns:
        events without any row of the held-out pairs, and the pairs.
    """
    pairs = events.loc[response, ["customer_id", "item_id"]].drop_duplicates().sort_values(
        ["customer_id", "item_id"], ignore_index=True)
    held = pairs[np.random.default_rng(seed).random(len(pairs)) < share]
    marked = pd.MultiIndex.from_frame(events[["customer_id", "item_id"]]).isin(pd.MultiIndex.from_frame(held))
    return events[~marked], held.reset_index(drop=True)


def split_table(time: pd.DataFrame, random: pd.DataFrame, *, metric: str = "ndcg") -> pd.DataFrame:
    """Put the sources' figures under a time split and under a random split side by side, with their places."""
    left, right = (table[(table["metric"] == metric) & ~table["stage"].isin(["merged", "ranked"])][["stage", "value"]]
                   for table in (time, random))
    both = left.merge(right, on="stage", suffixes=("_time", "_random"), validate="one_to_one")
    both = both.assign(place_time=both["value_time"].rank(ascending=False, method="first").astype(int),
                       place_random=both["value_random"].rank(ascending=False, method="first").astype(int))
    return both.sort_values(["place_time"], ignore_index=True)


def split_sentence(table: pd.DataFrame) -> str:
    """Say whether the two splits crown the same source."""
    if len(table) < 2:
        return "Fewer than two sources can be compared on both splits."
    time, random = (table.sort_values(place)["stage"].iloc[0] for place in ("place_time", "place_random"))
    if time == random:
        return f"Both splits crown {time}; only the time split says what tomorrow looks like."
    return (f"The time split crowns {time}, a random split would crown {random}: a random split lets a source see what "
            f"came after, and tomorrow does not.")


def holdout_metrics(ranked: pd.DataFrame, holdout: pd.DataFrame | None, *, k: int,
                    policies: tuple[str, ...] = ("popular", "relevance", "value"), seed: int = 7) -> pd.DataFrame:
    """Measure the policies of `ranked` on pairs that were kept aside; empty where there are none.

    Args:
        ranked: table `ranked`.
        holdout: table `holdout` with `is_new`, or None.
        k: length of the list.

    Returns:
        Rows of `offline_metrics` of stage `ranked`; metrics are named `holdout_<policy>_ndcg` and so on.
    """
    if holdout is None or not len(holdout):
        return pd.DataFrame(columns=STAGE_COLUMNS)
    tasks = ranked.loc[(ranked["policy"] == policies[0]).to_numpy(), ["customer_id", "item_id", "is_new"]]
    tables = {name: ranked[(ranked["policy"] == name).to_numpy()] for name in policies}
    found = stages(tables, holdout, k=k, tasks=tasks, seed=seed)
    return found.assign(metric="holdout_" + found["stage"] + "_" + found["metric"], stage="ranked")


def holdout_sentence(found: pd.DataFrame) -> str:
    """Say how the policies do on the pairs kept aside."""
    rows = found[found["metric"].str.fullmatch(r"holdout_[a-z]+_ndcg")] if len(found) else found
    if not len(rows):
        return "The source names no pairs kept aside; the test window above is all that the ranking is judged on."
    figures = [f"{row.metric.split('_')[1]} {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in rows.itertuples()]
    return f"On the pairs kept aside, NDCG@{rows['k'].iloc[0]} by policy: {', '.join(figures)}."


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """Put rows of `offline_metrics` together; of a repeated (stage, metric, k), the first counts."""
    there = [table for table in tables if len(table)]
    if not there:
        return pd.DataFrame(columns=STAGE_COLUMNS)
    rows = pd.concat([table.reindex(columns=STAGE_COLUMNS) for table in there], ignore_index=True)
    return rows.drop_duplicates(["stage", "metric", "k"], ignore_index=True)

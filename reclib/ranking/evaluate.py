"""How good each stage ranks, offline: sources, merged, ranked; both tasks apart; intervals over customers.

Figures are per customer first and follow `metrics`: customers without a relevant item are skipped, those without a
single offer count as zero, and the variant of NDCG is in its name.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib import metrics

N_DRAWS = 400
NOT_SOURCES = ("merged", "ranked", "final")
ALL, AGAIN, NEW = "all", "again", "new"
RRF = 60.0
STAGE_COLUMNS = ["stage", "metric", "k", "value", "low", "high", "n_customers"]


def lists(candidates: pd.DataFrame, offers: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Split candidates into one ranked list a source, and `merged` by reciprocal ranks (1 / (60 + rank) summed).

    With `offers` (all rows of all sources, before the merge) the lists of the sources are whole.
    """
    rows = candidates if offers is None else offers
    found = {str(name): table[["customer_id", "item_id", "source_rank"]].rename(columns={"source_rank": "rank"})
             for name, table in rows.groupby("source", sort=True, observed=True)}
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


def per_customer(ranked: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> dict[str, pd.Series]:
    """NDCG and recall at `k` of each customer with a relevant item, by metric."""
    return {metrics.NDCG: metrics.ndcg_at_k(ranked, relevant, k=k).round(9),
            "recall": metrics.recall_at_k(ranked, relevant, k=k).round(9)}


def stages(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, *, k: int, tasks: pd.DataFrame | None = None,
           eligible: pd.Index | None = None, seed: int = 7) -> pd.DataFrame:
    """Measure every stage on all responses, and on what is bought again and what is new apart.

    Args:
        ranked: stage -> customer_id, item_id, rank.
        relevant: customer_id, item_id, is_new.
        k: length of the list.
        tasks: customer_id, item_id, is_new of every candidate; with it, lists of each task are cut from the stage's.
        eligible: items that could have been shown, for coverage and exposure.

    Returns:
        Rows of `offline_metrics`; metrics end in `_all`, `_again` or `_new`, but for `coverage` and `exposure_gini`.
    """
    rows = []
    for stage, table in ranked.items():
        for task in (ALL, AGAIN, NEW):
            pool, wanted = of_task(table, relevant, tasks, task)
            if task != ALL and (tasks is None or not 0 < len(wanted) < len(relevant)):
                continue
            for metric, values in per_customer(pool, wanted, k=k).items():
                mean = metrics.mean_interval(values, rng=np.random.default_rng(seed), n_boot=N_DRAWS)
                rows.append({"stage": stage, "metric": f"{metric}_{task}", "k": k} | mean)
        if eligible is not None:
            reach = {"low": np.nan, "high": np.nan, "n_customers": table["customer_id"].nunique()}
            for name, measure in (("coverage", metrics.coverage_at_k), ("exposure_gini", metrics.exposure_gini_at_k)):
                rows.append({"stage": stage, "metric": name, "k": k, "value": measure(table, eligible, k=k)} | reach)
    return pd.DataFrame(rows, columns=STAGE_COLUMNS).astype({"stage": "str", "metric": "str"})


def of_task(table: pd.DataFrame, relevant: pd.DataFrame, tasks: pd.DataFrame | None,
            task: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A list and the responses cut to one task: `again`, `new`, or `all` as they are."""
    if task == ALL or tasks is None:
        return table, relevant
    pool = tasks[tasks["is_new"].to_numpy() == (task == NEW)]
    return only(table, pool), relevant[relevant["is_new"].to_numpy() == (task == NEW)]


def wide(measured: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, one column a metric, best NDCG first."""
    named = measured.assign(metric=measured["metric"].str.replace(metrics.NDCG, "ndcg"))
    table = named.pivot(index="stage", columns="metric", values="value").reset_index()
    table = table[["stage", *named["metric"].unique()]].rename_axis(columns=None)
    return table.sort_values(["ndcg_all", "stage"], ascending=[False, True], ignore_index=True)


def difference(one: pd.DataFrame, other: pd.DataFrame, relevant: pd.DataFrame, *, k: int,
               seed: int = 7) -> tuple[float, float, float]:
    """Mean difference in NDCG of two stages over the same customers, with its bootstrap interval."""
    left, right = (metrics.ndcg_at_k(table, relevant, k=k) for table in (one, other))
    found = metrics.difference_interval(left, right, rng=np.random.default_rng(seed))
    return found["value"], found["low"], found["high"]


def best_source(measured: pd.DataFrame, task: str = ALL) -> str | None:
    """Name of the single source with the highest NDCG in a task."""
    rows = measured[(measured["metric"] == f"{metrics.NDCG}_{task}") & ~measured["stage"].isin(NOT_SOURCES)]
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


def task_sentences(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, measured: pd.DataFrame,
                   tasks: pd.DataFrame, *, k: int, seed: int = 7) -> list[str]:
    """Compare `ranked` with the best single source, on all responses and on each task."""
    said = []
    for task, about in ((ALL, "All responses"), (AGAIN, "Bought again"), (NEW, "New to the customer")):
        best = best_source(measured, task)
        if best is None:
            continue
        one, wanted = of_task(ranked["ranked"], relevant, tasks, task)
        other, _ = of_task(ranked[best], relevant, tasks, task)
        found = difference(one, other, wanted, k=k, seed=seed)
        said.append(f"{about}: " + comparison_sentence("ranked", best, found, metric=f"NDCG@{k}"))
    return said


def habit_sentence(measured: pd.DataFrame, *, k: int) -> str:
    """Say what a chain without `buy_again` would have been worth on all responses, where the source is there."""
    rows = measured[(measured["metric"] == f"{metrics.NDCG}_{ALL}")].set_index("stage")["value"]
    others = rows.drop(index=[*NOT_SOURCES, "buy_again"], errors="ignore")
    if "buy_again" not in rows.index or not len(others) or not others.max() > 0:
        return "No source offers what customers had before, so that all that is ranked is new to them."
    best = others.idxmax()
    if rows["buy_again"] <= others.max():
        return (f"What customers buy again is the smaller part: buy_again alone reaches NDCG@{k} {rows['buy_again']:.3f}, "
                f"{best} {others.max():.3f}.")
    return (f"Without buy_again the best source is {best}: NDCG@{k} {others.max():.3f} against {rows['buy_again']:.3f}, "
            f"{rows['buy_again'] / others.max():.1f} times less; a list of what the customer bought before, kept in a "
            f"spreadsheet, would have beaten it.")


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


def split_table(time: pd.DataFrame, random: pd.DataFrame) -> pd.DataFrame:
    """Put the sources' NDCG under a time split and under a random split side by side, with their places."""
    left, right = (table[(table["metric"] == f"{metrics.NDCG}_{ALL}") & ~table["stage"].isin(NOT_SOURCES)][["stage", "value"]]
                   for table in (time, random))
    both = left.merge(right, on="stage", suffixes=("_time", "_random"), validate="one_to_one").dropna()
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
        Rows of `offline_metrics` of stage `ranked`; metrics start with `holdout_<policy>_`.
    """
    if holdout is None or not len(holdout):
        return pd.DataFrame(columns=STAGE_COLUMNS)
    tasks = ranked.loc[(ranked["policy"] == policies[0]).to_numpy(), ["customer_id", "item_id", "is_new"]]
    tables = {name: ranked[(ranked["policy"] == name).to_numpy()] for name in policies}
    found = stages(tables, holdout, k=k, tasks=tasks, seed=seed)
    return found.assign(metric="holdout_" + found["stage"] + "_" + found["metric"], stage="ranked")


def holdout_sentence(found: pd.DataFrame) -> str:
    """Say how the policies do on the pairs kept aside."""
    rows = found[found["metric"].str.fullmatch(rf"holdout_[a-z]+_{metrics.NDCG}_{ALL}")] if len(found) else found
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


def contest_sentences(rankers: dict[str, pd.DataFrame], by_stage: dict[str, pd.DataFrame], relevant: pd.DataFrame,
                      measured: pd.DataFrame, tasks: pd.DataFrame, *, k: int, seed: int = 7) -> list[str]:
    """Compare each ranker with the best single source, on all responses and on each task."""
    sources = measured[~measured["stage"].isin(rankers)]
    said = []
    for name, table in rankers.items():
        for sentence in task_sentences(by_stage | {"ranked": table}, relevant, sources, tasks, k=k, seed=seed):
            said.append(sentence.replace("ranked", name, 1))
    return said

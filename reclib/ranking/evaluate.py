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
ALL, AGAIN, NEW, COLD = "all", "again", "new", "cold"
ABOUT = {ALL: "All responses", AGAIN: "Bought again", NEW: "New to the customer", COLD: "Without a history"}
STAGE_COLUMNS = ["stage", "metric", "k", "value", "low", "high", "n_customers"]
KEYS = ["customer_id", "item_id"]
MEASURES = {metrics.NDCG: metrics.ndcg_at_k, "recall": metrics.recall_at_k}
REACH = {"coverage": metrics.coverage_at_k, "exposure_gini": metrics.exposure_gini_at_k}


def lists(offers: pd.DataFrame, *, merged: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Split offers into one ranked list a source, and add the merged list where it is given.

    Args:
        offers: rows of all sources; those before the merge, where their lists are to be whole.
        merged: customer_id, item_id, rank as merged.
    """
    found = {str(name): table[[*KEYS, "source_rank"]].rename(columns={"source_rank": "rank"})
             for name, table in offers.groupby("source", sort=True, observed=True)}
    return found if merged is None else found | {"merged": merged[[*KEYS, "rank"]]}


def by_policy(ranked: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Lists of each policy of `ranked`, of the pairs that are among `pairs`, numbered anew."""
    kept = ranked[["policy", *KEYS, "rank"]].merge(pairs[KEYS].drop_duplicates(), on=KEYS, validate="many_to_one")
    kept = kept.sort_values(["policy", "customer_id", "rank"], ignore_index=True)
    kept = kept.assign(rank=kept.groupby(["policy", "customer_id"], observed=True).cumcount() + 1)
    return {str(policy): table[[*KEYS, "rank"]] for policy, table in kept.groupby("policy", observed=True)}


def scores(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, *, k: int, tasks: pd.DataFrame | None = None) -> pd.DataFrame:
    """NDCG and recall at `k` of every customer with something to be found, for every stage and task.

    Each (stage, customer) is one list, so that all stages are measured in one pass.

    Args:
        ranked: stage -> customer_id, item_id, rank.
        relevant: customer_id, item_id, and is_new where there are tasks.
        tasks: customer_id, item_id, is_new of every candidate; with it, lists of each task are cut from the stage's.

    Returns:
        task, stage, customer_id, and the measures.
    """
    if not ranked or not len(relevant):
        return pd.DataFrame(columns=["task", "stage", "customer_id", *MEASURES])
    who = pd.Index(relevant["customer_id"].unique()).sort_values()
    what = pd.Index(pd.unique(pd.concat([relevant["item_id"], *(table["item_id"] for table in ranked.values())])))
    known = None if tasks is None else _coded(tasks, who, what).sort_values("key")
    coded, wanted = [_told(_coded(table, who, what), known) for table in ranked.values()], _coded(relevant, who, what)
    found = []
    for task in (ALL, AGAIN, NEW):
        own = wanted if task == ALL or known is None else wanted[(wanted["is_new"] == (task == NEW)).to_numpy()]
        if task != ALL and (known is None or not 0 < len(own) < len(wanted)):
            continue
        firsts = [table if task == ALL else _of_task(table, task) for table in coded]
        firsts = [table[(table["rank"] <= k).to_numpy()] for table in firsts]
        found.append(_measured(firsts, own, list(ranked), who, k).assign(task=task))
    return pd.concat(found, ignore_index=True)


def _coded(pairs: pd.DataFrame, who: pd.Index, what: pd.Index) -> pd.DataFrame:
    """Pairs of the customers that are judged, as whole numbers: place of the customer, and one key a pair."""
    customer = who.get_indexer(pairs["customer_id"])
    own, customer = pairs[customer >= 0], customer[customer >= 0]
    item = what.get_indexer(own["item_id"])
    rest = {name: own[name].to_numpy() for name in ("rank", "is_new") if name in own}
    return pd.DataFrame({"customer": customer, "key": customer.astype(np.int64) * len(what) + item, **rest})[item >= 0]


def _told(table: pd.DataFrame, known: pd.DataFrame | None) -> pd.DataFrame:
    """A list with the task of each pair, `again` or `new`; "" where it is no candidate."""
    if known is None or known.empty:
        return table
    at = np.minimum(np.searchsorted(known["key"], table["key"]), len(known) - 1)
    names = np.where(known["is_new"].to_numpy()[at], NEW, AGAIN)
    return table.assign(task=np.where(known["key"].to_numpy()[at] == table["key"], names, ""))


def _of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows of a list that are of a task, numbered anew; ties by item."""
    kept = table[(table["task"] == task).to_numpy()] if "task" in table else table.head(0)
    kept = kept.iloc[np.lexsort((kept["key"], kept["rank"], kept["customer"]))]
    return kept.assign(rank=kept.groupby("customer").cumcount() + 1)


def _measured(firsts: list[pd.DataFrame], wanted: pd.DataFrame, names: list[str], who: pd.Index, k: int) -> pd.DataFrame:
    """One row a stage and customer; a list's owner is the place of its stage times the customers, plus the customer."""
    n = len(who)
    owned = pd.concat([pd.DataFrame({"customer_id": at * n + table["customer"], "item_id": table["key"], "rank": table["rank"]})
                       for at, table in enumerate(firsts)])
    every = pd.concat([pd.DataFrame({"customer_id": at * n + wanted["customer"], "item_id": wanted["key"]})
                       for at in range(len(names))])
    values = pd.DataFrame({name: measure(owned, every, k=k).round(9) for name, measure in MEASURES.items()}).reset_index(names="owner")
    return pd.DataFrame({"stage": np.array(names, dtype=object)[values["owner"] // n], "customer_id": who[values["owner"] % n],
                         **{name: values[name] for name in MEASURES}}).astype({"stage": "str"})


def by_customer(found: pd.DataFrame, *, task: str = ALL, metric: str = metrics.NDCG) -> pd.DataFrame:
    """One measure of `scores` in one task: a row a customer, a column a stage."""
    return found[(found["task"] == task).to_numpy()].pivot(index="customer_id", columns="stage", values=metric).astype(float)


def summary(found: pd.DataFrame, *, k: int, seed: int = 7) -> pd.DataFrame:
    """Means of `scores` over customers with bootstrap intervals, as rows of `offline_metrics`: `<metric>_<task>`."""
    rows = []
    for task in found["task"].unique():
        for metric in MEASURES:
            table = by_customer(found, task=task, metric=metric)
            means = metrics.mean_intervals(table, rng=np.random.default_rng(seed), n_boot=N_DRAWS)
            rows.append(means.reset_index(names="stage").assign(metric=f"{metric}_{task}", k=k))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=STAGE_COLUMNS)
    return table[STAGE_COLUMNS].astype({"stage": "str", "metric": "str"})


def reach(ranked: dict[str, pd.DataFrame], eligible: pd.Index, *, k: int) -> pd.DataFrame:
    """Coverage and exposure Gini of every stage, as rows of `offline_metrics`.

    Args:
        eligible: items that could have been shown.
    """
    rows = [{"stage": stage, "metric": name, "k": k, "value": measure(table, eligible, k=k), "n_customers": table["customer_id"].nunique()}
            for stage, table in ranked.items() for name, measure in REACH.items()]
    return pd.DataFrame(rows, columns=STAGE_COLUMNS).astype({"stage": "str", "metric": "str", "low": float, "high": float})


def stages(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, *, k: int, tasks: pd.DataFrame | None = None,
           seed: int = 7) -> pd.DataFrame:
    """The `summary` of `scores`: every stage on all responses, and with `tasks` on what is bought again and what is new apart."""
    return summary(scores(ranked, relevant, k=k, tasks=tasks), k=k, seed=seed)


def wide(measured: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, one column a metric, best NDCG first."""
    named = measured.assign(metric=measured["metric"].str.replace(metrics.NDCG, "ndcg"))
    table = named.pivot(index="stage", columns="metric", values="value").reset_index()
    table = table[["stage", *named["metric"].unique()]].rename_axis(columns=None)
    return table.sort_values(["ndcg_all", "stage"], ascending=[False, True], ignore_index=True)


def difference(found: pd.DataFrame, one: str, other: str, *, task: str = ALL, seed: int = 7) -> tuple[float, float, float]:
    """Mean difference in NDCG of two stages over the same customers of `scores`, with its bootstrap interval."""
    values = by_customer(found, task=task)
    gap = metrics.difference_interval(values[one], values[other], rng=np.random.default_rng(seed))
    return gap["value"], gap["low"], gap["high"]


def best_source(measured: pd.DataFrame, task: str = ALL) -> str | None:
    """Name of the single source with the highest NDCG of `summary` in a task."""
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


def task_sentences(found: pd.DataFrame, measured: pd.DataFrame, *, k: int, ranker: str = "ranked", seed: int = 7) -> list[str]:
    """Compare a ranked stage with the best single source, on all responses and on each task.

    Args:
        found: `scores`; measured: their `summary`, whose best source is the rival.
        ranker: name of the ranked stage.
    """
    said = []
    for task in found["task"].unique():
        best = best_source(measured, task)
        if best is not None:
            gap = difference(found, ranker, best, task=task, seed=seed)
            said.append(f"{ABOUT[task]}: " + comparison_sentence(ranker, best, gap, metric=f"NDCG@{k}"))
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


def holdout_metrics(ranked: pd.DataFrame, holdout: pd.DataFrame | None, *, k: int, seed: int = 7) -> pd.DataFrame:
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
    tables = {str(name): table for name, table in ranked.groupby("policy", observed=True)}
    tasks = ranked[["customer_id", "item_id", "is_new"]].drop_duplicates(["customer_id", "item_id"])
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
    found = scores(by_stage | rankers, relevant, k=k, tasks=tasks)
    sources = measured[~measured["stage"].isin(rankers)]
    return [sentence for name in rankers for sentence in task_sentences(found, sources, k=k, ranker=name, seed=seed)]

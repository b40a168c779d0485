"""The protocol by which films are usually ranked: four ways to keep ratings for judging, one way to judge them.

Positive is a rating of at least three quarters up the scale; everything rated before is masked; customers without a positive
are skipped; ratings of one second stand in the order of the log. Intervals are over customers, drawn with all their origins.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.candidates import als, evaluate, generate
from reclib.candidates.base import Source
from reclib.candidates.history import learn
from reclib.report import number

ORIGINS = (0.6, 0.7, 0.8, 0.9)
K, DEPTH, N_MERGED = 10, 20, 200
TIME, RANDOM = "80 % by time", "fold u1"


def last_of_each(events: pd.DataFrame, *, n: int = 5) -> evaluate.Split:
    """Keep each customer's last `n` ratings for judging."""
    ordered = events.sort_values(["customer_id", "occurred_at"], kind="stable")
    is_last = (ordered.groupby("customer_id").cumcount(ascending=False) < n).to_numpy()
    return evaluate.judge(ordered[~is_last], ordered[is_last], about=f"the last {n} ratings of each customer")


def by_time(events: pd.DataFrame, *, until: float, then: float = 1.0) -> evaluate.Split:
    """Learn from the first share of the log, judge on what follows up to another share of it."""
    ordered = events.sort_values("occurred_at", kind="stable")
    first, last = int(len(ordered) * until), int(len(ordered) * then)
    return evaluate.judge(ordered.iloc[:first], ordered.iloc[first:last], about=f"the ratings after the first {100 * until:.0f} %")


def offered(split: evaluate.Split, items: pd.DataFrame | None, *, n: int = N_MERGED, seed: int = 0) -> generate.Generated:
    """What the default sources, and ALS where it is installed, offer everybody who is judged, and their merge."""
    history = learn(split.learn, items, None, as_of=split.cut)
    sources: list[Source] = generate.default_sources(history, seed=seed) + ([als.Als(random_state=seed)] if als.is_installed() else [])
    judged = pd.DataFrame({"customer_id": np.union1d(split.learn["customer_id"].unique(), split.cold["customer_id"].unique())})
    return generate.generate(split.learn, items, judged, as_of=split.cut, n_candidates=n, seed=seed, sources=sources)


def values(found: generate.Generated, truth: pd.DataFrame, *, split: str, who: str = "warm", origin: float = 0.0) -> pd.DataFrame:
    """NDCG, recall at two depths and novelty of each source and of the merge, one row a customer.

    Returns:
        `split`, `who`, `origin`, `stage`, `metric`, `customer_id`, `value`.
    """
    listed = evaluate.lists(found.offers, found.candidates)
    listed = listed[listed["customer_id"].isin(truth["customer_id"])]
    history = found.history
    had = pd.Series(np.asarray(history.had().sum(axis=0)).ravel(), index=history.items)
    parts = []
    for stage, rows in listed.groupby("stage", sort=False):
        measured = {"ndcg": metrics.ndcg_at_k(rows, truth, k=K), "recall_20": metrics.recall_at_k(rows, truth, k=DEPTH),
                    "recall_200": metrics.recall_at_k(rows, truth, k=N_MERGED),
                    "novelty": metrics.novelty_at_k(rows, had, n_customers=len(history.customers), k=K)}
        parts += [series.rename("value").rename_axis("customer_id").reset_index().assign(stage=stage, metric=metric)
                  for metric, series in measured.items()]
    return pd.concat(parts, ignore_index=True).assign(split=split, who=who, origin=origin)


def protocol(events: pd.DataFrame, items: pd.DataFrame | None, given: tuple[pd.DataFrame, pd.DataFrame] | None, *,
             seed: int = 0) -> pd.DataFrame:
    """Judge every source and the merge on all splits: `values`, one below the other; warm and cold customers apart.

    Args:
        given: (learn, judge) of a fold that others have published figures for; None: it is left out.
    """
    splits = [("last five", 0.0, last_of_each(events)), (TIME, 0.0, by_time(events, until=0.8))]
    splits += [("four origins", origin, by_time(events, until=origin, then=origin + 0.1)) for origin in ORIGINS]
    if given is not None:
        splits.append((RANDOM, 0.0, evaluate.judge(*given, about="fold u1")))
    parts = []
    for name, origin, split in splits:
        found = offered(split, items, seed=seed)
        parts.append(values(found, split.truth, split=name, origin=origin))
        if len(split.cold):
            parts.append(values(found, split.cold, split=name, who="cold", origin=origin))
    return pd.concat(parts, ignore_index=True)


def summary(judged: pd.DataFrame, *, metric: str, who: str = "warm", rng: np.random.Generator) -> pd.DataFrame:
    """Mean of a metric with its interval clustered by customer: `split`, `stage`, `value`, `low`, `high`, `n_customers`."""
    rows = judged[(judged["metric"] == metric) & (judged["who"] == who)]
    found = [{"split": split, "stage": stage} | metrics.mean_interval(part["value"], clusters=part["customer_id"], rng=rng)
             for (split, stage), part in rows.groupby(["split", "stage"], sort=False)]
    return pd.DataFrame(found).sort_values(["split", "value", "stage"], ascending=[True, False, True], ignore_index=True)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """One row a stage, one column a split, with intervals in brackets."""
    cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in zip(table["value"], table["low"], table["high"])]
    return table.assign(cell=cells).pivot(index="stage", columns="split", values="cell").fillna("").reset_index().rename_axis(columns=None)


def winner_sentence(judged: pd.DataFrame, table: pd.DataFrame, *, split: str, rng: np.random.Generator) -> str:
    """Name the best single source of a split, and say whether it is better than the next or only ahead of it."""
    rows = table[(table["split"] == split) & (table["stage"] != "merged")]
    if len(rows) < 2:
        return f"On {split}, nobody can be judged."
    first, second = rows.iloc[0], rows.iloc[1]
    part = judged[(judged["split"] == split) & (judged["metric"] == "ndcg") & (judged["who"] == "warm")]
    by_stage = part.pivot(index=["customer_id", "origin"], columns="stage", values="value")
    gap = (by_stage[first["stage"]] - by_stage[second["stage"]]).reset_index(name="value")
    found = metrics.mean_interval(gap["value"], clusters=gap["customer_id"], rng=rng)
    verdict = "better than" if found["low"] > 0 else "not distinguishable from"
    return (f"On {split}, {first['stage']} is first with NDCG@{K} {number(first['value'])}, {verdict} {second['stage']} "
            f"({found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}], {found['n_customers']:,} customers).")


def recall_sentence(table: pd.DataFrame) -> str:
    """Say what share of the pairs to be found the merge holds, by split."""
    rows = table[table["stage"] == "merged"]
    return f"The merge of {N_MERGED} candidates a customer holds " + "; ".join(
        f"{100 * row.value:.0f} % [{100 * row.low:.0f} %, {100 * row.high:.0f} %] of it on {row.split}" for row in rows.itertuples()) + "."


def extra_sentence() -> str:
    """Say whether ALS took part, and how to have it."""
    return "ALS takes part by implicit." if als.is_installed() else f"ALS does not take part: {als.HOW_TO_INSTALL}"

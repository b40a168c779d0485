"""Offline figures side by side: customers with and without a history, the chain with and without a source."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.ranking import evaluate
from reclib.ranking.evaluate import ALL, COLD, KEYS
from reclib.ranking.labels import Plan, responses
from reclib.ranking.training import known_at
from reclib.report import percent

HABIT = "buy_again"
WITHOUT = "without "


def _ndcg(measured: pd.DataFrame, task: str, name: str) -> pd.DataFrame:
    """NDCG of a task by stage, its columns called `name`, `name_low` and `name_high`."""
    rows = measured[(measured["metric"] == f"{metrics.NDCG}_{task}").to_numpy()].set_index("stage")
    return rows[["value", "low", "high"]].set_axis([name, f"{name}_low", f"{name}_high"], axis=1)


def strangers(events: pd.DataFrame, customers: pd.DataFrame | None, plan: Plan) -> pd.DataFrame:
    """Customers who respond in the last label window though nothing was known of them before it, as `known_at` gives others."""
    known, all_of = (known_at(customers, events, as_of=at) for at in (plan.cuts[-1], plan.as_of))
    new = all_of[all_of["customer_id"].isin(responses(events, plan, cut=plan.cuts[-1])["customer_id"])]
    return new[~new["customer_id"].isin(known["customer_id"])].reset_index(drop=True)


def cold_scores(ranked: dict[str, pd.DataFrame], relevant: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """`scores` of customers without a history, of the stages that list anything for them, as the task `cold`."""
    there = {name: table for name, table in ranked.items() if table["customer_id"].isin(relevant["customer_id"]).any()}
    return evaluate.scores(there, relevant, k=k).assign(task=COLD)


def warm_and_cold(measured: pd.DataFrame) -> pd.DataFrame:
    """NDCG with and without a history side by side, stages that serve strangers only.

    Returns:
        stage, known, known_low, known_high, unknown, unknown_low, unknown_high; best for strangers first.
    """
    both = _ndcg(measured, COLD, "unknown").join(_ndcg(measured, ALL, "known")).reset_index()
    order = ["stage", "known", "known_low", "known_high", "unknown", "unknown_low", "unknown_high"]
    return both[order].sort_values(["unknown", "stage"], ascending=[False, True], ignore_index=True)


def cold_sentence(cold: pd.DataFrame, is_fallback: pd.Series, *, k: int, seed: int = 7) -> str:
    """Say how many customers the fallback serves tonight, and whether the ranker does as well for strangers as its best source.

    Args:
        cold: `cold_scores`.
        is_fallback: by customer, whether no source that knows them offered anything tonight.
    """
    who = f"{percent(float(is_fallback.mean()))} of {len(is_fallback):,} customers are" if is_fallback.any() else "nobody is"
    share = f"Tonight {who} served by the fallback alone, by sources that need not know them"
    if not (cold["stage"] == "ranked").any():
        return f"{share}; nobody without a history responded in the last window, so that nothing can be said on how well."
    means = evaluate.by_customer(cold, task=COLD).mean().round(9)
    n, best = cold["customer_id"].nunique(), means.drop(index=list(evaluate.NOT_SOURCES), errors="ignore")
    said = f"{share}. For the {n:,} who responded in the last window without a history, ranked reaches NDCG@{k} {means['ranked']:.3f}"
    if best.empty:
        return f"{said}."
    gap = evaluate.difference(cold, "ranked", str(best.idxmax()), task=COLD, seed=seed)
    return f"{said}; {evaluate.comparison_sentence('ranked', str(best.idxmax()), gap, metric=f'NDCG@{k}')}"


def without(ranked: pd.DataFrame, candidates: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The ranked lists as they would be without each source: less the pairs that it alone offers.

    Args:
        ranked: customer_id, item_id, rank, in the order of customers and ranks.
        candidates: `candidates`.

    Returns:
        customer_id, item_id, rank by `without <source>`.
    """
    alone = candidates.loc[~candidates.duplicated(KEYS, keep=False).to_numpy(), [*KEYS, "source"]]
    marked = ranked[[*KEYS, "rank"]].merge(alone, on=KEYS, how="left", validate="one_to_one")
    found = {}
    for name in sorted(candidates["source"].astype("str").unique()):
        kept = marked[(marked["source"] != name).to_numpy()]
        found[f"{WITHOUT}{name}"] = kept.assign(rank=kept.groupby("customer_id").cumcount() + 1)[[*KEYS, "rank"]]
    return found


def without_table(found: pd.DataFrame, *, seed: int = 7) -> pd.DataFrame:
    """What the ranked list loses without each source.

    Args:
        found: `scores` with `ranked` and the stages of `without`.

    Returns:
        source, ndcg (without it), loss, loss_low, loss_high; the largest loss first.
    """
    values = evaluate.by_customer(found)
    names = [name for name in values if name.startswith(WITHOUT)]
    losses = metrics.mean_intervals(values[names].rsub(values["ranked"], axis=0), rng=np.random.default_rng(seed))
    losses = losses[["value", "low", "high"]].set_axis(["loss", "loss_low", "loss_high"], axis=1)
    table = losses.assign(ndcg=values[names].mean(), source=[name.removeprefix(WITHOUT) for name in names])
    table = table[["source", "ndcg", "loss", "loss_low", "loss_high"]]
    return table.sort_values(["loss", "source"], ascending=[False, True], ignore_index=True)


def without_sentence(found: pd.DataFrame, table: pd.DataFrame, *, k: int, seed: int = 7) -> str:
    """Say what a chain without `buy_again` would be worth against a spreadsheet, or which source is missed most.

    Args:
        found: `scores` with `ranked`, the sources and the stages of `without`.
        table: made by `without_table`.
    """
    clear = table[(table["loss_low"] > 0).to_numpy()]
    if HABIT not in table["source"].to_numpy() or not (found["stage"] == HABIT).any():
        if clear.empty:
            return "No source is missed: without any one of them the ranked list does as well, within noise."
        row = clear.iloc[0]
        return (f"The source that would be missed most is {row['source']}: without it ranked loses {row['loss']:.4f} "
                f"[{row['loss_low']:.4f}, {row['loss_high']:.4f}] of NDCG@{k}.")
    means = evaluate.by_customer(found).mean()
    sheet, chain = float(means[HABIT]), float(means[WITHOUT + HABIT])
    _, low, high = evaluate.difference(found, HABIT, WITHOUT + HABIT, seed=seed)
    figures = (f"NDCG@{k} {chain:.3f} against {sheet:.3f} of a spreadsheet that lists what each customer bought before, "
               f"difference {sheet - chain:+.4f} [{low:+.4f}, {high:+.4f}]")
    if low > 0:
        worse = f"{sheet / chain:.1f} times worse than" if chain > 0 else "worse than"
        return f"A chain without {HABIT} would have been {worse} a spreadsheet: {figures}."
    if high < 0:
        return f"Even without {HABIT} the chain would have been better than a spreadsheet: {figures}."
    return f"A chain without {HABIT} could not have been told apart from a spreadsheet: {figures}."

"""What the candidates notebook says and shows, computed from its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.candidates.evaluate import TASKS, Split, lists, per_customer, random_split
from reclib.candidates.factors import SurpriseFactors
from reclib.candidates.generate import (
    BIG_PAIRS,
    Generated,
    default_sources,
    eligible_items,
    fallback_customers,
)
from reclib.candidates.history import History, learn
from reclib.report import interval, number, percent

ON_RATINGS = "surprise_svd_on_grades"
PLAIN = "popular_lately"
CONTEST = (PLAIN, "ease", "item_neighbours")


def sources_sentence(generated: Generated) -> str:
    """Say which sources were chosen and why: kind of data, size, what Surprise learnt from."""
    history, sources = generated.history, generated.sources
    n_pairs = len(history.pairs)
    size = "few enough to learn from all of them" if n_pairs <= BIG_PAIRS else \
        "so many that EASE and the neighbours learn from the head of the catalogue and Surprise from a sample"
    kind = "customers come back to what they had, so buying again is a source of its own" if history.repeats_allowed else \
        "nothing is offered twice, so there is no source for buying again"
    learnt = sources.set_index("source")["learnt_from"]
    parts = [learnt[learnt.str.contains(word)] for word in ("items", "pairs")]
    said = [f"{part.index[0]} learnt from {part.iloc[0]}" for part in parts if len(part)]
    return "; ".join([f"{len(sources)} sources for {n_pairs:,} pairs with a {history.response}: {size}", kind, *said]) + "."


def best_sentence(measured: pd.DataFrame, *, task: str, n_candidates: int) -> str:
    """Name the source that finds most on a task, with its interval, and say whether the next one is clearly behind."""
    rows = measured[(measured["metric"] == f"recall_{task}") & (measured["k"] == n_candidates) & (measured["stage"] != "merged")]
    rows = rows.sort_values(["value", "stage"], ascending=[False, True])
    if rows.empty or rows["value"].isna().all():
        return f"Of what was {TASKS[task]}, nothing was held out, so no source can be judged on it."
    first = rows.iloc[0]
    text = (f"Of what was {TASKS[task]}, {first['stage']} finds most: recall {number(first['value'])} within {n_candidates} "
            f"{interval(first['low'], first['high'])} over {first['n_customers']:,} customers")
    if len(rows) < 2:
        return text + "."
    second = rows.iloc[1]
    is_clear = second["high"] < first["low"]
    return text + (f"; {second['stage']} follows with {number(second['value'])}, " +
                   ("clearly behind." if is_clear else "and the intervals overlap."))


def recall_table(measured: pd.DataFrame, *, task: str) -> pd.DataFrame:
    """Recall by source with its interval, best first, the merge among them."""
    rows = measured[measured["metric"] == f"recall_{task}"]
    return rows.sort_values(["value", "stage"], ascending=[False, True], ignore_index=True)[
        ["stage", "k", "value", "low", "high", "n_customers"]]


def stage_table(measured: pd.DataFrame) -> pd.DataFrame:
    """All metrics side by side, one row a stage."""
    named = measured.assign(column=measured["metric"].str.replace(metrics.NDCG, "ndcg") + "@" + measured["k"].astype(str))
    table = named.pivot_table(index="stage", columns="column", values="value", sort=False)
    return table.reset_index().rename_axis(columns=None)


def tasks_sentence(measured: pd.DataFrame, *, k: int) -> str:
    """Say how much a chain without the source for buying again would lose."""
    rows = measured[(measured["metric"] == f"{metrics.NDCG}_all") & (measured["k"] == k)].set_index("stage")["value"]
    if "buy_again" not in rows:
        return "Nothing is offered twice here, so there is one task only: what is new to the customer."
    others = rows.drop(["buy_again", "merged"], errors="ignore")
    return (f"Two tasks: on everything that customers took afterwards, buying again alone reaches NDCG@{k} {number(rows['buy_again'])}, "
            f"the best source of new items {number(others.max())} ({others.idxmax()}); on what is new to them, buying again finds nothing.")


def unique_sentence(hits: pd.DataFrame, truth: pd.DataFrame) -> str:
    """Say how much of what was found only one source found, and which sources add nothing of their own."""
    total = int(hits["n_unique_hits"].sum())
    if not hits["n_hits"].sum():
        return "No source found any of the held-out pairs."
    best = hits.sort_values(["n_unique_hits", "source"], ascending=[False, True]).iloc[0]
    idle = hits.loc[hits["n_unique_hits"] == 0, "source"].tolist()
    text = (f"{total:,} of {len(truth):,} held-out pairs were found by one source only; {best['source']} alone found "
            f"{best['n_unique_hits']:,}")
    return text + (f"; nothing would be lost without {', '.join(idle)}." if idle else "; every source found something no other did.")


def fallback_share(candidates: pd.DataFrame, sources: pd.DataFrame) -> float:
    """Share of the served customers whom no personal source knows."""
    served = fallback_customers(candidates, sources.loc[sources["is_personal"], "source"].tolist())
    return float(served.mean()) if len(served) else float("nan")


def fallback_sentence(candidates: pd.DataFrame, sources: pd.DataFrame, customers: pd.Index) -> str:
    """Say who is served by the fallback chain, and whether anybody is left with nothing."""
    share = fallback_share(candidates, sources)
    n_without = int((~customers.isin(candidates["customer_id"].unique())).sum())
    n_served = candidates["customer_id"].nunique()
    text = (f"{percent(share)} of {n_served:,} customers have no history to learn from and get the fallback chain: popular lately, and in "
            f"the categories of their segment where it is known, before what is new" if share > 0
            else f"All {n_served:,} customers have a history to learn from, so that nobody needs the fallback chain")
    return text + (f"; {n_without:,} customers get nothing." if n_without else "; nobody is left without candidates.")


def fallback_table(candidates: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """What the first place of warm and of cold customers rests on: share of customers by source of their best vote."""
    personal = sources.loc[sources["is_personal"], "source"].tolist()
    is_cold = fallback_customers(candidates, personal)
    counts = candidates.groupby(["customer_id", "source"]).size().rename("n").reset_index()
    counts = counts.assign(who=np.where(counts["customer_id"].map(is_cold), "no history", "known"))
    table = counts.groupby(["who", "source"], as_index=False).agg(n_customers=("customer_id", "size"), n_a_customer=("n", "mean"))
    return table.sort_values(["who", "n_customers", "source"], ascending=[True, False, True], ignore_index=True)


def cold_table(generated: Generated, split: Split, *, k: int, n_candidates: int, rng: np.random.Generator) -> pd.DataFrame:
    """What customers with and without a history get: recall and NDCG of the merge and of popular lately, with intervals.

    Returns:
        `who`, `stage`, `metric`, `k`, `value`, `low`, `high`, `n_customers`.
    """
    offers = generated.offers[(generated.offers["source"] == PLAIN).to_numpy()]
    listed, parts = lists(offers, generated.candidates), []
    for who, truth in (("with a history", split.truth), ("without a history", split.cold)):
        found = metrics.mean_intervals(per_customer(listed, truth, k=k, n_candidates=n_candidates), rng=rng)
        parts.append(found.rename_axis(["stage", "metric", "k"]).reset_index().assign(who=who))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(metric=table["metric"].replace(metrics.NDCG, "ndcg"))[["who", "stage", "metric", "k", "value", "low", "high", "n_customers"]]


def cold_sentence(table: pd.DataFrame) -> str:
    """Say whether strangers are served worse than the known, and whether the merge does more for them than popular lately."""
    recall = table[(table["metric"] == "recall") & (table["stage"] == "merged")].set_index("who")
    warm, cold = recall.loc["with a history"], recall.loc["without a history"]
    if cold["n_customers"] < 2 or warm["n_customers"] < 2:
        return f"{cold['n_customers']:,} customers without a history took something in the held-out days: too few to judge the fallback on."
    text = (f"Within {cold['k']} items the fallback holds {percent(cold['value'])} {_interval(cold)} of what {cold['n_customers']:,} strangers "
            f"took; customers with a history get {percent(warm['value'])} {_interval(warm)}")
    is_near = cold["low"] <= warm["high"] and warm["low"] <= cold["high"]
    text += ": the intervals overlap." if is_near else ", more than strangers." if warm["value"] > cold["value"] else ", less than strangers."
    first = table[(table["metric"] == "ndcg") & (table["who"] == "without a history")].set_index("stage")["value"]
    if PLAIN not in first:
        return text
    return text + f" At the top of their lists NDCG is {number(first['merged'])}, by popular lately alone {number(first[PLAIN])}."


def split_contest(events: pd.DataFrame, items: pd.DataFrame | None, *, before: Generated, by_time: Split, as_of: pd.Timestamp,
                  k: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Judge popular lately, EASE and item neighbours on what is new, by a split in time and by a random one.

    Args:
        before: what the sources offered before the cut of `by_time`; they learn again for the random split.

    Returns:
        NDCG at `k` by split (`time`, `random`): one row a customer, one column a source; none where nothing new was held out.
    """
    split = random_split(events, as_of=as_of, rng=rng)
    history = learn(split.learn, items, None, as_of=split.cut)
    eligible = eligible_items(history, items)
    sources = [source for source in default_sources(history) if source.name in CONTEST]
    at_random = pd.concat([source.fit(history).generate(history.customers, n=k, eligible=eligible) for source in sources])
    found = {}
    for name, offers, truth in (("time", before.offers, by_time.truth), ("random", at_random, split.truth)):
        listed = offers[offers["source"].isin(CONTEST)].rename(columns={"source": "stage", "source_rank": "rank"})
        values = per_customer(listed, truth[truth["is_new"]], k=k, n_candidates=k)
        own = values.loc[:, values.columns.get_level_values("metric") == metrics.NDCG]
        found[name] = own.droplevel(["metric", "k"], axis=1).sort_index(axis=1)
    return found


def split_table(contest: dict[str, pd.DataFrame], *, rng: np.random.Generator) -> pd.DataFrame:
    """Means of a `split_contest` with intervals: `source`, `by_time`, `time_low`, `time_high`, `at_random`, `random_low`, `random_high`."""
    parts = [metrics.mean_intervals(contest[name], rng=rng)[["value", "low", "high"]].set_axis([title, f"{name}_low", f"{name}_high"], axis=1)
             for name, title in (("time", "by_time"), ("random", "at_random"))]
    return parts[0].join(parts[1], how="outer").rename_axis("source").reset_index()


def split_sentence(contest: dict[str, pd.DataFrame], *, k: int, rng: np.random.Generator) -> str:
    """Say whether the two splits of a `split_contest` crown the same winner, and whether beyond noise."""
    time, random = (values.mean().dropna() for values in contest.values())
    if time.empty or random.empty:
        return "One of the two splits holds nothing that is new to a customer, so they cannot be compared."
    one, other = time.round(9).idxmax(), random.round(9).idxmax()
    text = f"By time, {one} is first (NDCG@{k} {number(time[one])})"
    if one == other:
        return text + f", and at random too ({number(random[one])}): here both splits crown the same source."
    leads = [metrics.difference_interval(contest[name][first], contest[name][second], rng=rng)
             for name, first, second in (("time", one, other), ("random", other, one))]
    told = [f"a lead of {lead['value']:.3f} {interval(lead['low'], lead['high'])}" for lead in leads]
    verdict = ("would have crowned another winner" if min(lead["low"] for lead in leads) > 0
               else "puts another source first, though not both leads are beyond noise")
    return (f"{text}, {told[0]} over {other}; at random, {other} ({number(random[other])}), {told[1]} over {one}: a random split lets a "
            f"source learn from the future and {verdict}.")


def rating_prediction(history: History, split: Split, measured: pd.DataFrame, *, k: int, eligible: pd.Index,
                      rng: np.random.Generator) -> pd.DataFrame:
    """Hold Surprise SVD trained on grades, as it is usually shown, against the sources on what is new.

    Args:
        measured: what `evaluate.measure` found for the sources.

    Returns:
        `source`, `ndcg`, `low`, `high`, `n_customers`, best first.
    """
    plain = SurpriseFactors(n_factors=100, n_epochs=20, lr_all=0.005, negatives=0).fit(history)
    truth = split.truth[split.truth["is_new"]]
    asked = history.customers[history.customers.isin(truth["customer_id"])]
    listed = plain.generate(asked, n=k, eligible=eligible).rename(columns={"source_rank": "rank"})
    own = {"stage": ON_RATINGS} | metrics.mean_interval(metrics.ndcg_at_k(listed, truth, k=k), rng=rng)
    others = measured[(measured["metric"] == f"{metrics.NDCG}_new") & (measured["stage"] != "merged")]
    table = pd.concat([others, pd.DataFrame([own])])[["stage", "value", "low", "high", "n_customers"]]
    table = table.rename(columns={"stage": "source", "value": "ndcg"})
    return table.sort_values(["ndcg", "source"], ascending=[False, True], ignore_index=True)


def rating_prediction_sentence(table: pd.DataFrame, *, k: int) -> str:
    """Say where rating prediction ranks, beside the same model trained to tell positives from others, and popularity."""
    place = table.set_index("source")["ndcg"]
    if ON_RATINGS not in place or place.isna().all():
        return "No pair that is new to its customer was held out, so rating prediction cannot be judged."
    mine, rank = place[ON_RATINGS], int((place > place[ON_RATINGS]).sum()) + 1
    text = f"Trained to predict grades, Surprise's SVD is number {rank} of {len(place)} by NDCG@{k} ({number(mine)})"
    if "surprise_svd" in place:
        text += f"; trained on positives and sampled negatives the same class reaches {number(place['surprise_svd'])}"
    return text + (f", popularity {number(place[PLAIN])}." if PLAIN in place else ".")


def handover(measured: pd.DataFrame, tonight: Generated, *, holdout: Split) -> dict:
    """The facts that later notebooks read: metric rows (missing ends as null), fallback share, the cut, the kind."""
    rows = measured.astype(object).where(measured.notna(), None).to_dict("records")
    share = fallback_share(tonight.candidates, tonight.sources)
    return {"rows": rows, "fallback_share": None if np.isnan(share) else share, "cut": holdout.cut, "response": tonight.history.response,
            "repeats_allowed": tonight.history.repeats_allowed, "n_eligible": int(tonight.candidates["item_id"].nunique()),
            "personal_sources": tonight.sources.loc[tonight.sources["is_personal"], "source"].tolist()}


def handover_sentence(tonight: Generated, measured: pd.DataFrame, *, n_candidates: int) -> str:
    """Say how many candidates go on, of how many items, and what share of the held-out pairs such a merge found."""
    candidates = tonight.candidates
    pairs = candidates[["customer_id", "item_id"]].drop_duplicates()
    task = "all" if tonight.history.repeats_allowed else "new"
    merged = measured[(measured["stage"] == "merged") & (measured["metric"] == f"recall_{task}")].iloc[0]
    share = fallback_share(candidates, tonight.sources)
    text = (f"{candidates['customer_id'].nunique():,} customers go on with {len(pairs) / max(candidates['customer_id'].nunique(), 1):.0f} "
            f"candidates each, {candidates['item_id'].nunique():,} items in all, {percent(share) if share > 0 else 'none'} of the customers "
            f"by fallback")
    if pd.isna(merged["value"]):
        return text + "; nothing was held out that could tell how much is found."
    return text + f"; on the held-out days such a merge held {percent(merged['value'])} of what was taken {_interval(merged)}."


def _interval(row: pd.Series) -> str:
    return "" if pd.isna(row["low"]) else f"[{percent(row['low'])}, {percent(row['high'])}]"


def require_some(tonight: Generated) -> Generated:
    """Return what was generated, or say why there is nothing to offer anyone.

    Raises:
        ValueError: no customer has a candidate.
    """
    if tonight.candidates.empty:
        raise ValueError("candidates: no customer has an item left to be offered; every item on offer is one that they "
                         "know already, and this source shows nobody the same item again.")
    return tonight

"""Judge the ranked stage by the protocols of the literature: several time origins pooled, or each customer's last items.

A round is one cut: what may be learnt from, and the pairs to be found after it. Rounds in time order are training
windows for those that follow; the last of them calibrates before it is learnt from, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.ranking import evaluate, models, value
from reclib.ranking.features import features
from reclib.ranking.labels import with_label
from reclib.ranking.log import is_response, response_type


@dataclass(frozen=True)
class Round:
    """One cut of a history.

    Attributes:
        events: what may be learnt from; as_of: its end.
        customers: `customer_id` of those who came after the cut, and whom a round learns from.
        relevant: `customer_id`, `item_id` that they responded to then.
        warm: ids of the customers with a history; only they are judged.
        response: event type that counts.
    """

    events: pd.DataFrame
    as_of: pd.Timestamp
    customers: pd.DataFrame
    relevant: pd.DataFrame
    warm: pd.Index
    response: str


def rolling(events: pd.DataFrame, *, first: float = 0.2, step: float = 0.1) -> list[Round]:
    """Cut at shares of the events in time order (`first`, `first` + `step`, ... below 1), with the next `step` to be found.

    Raises:
        ValueError: `first` or `step` leave no round.
    """
    if not (0 < first < 1 and 0 < step <= 1 - first + 1e-9):
        raise ValueError(f"first == {first}, step == {step}; both must be in (0, 1) and their sum at most 1.")
    ordered = events.sort_values(["occurred_at", "customer_id"], kind="stable", ignore_index=True)
    at, n = ordered["occurred_at"], len(ordered)
    shares = first + step * np.arange(int((1 - first) / step + 1e-9))
    ends = [(at.iloc[int(n * share + 1e-9) - 1], at.iloc[min(int(n * (share + step) + 1e-9), n) - 1]) for share in shares]
    return [_round(ordered[(at <= cut).to_numpy()], ordered[((at > cut) & (at <= end)).to_numpy()], cut) for cut, end in ends]


def leave_last(events: pd.DataFrame, *, n: int = 5, n_rounds: int = 4) -> list[Round]:
    """Hide the last `n` events of each customer, and for the rounds before, `n` more each; earliest first.

    Within a second, events keep the order of (occurred_at, customer_id) as given; the sort is stable.
    """
    ordered = events.sort_values(["occurred_at", "customer_id"], kind="stable", ignore_index=True)
    back = ordered.groupby("customer_id").cumcount(ascending=False).to_numpy()
    return [_round(ordered[back >= hidden], ordered[(back < hidden) & (back >= hidden - n)], ordered["occurred_at"].max())
            for hidden in range(n * n_rounds, 0, -n)]


def _round(before: pd.DataFrame, after: pd.DataFrame, cut: pd.Timestamp) -> Round:
    response = response_type(before)
    came = after[["customer_id"]].drop_duplicates().sort_values("customer_id", ignore_index=True)
    relevant = after.loc[is_response(after, response), ["customer_id", "item_id"]].drop_duplicates()
    warm = pd.Index(came.loc[came["customer_id"].isin(before["customer_id"]), "customer_id"])
    return Round(before, cut, came, relevant, warm, response)


def describe(one: Round, items: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    """Features of the candidates at the cut, with `label`."""
    frame = features(one.events, items, None, candidates, as_of=one.as_of, response=one.response)
    return with_label(frame, one.relevant.assign(label=1))


def judge(rounds: list[Round], lists: list[dict[str, pd.DataFrame]], frames: list[pd.DataFrame], *, n_windows: int = 3,
          k: int = 10, seed: int = 7) -> pd.DataFrame:
    """NDCG of the lists and of both rankers on every round that has `n_windows` before it to learn from.

    Args:
        lists: by round, stage -> customer_id, item_id, rank: every source, and the merge.
        frames: by round, `describe`.

    Returns:
        stage, origin (place of the round), customer_id, value; warm customers with something to be found, no list counts as 0.

    Raises:
        ValueError: there are no more than `n_windows` rounds.
    """
    if len(rounds) <= n_windows:
        raise ValueError(f"{len(rounds)} rounds, must be more than n_windows == {n_windows}.")
    found = []
    for at in range(n_windows, len(rounds)):
        one, windows = rounds[at], frames[at - n_windows:at]
        wanted = one.relevant[one.relevant["customer_id"].isin(one.warm)]
        ranked = {ranker: _ordered(windows, frames[at], ranker, seed) for ranker in models.RANKERS}
        values = {stage: metrics.ndcg_at_k(table, wanted, k=k) for stage, table in (lists[at] | ranked).items()}
        found += [each.rename("value").reset_index().assign(stage=stage, origin=at) for stage, each in values.items()]
    return pd.concat(found, ignore_index=True)


def _ordered(windows: list[pd.DataFrame], frame: pd.DataFrame, ranker: str, seed: int) -> pd.DataFrame:
    fitted = models.fit(windows, ranker=ranker, seed=seed)
    scored = models.predict(fitted, frame.drop(columns="label"))
    return value.rank(scored, pd.Series(dtype=float), pd.Series(dtype=float), policies=("relevance",))


def pooled(found: pd.DataFrame, *, seed: int = 7) -> pd.DataFrame:
    """Mean of each stage over all origins, and the best source's lead on it; intervals draw whole customers.

    Returns:
        stage, value, low, high, n_customers, n_lists, ahead, ahead_low, ahead_high (stage minus the best source),
        best first.
    """
    table = found.pivot(index=["origin", "customer_id"], columns="stage", values="value").fillna(0.0)
    who = table.index.get_level_values("customer_id").to_series()
    sources = table.columns.difference([*models.RANKERS, *evaluate.NOT_SOURCES])
    best = table[sources].mean().idxmax()
    rows = [{"stage": stage, "n_lists": len(table)} | _interval(table[stage], who, seed, "")
            | _interval(table[stage] - table[best], who, seed, "ahead") for stage in table.columns]
    return pd.DataFrame(rows).sort_values(["value", "stage"], ascending=[False, True], ignore_index=True)


def _interval(values: pd.Series, who: pd.Series, seed: int, name: str) -> dict[str, float]:
    found = metrics.mean_interval(values.round(9), rng=np.random.default_rng(seed), clusters=who)
    if not name:
        return found
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def sentence(table: pd.DataFrame, *, k: int = 10) -> str:
    """Say what each ranker reaches, and whether it beats the best single source outside noise."""
    sources = table[~table["stage"].isin([*models.RANKERS, *evaluate.NOT_SOURCES])]
    best = sources.iloc[0]
    said = [(f"Best source: {best['stage']}, NDCG@{k} {best['value']:.3f} over {best['n_lists']:,} lists of "
             f"{best['n_customers']:,} customers.")]
    for row in table[table["stage"].isin(models.RANKERS)].itertuples():
        gap = evaluate.comparison_sentence(row.stage, str(best["stage"]), (row.ahead, row.ahead_low, row.ahead_high),
                                           metric=f"NDCG@{k}")
        said.append(f"{row.stage} reaches {row.value:.3f}; {gap}")
    return " ".join(said)


def elsewhere_sentence(chosen: pd.DataFrame, fresh: pd.DataFrame, *, k: int = 10) -> str:
    """Say how the ranker that was first at some cuts does at others, which nothing was chosen on.

    Args:
        chosen, fresh: `pooled` at the cuts of either kind; the rival is the best source of the fresh ones.
    """
    ranker = chosen.loc[chosen["stage"].isin(models.RANKERS), "stage"].iloc[0]
    best = fresh[~fresh["stage"].isin([*models.RANKERS, *evaluate.NOT_SOURCES])].iloc[0]
    row = fresh.set_index("stage").astype({"n_lists": object, "n_customers": object}).loc[ranker]
    gap = evaluate.comparison_sentence(ranker, best["stage"], tuple(row[["ahead", "ahead_low", "ahead_high"]]), metric=f"NDCG@{k}")
    return (f"{ranker}, the ranker to choose by the cuts above, reaches NDCG@{k} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] at "
            f"cuts that nothing was chosen on, over {row['n_lists']:,} lists of {row['n_customers']:,} customers; {gap}")

"""What offline metrics are worth: lists lived in the very days on which they were judged, from the evening they were made.

Like `truth`, this is for pages that hold an estimate against the truth; no layer may import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from reclib.report import money
from reclib.sources.storefront import config, truth

NOTHING, AT_RANDOM = "nothing shown", "random eligible"
SHOWN = ("clicks", "orders", "revenue", "contribution")
COLUMNS = ["stage", "offline", *SHOWN, "gain", "gain_low", "gain_high"]


def first_day(at: pd.Timestamp) -> int:
    """The day of the shop that follows an evening."""
    return (at.tz_localize(None).normalize() - pd.Timestamp(config.FIRST_DAY)).days + 1


def lists(stages: Mapping[str, pd.DataFrame], customers: pd.Series, source: Mapping, *, eligible: pd.Index, k: int,
          rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The lists that can be lived: those of the stages and one drawn at random from what is eligible, which any has to beat.

    Args:
        stages: stage -> customer_id, item_id, rank.
        customers: ids of those who are shown the lists and are looked at.
        source: facts of the source.
        eligible: ids of the items that may be shown.
        k: slots of a slate.

    Returns:
        The first k of each list of these customers; nothing where the source has no truth.
    """
    if not source.get("answers"):
        return {}
    n = min(k, len(eligible))
    drawn = np.argsort(rng.random((len(customers), len(eligible))), axis=1, kind="stable")[:, :n]
    by_chance = pd.DataFrame({"customer_id": np.repeat(customers.to_numpy(), n), "item_id": eligible.to_numpy()[drawn.ravel()],
                              "rank": np.tile(np.arange(1, n + 1), len(customers))})
    return {name: table[((table["rank"] <= k) & table["customer_id"].isin(customers)).to_numpy()]
            for name, table in {**stages, AT_RANDOM: by_chance}.items()}


def live(shown: Mapping[str, pd.DataFrame], customers: pd.Series, source: Mapping, *, since: pd.Timestamp,
         n_days: int) -> dict[str, pd.DataFrame]:
    """Let the shop show each stage's lists to the same customers on every visit, with the same luck.

    Args:
        shown: made by `lists`, of these `customers`; no others come, and there is only these customers' share of the stock.
        source: facts of the source.
        since: evening on which the lists were made; the shop has gone its own way until then.
        n_days: days that each world is lived.

    Returns:
        Outcomes of these customers by stage, and where nothing is shown; empty where nothing can be lived.
    """
    worlds = {}
    for name, table in {NOTHING: "none", **shown}.items() if shown else ():
        policy = table if isinstance(table, str) else table.rename(columns={"rank": "position"})
        worlds[name] = truth.true_outcomes(policy, params=source["params"], n_days=n_days, first_day=first_day(since), only=customers)
    return worlds


def pairs(scored: pd.DataFrame, source: Mapping, *, since: pd.Timestamp, most: int = 50_000) -> pd.DataFrame:
    """The truth about pairs on the evening on which they were scored: p_buy, the parts of the utility, and visit_rate.

    Args:
        scored: customer_id, item_id, in the order of customers.
        most: pairs that are looked at.
    """
    wanted = scored[["customer_id", "item_id"]].head(most).reset_index(drop=True)
    if not source.get("answers"):
        return wanted.head(0)
    params, day = source["params"], first_day(since)
    people = truth.tastes(params).set_index("customer_id")["visit_rate"]
    return truth.utility_parts(wanted, params, first_day=day).assign(
        p_buy=truth.p_response(wanted, params, first_day=day)["p_buy"], visit_rate=wanted["customer_id"].map(people))


def compare(worlds: Mapping[str, pd.DataFrame], accuracy: pd.DataFrame, *, metric: str = "contribution") -> pd.DataFrame:
    """Put what each stage truly brings beside its offline metric, best offline first.

    Args:
        worlds: made by `live`.
        accuracy: the offline metric, one row a customer with something to be found, one column a stage.
        metric: what the gain over nothing shown is measured in; its interval is over customers, each against themselves.

    Returns:
        stage, offline, means a customer of `SHOWN`, gain, gain_low, gain_high.
    """
    rows = [{"stage": name, "offline": accuracy[name].mean() if name in accuracy else np.nan}
            | {each: truth.value_of(after, each) for each in SHOWN}
            | (_gain(worlds, name, NOTHING, metric) if name != NOTHING else {}) for name, after in worlds.items()]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["offline", "stage"], ascending=[False, True], ignore_index=True)


def _gain(worlds: Mapping[str, pd.DataFrame], one: str, other: str, metric: str) -> dict[str, float]:
    own = (worlds[one][metric] - worlds[other][metric]).astype(float).round(6)
    half = float(ndtri(0.975) * own.std() / np.sqrt(len(own)))
    return {"gain": float(own.mean()), "gain_low": float(own.mean()) - half, "gain_high": float(own.mean()) + half}


def disagreements(worlds: Mapping[str, pd.DataFrame], accuracy: pd.DataFrame, *, metric: str = "contribution") -> pd.DataFrame:
    """Pairs of stages that both the offline metric and the truth tell apart, outside noise.

    Args:
        worlds: made by `live`.
        accuracy: as in `compare`.

    Returns:
        better (offline), worse, offline (difference), gain (true difference), is_contrary (the better one earns less).
    """
    rows = []
    for pair in combinations([stage for stage in accuracy if stage in worlds], 2):
        better, worse = sorted(pair, key=lambda stage: (-accuracy[stage].mean(), stage))
        ahead = accuracy[better] - accuracy[worse]
        is_clear = ahead.mean() > ndtri(0.975) * ahead.std() / np.sqrt(len(ahead))
        true = _gain(worlds, better, worse, metric)
        if is_clear and (true["gain_low"] > 0 or true["gain_high"] < 0):
            rows.append({"better": better, "worse": worse, "offline": float(ahead.mean()), "gain": true["gain"],
                         "is_contrary": true["gain"] < 0})
    return pd.DataFrame(rows, columns=["better", "worse", "offline", "gain", "is_contrary"]).astype({"is_contrary": bool})


def sentence(table: pd.DataFrame, pairs: pd.DataFrame, *, currency: str, n_days: int) -> str:
    """Say whether the best list offline is the one that earns most, and how often offline and truth contradict.

    Args:
        table: made by `compare`; pairs: made by `disagreements`.
        currency: of the money.
        n_days: days lived.
    """
    shown = table.dropna(subset=["gain", "offline"])
    if shown.empty:
        return "The run has no source whose truth is known, so that nobody can say what these lists would have earned."
    first, most = shown.iloc[0], shown.loc[shown["gain"].idxmax()]
    brings = [f"{row['stage']} brings {money(row['gain'], currency)} a customer in {n_days} days over showing nothing "
              f"[{row['gain_low']:.2f}, {row['gain_high']:.2f}]" for row in (first, most)]
    if first["stage"] == most["stage"]:
        said = f"Opening the truth of the shop: {first['stage']} ranks best offline and earns most; {brings[0]}."
    else:
        said = f"Opening the truth of the shop: {first['stage']} ranks best offline, {most['stage']} earns most; {brings[0]}, {brings[1]}."
    n, contrary = len(pairs), pairs[pairs["is_contrary"]]
    if not n:
        return f"{said} No two lists are told apart both offline and in truth."
    if contrary.empty:
        return f"{said} Of {n} pairs of lists that both tell apart, offline accuracy is right on all."
    row = contrary.loc[contrary["gain"].idxmin()]
    return (f"{said} Of {n} pairs of lists that both tell apart, the one that ranks better offline earns less in {len(contrary)}; "
            f"most of all {row['better']}, {money(-row['gain'], currency)} a customer less than {row['worse']}.")

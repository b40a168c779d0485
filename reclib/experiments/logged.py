"""Does a log foretell? Storefronts whose policies are valued from their log first and then lived.

In a still shop nothing changes from one day to the next, so that every assumption of an off-policy value holds and its
intervals must be honest. In a living shop stock, prices, habits and fatigue move on after the log ends. The truth is the mean
chance of a click of what is seen while a policy is lived: the luck of the clicks themselves is no part of it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.experiments.calibration import rate_row
from reclib.offpolicy import support, values
from reclib.offpolicy.estimators import slate_values
from reclib.offpolicy.logs import with_rewards
from reclib.offpolicy.support import USABLE

STILL = {"stock_on": False, "dynamic": False, "churn_on": False, "season": 0.0, "promo_share": 0.0, "launch_share": 0.0,
         "retire_share": 0.0, "opt_out_base": 0.0, "complaint_base": 0.0}
SIZE = {"n_customers": 400, "n_items": 40, "n_days": 42, "k": 6, "click_base": -2.0, "personal_share": 0.8}
LOG_DAYS, PUBLISHED = 28, ("best sellers", "favourites", "margin", "anything")
READ = ("ips", "snips", "dr", "sndr", "examined")
SLATES = ("sips", "rips", "iips")


def policies_of(events: pd.DataFrame, items: pd.DataFrame, *, k: int, decided_at: pd.Timestamp) -> pd.DataFrame:
    """Four policies that a moment's history suggests, as a `rehearsals` table.

    Best sellers for all; each customer's favourites (one point an answer, and popularity for the rest); the same times the
    unit margin; and anything, drawn by a hash.
    """
    past = events[events["occurred_at"] <= decided_at]
    known = past[past["event_type"].isin(["click", "add_to_cart", "purchase"])]
    sold = past.loc[past["event_type"] == "purchase", "item_id"].value_counts()
    pairs = pd.MultiIndex.from_product([np.sort(events["customer_id"].unique()), items["item_id"]], names=["customer_id", "item_id"])
    table = pairs.to_frame(index=False)
    popular = table["item_id"].map(sold).fillna(0.0) / max(sold.max(), 1)
    own = known.groupby(["customer_id", "item_id"]).size().reindex(pairs, fill_value=0).to_numpy() + popular
    margin = table["item_id"].map((items["price"] - items["unit_cost"]).set_axis(items["item_id"]))
    chance = pd.util.hash_pandas_object(table, index=False).to_numpy() / 2.0**64
    scores = dict(zip(PUBLISHED, (popular, own, own * margin, chance), strict=True))
    allowed = ~table["item_id"].isin(items.loc[items["is_age_restricted"], "item_id"])
    parts = [table.assign(policy=name, score=score)[allowed] for name, score in scores.items()]
    ranked = pd.concat(parts).sort_values(["policy", "customer_id", "score", "item_id"], ascending=[True, True, False, True])
    ranked = ranked.assign(position=ranked.groupby(["policy", "customer_id"]).cumcount() + 1, decided_at=decided_at)
    return ranked.loc[ranked["position"] <= k].drop(columns="score").reset_index(drop=True)


def foretold(seed: int, *, n_days: int = 7, **options: object) -> pd.DataFrame:
    """Value the four policies of one shop from its log, then live each.

    Args:
        seed: of the shop.
        n_days: days that each policy is lived.
        options: parameters of the shop beside `SIZE`, such as `STILL`.

    Returns:
        `policy_values` as `offpolicy.values` makes them, with seed and truth.
    """
    from reclib.sources.storefront import chances, tables

    found, facts = tables.load(seed=seed, **(SIZE | options))
    as_of = pd.Timestamp(facts["as_of"], tz="UTC") + pd.Timedelta(hours=23, minutes=59, seconds=59)
    slates = policies_of(found["events"], found["items"], k=facts["k"], decided_at=as_of - pd.Timedelta(days=LOG_DAYS))
    table = values.value_all(found["logged_deliveries"], found["logged_outcomes"], rehearsed=slates, as_of=as_of, days=n_days)
    truth = {policy: chances.of_click(own, facts["params"], n_days=n_days) for policy, own in slates.groupby("policy")}
    return table[table["unit"] == "slot"].assign(seed=seed, truth=table["policy"].map(truth))


def many(n_worlds: int, *, first_seed: int = 0, **options: object) -> pd.DataFrame:
    """`foretold` of several shops, one after another."""
    return pd.concat([foretold(seed, **options) for seed in range(first_seed, first_seed + n_worlds)], ignore_index=True)


def slates(seed: int, *, n_days: int = 7) -> pd.DataFrame:
    """Value one slate from a log of slates drawn slot by slot, whose whole probability is known, and live it.

    A shop that always explores draws three of five items in random order: slot j has 1 / (5 - j + 1) given those before,
    and 1 / 5 whatever they are.

    Returns:
        estimator (sips, rips, iips), value of a slate, low, high, seed and truth.
    """
    from reclib.sources.storefront import chances, tables

    shop = SIZE | STILL | {"k": 3, "n_pool": 5, "epsilon": 1.0, "personal_share": 0.0, "consent_share": 0.0, "minor_share": 0.0}
    found, facts = tables.load(seed=seed, **shop)
    log = with_rewards(found["logged_deliveries"], found["logged_outcomes"])
    wide = log.pivot(index=["session_id", "customer_id"], columns="position", values=["item_id", "reward"])
    chosen = sorted(log["item_id"].unique())[:3]
    is_chosen = (wide["item_id"].to_numpy() == np.array(chosen)).astype(float)
    customers = np.arange(1, facts["params"]["n_customers"] + 1)
    shown = pd.DataFrame({"customer_id": np.repeat(customers, 3), "position": np.tile([1, 2, 3], len(customers)),
                          "item_id": np.tile(chosen, len(customers))})
    truth = 3 * chances.of_click(shown, facts["params"], n_days=n_days)
    values_of = slate_values(is_chosen * (5 - np.arange(3)), wide["reward"].to_numpy(dtype=float), own=is_chosen * 5,
                             clusters=pd.factorize(wide.index.get_level_values("customer_id"))[0])
    return pd.DataFrame([{"estimator": name, "value": value, "low": low, "high": high, "seed": seed, "truth": truth}
                         for name, (value, low, high) in values_of.items()])


def many_slates(n_worlds: int, *, first_seed: int = 0) -> pd.DataFrame:
    """`slates` of several shops, as rows that `coverage` reads."""
    return pd.concat([slates(seed) for seed in range(first_seed, first_seed + n_worlds)], ignore_index=True).assign(gate=USABLE)


def coverage(table: pd.DataFrame, *, at_least: float = 0.95) -> pd.DataFrame:
    """How often the interval holds the truth, by estimator, where the gate calls the log usable, and where weak.

    Args:
        table: result of `many` or `many_slates`.
        at_least: the stated rate, which usable intervals must reach but for luck.

    Returns:
        Rows of `calibration`; only usable ones have a band, since the gate says of weak ones that they may miss.
    """
    own = table[table["estimator"].isin(READ + SLATES) & table["value"].notna()]
    is_in = own["truth"].between(own["low"], own["high"])
    rows = []
    for (gate, name), part in own.assign(is_in=is_in).groupby(["gate", "estimator"], sort=True):
        rows.append(rate_row(f"off-policy interval holds the truth, {gate}", name, part["is_in"].to_numpy(),
                             at_least=at_least if gate == USABLE else 0.0))
    return pd.DataFrame(rows)


def winners(table: pd.DataFrame) -> pd.DataFrame:
    """Does the log crown the policy that is truly best?

    Returns:
        estimator, n_worlds (in which it names a value for two policies or more), right (share of them in which its best
        is truly the best of those), by_chance (the share of a blind choice), and lost (mean shortfall of its choice
        against the truly best, as a share).
    """
    own = table[table["estimator"].isin((*READ, "dm"))].dropna(subset=["value"])
    rows = []
    for (name, _), part in own.groupby(["estimator", "seed"]):
        if len(part) > 1:
            chosen, top = part.loc[part["value"].idxmax(), "truth"], part["truth"].max()
            rows.append({"estimator": name, "right": float(chosen == top), "by_chance": 1 / len(part), "lost": 1 - chosen / top})
    grouped = pd.DataFrame(rows, columns=["estimator", "right", "by_chance", "lost"]).groupby("estimator")
    return grouped.agg(n_worlds=("right", "size"), right=("right", "mean"), by_chance=("by_chance", "mean"),
                       lost=("lost", "mean")).reset_index()


def winner_sentence(table: pd.DataFrame, *, estimator: str = "dr") -> str:
    """Say how often an estimator's winner is the true one, and what the wrong choices cost."""
    row = table[table["estimator"] == estimator].iloc[0]
    return (f"Over {row.n_worlds:,} shops the policy that {estimator} puts first is truly the best in {row.right:.0%} of them (a blind "
            f"choice: {row.by_chance:.0%}); following it gives away {row.lost:.1%} of what the best would have earned.")


def bias_by_policy(table: pd.DataFrame) -> pd.DataFrame:
    """Mean of forecast over truth, less one, by policy and estimator, with the share of intervals that hold the truth."""
    own = table[table["estimator"].isin(READ) & table["value"].notna()]
    held = own.assign(bias=own["value"] / own["truth"] - 1, is_in=own["truth"].between(own["low"], own["high"]).astype(float))
    return held.groupby(["policy", "estimator"]).agg(n=("bias", "size"), truth=("truth", "mean"), forecast=("value", "mean"),
                                                     bias=("bias", "mean"), inside=("is_in", "mean")).reset_index()


def bias_sentence(table: pd.DataFrame, *, estimator: str = "examined") -> str:
    """Say by how much an estimator misses each policy on average."""
    own = table[table["estimator"] == estimator]
    return f"On average {estimator} says {', '.join(f'{row.bias:+.1%} of {row.policy}' for row in own.itertuples())}."


def width_sentence(table: pd.DataFrame) -> str:
    """Say how wide the intervals of the slate estimators are, the narrowest first."""
    width = ((table["high"] - table["low"]) / table["value"].where(table["value"] > 0)).groupby(table["estimator"]).median().sort_values()
    return f"Half of their intervals are narrower than {', '.join(f'{wide:.0%} of the value by {name}' for name, wide in width.items())}."


def thin_sentence(table: pd.DataFrame, *, estimator: str = "dr") -> str:
    """Say for how many policies an estimator is usable beside `examined`, and what the others lack."""
    both = table[table["estimator"].isin((estimator, "examined"))].set_index(["seed", "policy", "estimator"])[["gate", "n_positives"]].unstack()
    usable = (both["gate"] == USABLE).sum()
    rewards = both["n_positives"].median()
    return (f"{estimator} is usable for {usable[estimator]:,} of {len(both):,} policies, examined for {usable['examined']:,}: a policy's item counts "
            f"for {estimator} only where the log showed it in the very same position, which leaves {rewards[estimator]:.0f} effective rewards in the "
            f"middle case, and {rewards['examined']:.0f} where every showing counts; the gate asks for {support.ENOUGH}.")


def living_sentence(table: pd.DataFrame) -> str:
    """Say how many usable intervals still hold the truth where the shop moves on after the log ends, and what was moved for it."""
    own = table[(table["gate"] == USABLE) & (table["estimator"] == "examined")]
    held = own["truth"].between(own["low"], own["high"]).mean()
    plain = (own["value"] / (1 + own["carry_over"]) / own["truth"] - 1).mean()
    return (f"In shops that live on, {len(own):,} of {table.groupby(['seed', 'policy']).ngroups:,} policies have a usable value by examined, "
            f"and {held:.1%} of its intervals hold what came. Values are moved by {own['carry_over'].mean():+.1%} for what repeats; "
            f"unmoved they would miss by {plain:+.1%} on average, moved they miss by {(own['value'] / own['truth'] - 1).mean():+.1%}.")

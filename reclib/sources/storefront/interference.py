"""What experiments over shared stock say about a launch, held against the truth of the launch.

Like `truth`, this is for pages that compare an estimate with the truth; no layer may import it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.sources.storefront import config, days, policies, tables, totals, truth

TREATED, CONTROL = "treated", "control"
DESIGNS = ("shared stock", "split stock")


def designs(treatment: str, control: str, metric: str, *, params: dict, n_days: int = 28,
            n_assignments: int = 8) -> pd.DataFrame:
    """Estimate the effect of a launch by repeated experiments over shared and over split stock.

    Every random assignment is run twice, the second time with the arms swapped, and the two estimates are averaged: what
    distinguishes the customers of the arms then cancels, and what is left is the design's own error.

    Args:
        treatment, control: names of `policies.POLICIES`.
        metric: one of `totals.METRICS`.
        params: parameters of the world.
        n_days: length of each experiment.
        n_assignments: number of random assignments.

    Returns:
        design, assignment, estimate (difference of the arms' means), truth (difference of the two pure worlds), error.
    """
    true = truth.true_effect(treatment, control, metric, params=params, n_days=n_days)
    rows = []
    for number in range(n_assignments):
        drawn = truth.assign_at_random(params, {TREATED: 0.5, CONTROL: 0.5}, salt=number + 1)
        swapped = drawn.assign(arm=drawn["arm"].map({TREATED: CONTROL, CONTROL: TREATED}))
        for design, live in zip(DESIGNS, (shared, split), strict=True):
            pair = [_difference(live(treatment, control, assignments, params=params, n_days=n_days), assignments, metric)
                    for assignments in (drawn, swapped)]
            rows.append({"design": design, "assignment": number + 1, "estimate": sum(pair) / 2})
    return pd.DataFrame(rows).assign(truth=true, error=lambda found: found["estimate"] - true)


def shared(treatment: str, control: str, assignments: pd.DataFrame, *, params: dict, n_days: int) -> pd.DataFrame:
    """An ordinary experiment: both arms buy from one stock."""
    return truth.true_outcomes({TREATED: treatment, CONTROL: control}, params=params, n_days=n_days, assignments=assignments)


def split(treatment: str, control: str, assignments: pd.DataFrame, *, params: dict, n_days: int) -> pd.DataFrame:
    """Split stock: each arm buys from its own part (`tables.part`) of what is there and of every replenishment."""
    parts, before = [], 0.0
    for arm, policy in ((TREATED, treatment), (CONTROL, control)):
        is_member = (assignments["arm"] == arm).to_numpy()
        parts.append(_own(policy, is_member, before, params=params, n_days=n_days)[is_member])
        before += float(is_member.mean())
    return pd.concat(parts).sort_index()


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Mean, interval and misstatement of each design over its assignments.

    Returns:
        design, n_assignments, truth, mean, low, high (mean and twice its standard error) and misstated (mean over truth,
        less one: 0.5 is half too big).
    """
    grouped = found.groupby("design", sort=False)
    table = grouped.agg(n_assignments=("estimate", "size"), truth=("truth", "first"), mean=("estimate", "mean"),
                        sd=("estimate", "std")).reset_index()
    half = 2 * table["sd"].fillna(0.0) / np.sqrt(table["n_assignments"])
    table = table.assign(low=table["mean"] - half, high=table["mean"] + half, misstated=table["mean"] / table["truth"] - 1)
    return table.drop(columns="sd")


def sentence(table: pd.DataFrame, *, currency: str) -> str:
    """Say what each design says about the launch, and by how much that is wrong."""
    told = [
        f"an experiment over {row.design} says {row.mean:+.2f} [{row.low:+.2f}, {row.high:+.2f}], "
        f"{abs(row.misstated):.0%} too {'much' if row.mean > row.truth else 'little'}"
        for row in table.itertuples()
    ]
    return f"The launch is truly worth {table['truth'].iloc[0]:+.2f} {currency} a customer; {'; '.join(told)}."


def displacement(treatment: str, control: str, metric: str, *, params: dict, n_days: int = 28) -> pd.DataFrame:
    """Where the misstatement comes from: each arm's mean in an experiment over shared stock and in its own pure world.

    Returns:
        arm, alone (mean of these customers where everybody meets their policy), together (in the experiment), and change.
    """
    assignments = truth.assign_at_random(params, {TREATED: 0.5, CONTROL: 0.5}, salt=1)
    together = shared(treatment, control, assignments, params=params, n_days=n_days)
    rows = []
    for arm, policy in ((TREATED, treatment), (CONTROL, control)):
        is_member = (assignments["arm"] == arm).to_numpy()
        alone = truth.true_outcomes(policy, params=params, n_days=n_days)
        means = [float(outcomes.loc[is_member, metric].mean()) for outcomes in (alone, together)]
        rows.append({"arm": arm, "alone": means[0], "together": means[1]})
    return pd.DataFrame(rows).assign(change=lambda found: found["together"] - found["alone"])


def displacement_sentence(found: pd.DataFrame, *, currency: str) -> str:
    """Say who gains and who loses by sharing the stock with the other arm."""
    told = [
        f"{row.arm} customers {'gain' if row.change >= 0 else 'lose'} {abs(row.change):.2f} {currency}"
        for row in found.itertuples()
    ]
    return (
        f"By sharing one stock with the other arm, {' and '.join(told)} each, "
        "compared with a world that has only their policy.")


def by_cover(treatment: str, control: str, metric: str, *, covers: list[float], params: dict, n_days: int = 28,
             n_assignments: int = 2) -> pd.DataFrame:
    """`summary` for worlds of several `stock_cover`s, and for one whose stock never runs out (cover missing)."""
    worlds = [(cover, params | {"stock_cover": cover}) for cover in covers] + [(np.nan, params | {"stock_on": False})]
    options = {"n_days": n_days, "n_assignments": n_assignments}
    parts = [
        summary(designs(treatment, control, metric, params=world, **options)).assign(cover=cover) for cover, world in worlds
    ]
    return pd.concat(parts, ignore_index=True)


def cover_sentence(found: pd.DataFrame) -> str:
    """Say how the misstatement over shared stock depends on how much stock there is."""
    over_shared = found[found["design"] == DESIGNS[0]]
    scarce, ample = over_shared.iloc[0], over_shared.dropna(subset="cover").iloc[-1]
    endless = over_shared[over_shared["cover"].isna()].iloc[0]
    return (
        f"With {scarce.cover:g} weeks of stock an experiment over shared stock misstates the launch by "
        f"{scarce.misstated:+.0%}, with {ample.cover:g} weeks by {ample.misstated:+.0%}, "
        f"and with stock that never runs out by {endless.misstated:+.0%}.")


def _own(policy: str, is_member: np.ndarray, before: float, *, params: dict, n_days: int) -> pd.DataFrame:
    world, state, log = tables.history(config.build(**params))
    world, state = tables.part(world, state, is_member, before=before)
    first_day = params["n_days"]
    later = days.run(world, state, policies.named(policy), first_day=first_day, n_days=n_days)
    return totals.total(world, state, [log, later], first_day=first_day, n_days=n_days)


def _difference(outcomes: pd.DataFrame, assignments: pd.DataFrame, metric: str) -> float:
    is_treated = (assignments["arm"] == TREATED).to_numpy()
    return float(outcomes.loc[is_treated, metric].mean() - outcomes.loc[~is_treated, metric].mean())

"""The truth about the shop, by living the same days again under another policy with the same luck.

No layer may import this module: only pages that hold an estimate against the truth do, and they say so in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from reclib.sources.storefront import (
    config,
    days,
    luck,
    policies,
    response,
    tables,
    totals,
)
from reclib.sources.storefront import world as worlds
from reclib.sources.storefront.policies import Policy
from reclib.sources.storefront.state import State
from reclib.sources.storefront.world import World

_SHOWN = ("clicks", "orders", "revenue", "contribution", "opted_out", "complaints")


def true_outcomes(policy: str | pd.DataFrame | Mapping, *, params: dict, n_days: int = 28,
                  assignments: pd.DataFrame | None = None, changes: dict | None = None,
                  price_factor: np.ndarray | None = None, first_day: int | None = None,
                  only: pd.Series | None = None) -> pd.DataFrame:
    """What every customer would do in the days after the history under a policy.

    Args:
        policy: a name of `policies.POLICIES`, a `deliveries` table (its slates on every visit), or for a mixed world
            a record of arm to either, with `assignments`.
        params: `facts["params"]` of the history, which is the same for all policies.
        n_days: days that the policy is in force.
        assignments: `assignments`: arm of each customer of a mixed world; who has none sees nothing.
        changes: parameters that change when the policy starts, such as `{"push_every": 2}` or `{"age_gate": False}`.
        price_factor: one factor an item on its price from then on.
        first_day: day from which the policy is in force, if it is not the one after the history but an earlier one.
        only: ids of customers, if from then on no others come, and there is only their share of the stock.

    Returns:
        One row a customer (of `only`): customer_id and the metrics of `totals.METRICS`.
    """
    first_day = params["n_days"] if first_day is None else first_day
    world, state, log = tables.history(config.build(**params), n_days=first_day)
    comes = np.ones(params["n_customers"], dtype=bool)
    if only is not None:
        comes[:] = False
        comes[policies.customer_numbers(only, params["n_customers"])] = True
        world, state = tables.part(world, state, comes, before=0.0)
    world = replace(world, config=replace(world.config, **(changes or {})))
    if price_factor is not None:
        world = replace(world, price_factor=np.asarray(price_factor, dtype=float), _weeks={})
    chosen = _mixed(policy, world, assignments) if isinstance(policy, Mapping) else _policy(policy, world)
    later = days.run(world, state, chosen, first_day=first_day, n_days=n_days)
    return totals.total(world, state, [log, later], first_day=first_day, n_days=n_days)[comes].reset_index(drop=True)


def true_value(policy: str | pd.DataFrame, metric: str, *, params: dict, n_days: int = 28, **options: object) -> float:
    """The true mean a customer of a metric (or the true ratio of sums, for `totals.RATIOS`) under a policy.

    Args:
        policy, params, n_days, options: as in `true_outcomes`.
        metric: one of `totals.METRICS` or `totals.RATIOS`.

    Raises:
        ValueError: unknown metric.
    """
    return value_of(true_outcomes(policy, params=params, n_days=n_days, **options), metric)


def true_effect(policy_a: str | pd.DataFrame, policy_b: str | pd.DataFrame, metric: str, *, params: dict,
                n_days: int = 28, **options: object) -> float:
    """The true effect of launching policy a to everybody instead of policy b: value of a less value of b."""
    value_a, value_b = (
        true_value(policy, metric, params=params, n_days=n_days, **options) for policy in (policy_a, policy_b)
    )
    return value_a - value_b


def value_of(outcomes: pd.DataFrame, metric: str) -> float:
    """The mean of a metric over customers, or the ratio of its sums."""
    if metric in totals.RATIOS:
        top, bottom = (float(outcomes[name].sum()) for name in totals.RATIOS[metric])
        return top / bottom if bottom else float("nan")
    if metric not in totals.METRICS:
        raise ValueError(f"metric == {metric!r}, must be one of {sorted([*totals.METRICS, *totals.RATIOS])}.")
    return float(np.round(outcomes[metric].astype(float).sum(), 6) / len(outcomes))


def means(worlds: Mapping[str, pd.DataFrame], *, metrics: tuple[str, ...] = _SHOWN) -> pd.DataFrame:
    """Put the true means of several worlds side by side, one row a policy, one column a metric."""
    return pd.DataFrame([
        {"policy": name} | {metric: value_of(outcomes, metric) for metric in metrics} for name, outcomes in worlds.items()
    ])


def effect_sentence(worlds: Mapping[str, pd.DataFrame], treatment: str, control: str, metric: str, *, currency: str) -> str:
    """Say what launching a policy is truly worth against another."""
    new, old = (value_of(worlds[name], metric) for name in (treatment, control))
    unit = f" {currency}" if metric in ("revenue", "contribution", "returned", "aov") else ""
    share = f" ({new / old - 1:+.1%})" if old else ""
    return (
        f"In truth, launching {treatment} to everybody instead of {control} changes {metric} by {new - old:+.2f}{unit} "
        f"a customer{share}.")


def p_response(pairs: pd.DataFrame, params: dict, *, first_day: int | None = None) -> pd.DataFrame:
    """The true probabilities that a customer responds to an item on the first day after the history.

    Args:
        pairs: customer_id and item_id.
        params: `facts["params"]`.
        first_day: that day, if it is an earlier one.

    Returns:
        customer_id, item_id, p_click (of a visitor who looks at it), p_buy (the same visitor clicks and buys it, were it
        alone in its category), unit_margin, and value (p_buy times unit_margin); rounded to 1e-6.
    """
    world, state, day, customers, items = _pairs(pairs, params, first_day)
    single = items[:, None]
    base = response.utility(world, day, customers, single) + response.satiety(world, state, customers, single)
    p_click = response.p_click(world, (base - response.fatigue(world, state, customers, single)).astype(float))[:, 0]
    mean_intent = np.full(len(customers), 0.5)
    buy = response.sigmoid(response.buy_logit(world, mean_intent, base[:, 0].astype(float), 1.0))
    margin = world.prices(day)[0][items] - world.items.unit_cost[items]
    return pairs[["customer_id", "item_id"]].reset_index(drop=True).assign(
        p_click=np.round(p_click, 6), p_buy=np.round(p_click * buy, 6), unit_margin=np.round(margin, 2),
        value=np.round(p_click * buy * margin, 6))


def utility_parts(pairs: pd.DataFrame, params: dict, *, first_day: int | None = None) -> pd.DataFrame:
    """The parts of the true utility of pairs on the first day after the history, or an earlier one; they sum to `utility`.

    Returns:
        customer_id, item_id, appeal, taste, category, price, promotion, season, habit (past purchases less satiation),
        fatigue (negative), utility; rounded to 1e-6.
    """
    world, state, day, customers, items = _pairs(pairs, params, first_day)
    single = items[:, None]
    parts = {name: part[:, 0].astype(float) for name, part in response.parts(world, day, customers, single).items()}
    parts["habit"] = response.satiety(world, state, customers, single)[:, 0].astype(float)
    parts["fatigue"] = -response.fatigue(world, state, customers, single)[:, 0].astype(float)
    rounded = {name: np.round(part, 6) for name, part in parts.items()}
    found = pairs[["customer_id", "item_id"]].reset_index(drop=True).assign(**rounded)
    return found.assign(utility=np.round(sum(rounded.values()), 6))


def tastes(params: dict) -> pd.DataFrame:
    """The true person behind each customer: price weight, tolerance, visits a day, and affinity to each category."""
    world = worlds.build(config.build(**params))
    people = world.customers
    frame = pd.DataFrame({
        "customer_id": np.arange(1, world.config.n_customers + 1), "price_weight": people.price_weight,
        "tolerance": people.tolerance, "visit_rate": people.rate,
    })
    return frame.join(pd.DataFrame(people.affinity).add_prefix("affinity_"))


def assign_at_random(params: dict, shares: Mapping[str, float], *, salt: int = 0) -> pd.DataFrame:
    """Assign every customer to an arm by hash; another salt is another assignment."""
    n = params["n_customers"]
    draw = luck.uniform(params["seed"] + 7919 * salt, "assign", salt, np.arange(n))
    arm = np.searchsorted(np.cumsum(list(shares.values()))[:-1], draw, side="right")
    return pd.DataFrame({"customer_id": np.arange(1, n + 1), "arm": np.array(list(shares))[arm]})


def _policy(policy: str | pd.DataFrame, world: World) -> Policy:
    if isinstance(policy, str):
        return policies.named(policy)
    return policies.published(policy, world.config.n_customers, world.config.n_items)


def _mixed(arms: Mapping, world: World, assignments: pd.DataFrame | None) -> Policy:
    if assignments is None:
        raise ValueError(f"assignments == None, must say who is in which of the arms {sorted(arms)}.")
    arm = np.full(world.config.n_customers, len(arms))
    numbers = assignments["arm"].map({name: number for number, name in enumerate(arms)})
    if numbers.isna().any():
        raise ValueError(f"arm == {assignments['arm'][numbers.isna()].iloc[0]!r}, must be one of {sorted(arms)}.")
    arm[policies.customer_numbers(assignments["customer_id"], world.config.n_customers)] = numbers.to_numpy().astype(int)
    return policies.Mixed((*(_policy(policy, world) for policy in arms.values()), policies.none), arm)


def _pairs(pairs: pd.DataFrame, params: dict, first_day: int | None) -> tuple[World, State, int, np.ndarray, np.ndarray]:
    first_day = params["n_days"] if first_day is None else first_day
    world, state, _ = tables.history(config.build(**params), n_days=first_day)
    customers = policies.customer_numbers(pairs["customer_id"], world.config.n_customers)
    return world, state, first_day, customers, policies.item_numbers(pairs["item_id"], world.config.n_items)

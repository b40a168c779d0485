"""The shop's doors: its history as tables, and its answers to what is delivered. No truth passes through them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from reclib.sources.storefront import (
    config,
    days,
    frames,
    house,
    policies,
    totals,
)
from reclib.sources.storefront import world as worlds
from reclib.sources.storefront.state import Log, State, morning
from reclib.sources.storefront.world import World

CURRENCY = "EUR"
PRE_DAYS = 28
LOGGING = "house"
ASSUMPTIONS = (
    "The shop is synthetic: every customer, price and answer in it is made by a seeded world whose truth is known.",
    "Out of stock items are not shown; items for adults are never shown to minors.",
    "Contribution is money paid less unit costs; a return takes the money back and gives the cost of the units back.",
    "Pages of the experiment take some 80 milliseconds, log-normal by visit, whichever policy made the slate the night before.",
    "Those who opted out are shown nothing and sent nothing from the next day on.",
    "More sessions order and more impressions are clicked than in a real shop, so that a few thousand customers have power.",
)


def load(*, n_customers: int = 4000, n_items: int = 500, n_days: int = 84, seed: int = 7, preset: str = "default",
         stock_on: bool = True, k: int = 8, epsilon: float = 0.2, **options: object) -> tuple[dict[str, pd.DataFrame], dict]:
    """Make the shop's history.

    Args:
        n_customers, n_items, n_days, seed: size of the world and its luck.
        preset: `default`, `retail` or `grocery`.
        stock_on: whether stock runs out.
        k, epsilon: slate length and share of explored slates among the best sellers of the shop's own policy.
        options: any further parameter of `config.Storefront`.

    Returns:
        Tables `events`, `items`, `customers`, `logged_deliveries`, `logged_outcomes`, and the facts of the source.

    Raises:
        ValueError: a parameter is out of range; the sentence names it.
    """
    settings = config.build(preset=preset, n_customers=n_customers, n_items=n_items, n_days=n_days, seed=seed,
                            stock_on=stock_on, k=k, epsilon=epsilon, **options)
    world, state, log = _lived(settings, settings.n_days)
    tables = {
        "events": frames.events(world, [log], first_day=0, n_days=n_days, slots=None),
        "items": frames.items(world, state, day=n_days - 1),
        "customers": frames.customers(world, state, day=n_days - 1),
        "logged_deliveries": frames.logged_deliveries(world, log, policy=LOGGING),
        "logged_outcomes": frames.logged_outcomes(world, log, n_days=n_days),
    }
    return tables, facts(settings)


def answer(deliveries: pd.DataFrame, assignments: pd.DataFrame | None = None, *, params: dict, n_days: int = 28,
           is_split: bool = False) -> dict[str, pd.DataFrame]:
    """Let the same world go on while every visitor is shown the slate published for them.

    Args:
        deliveries: `deliveries`; the same slate is shown on every visit, less what is out of stock that day.
        assignments: `assignments`; its customers must be customers of this world. Who has no delivery sees nothing.
        params: `facts["params"]` of the history.
        n_days: days that the shop answers for.
        is_split: each arm buys from its own part of the stock and of every replenishment, by its share of the
            customers, so that what one arm buys the other does not lack.

    Returns:
        `events` of these days, with the `decision_id` of the slot that they answer, and `customers_after`: one row a
        customer with the totals of these days, and `pre_orders`, `pre_revenue`, `pre_clicks` of the 28 days before.

    Raises:
        ValueError: an unknown customer or item, two items in one slot, or bad parameters.
    """
    if n_days < 1:
        raise ValueError(f"n_days == {n_days}, must be at least 1.")
    first_day = int(params["n_days"])
    parts = live(deliveries, assignments, params=params, n_days=n_days, is_split=is_split)
    return {"events": events_of(parts, deliveries["decision_id"], first_day=first_day, n_days=n_days),
            "customers_after": totals_of(parts, first_day=first_day, n_days=n_days).merge(_before(config.build(**params)), on="customer_id", validate="one_to_one")}


class Part(NamedTuple):
    """Customers who buy from their own part of the stock, some days on: `logs` are that of the history and that of these days."""

    world: World
    state: State
    logs: list[Log]
    is_member: np.ndarray


def live(deliveries: pd.DataFrame, assignments: pd.DataFrame | None, *, params: dict, n_days: int, is_split: bool) -> list[Part]:
    """Let the world go on as `answer` does: one part where all buy from one stock, else one an arm."""
    settings = config.build(**params)
    if assignments is not None:
        policies.customer_numbers(assignments["customer_id"], settings.n_customers)
    policy = policies.published(deliveries, settings.n_customers, settings.n_items)
    world, state, log = history(settings)
    evening = Part(world, state, [log], np.ones(settings.n_customers, dtype=bool))
    parts = apart(evening, assignments) if is_split else [evening]
    return [each._replace(logs=[log, days.run(each.world, each.state, policy, first_day=settings.n_days, n_days=n_days)]) for each in parts]


def apart(whole: Part, assignments: pd.DataFrame | None) -> list[Part]:
    """Divide an evening between the arms: each goes on with its own copy of the state, and with its own part of the stock."""
    arms = _arms(assignments, whole.world.config.n_customers)
    parts = []
    for arm in np.unique(arms):
        world, state = part(whole.world, whole.state.copy(), arms == arm, before=float((arms < arm).mean()))
        parts.append(Part(world, state, whole.logs, arms == arm))
    return parts


def totals_of(parts: list[Part], *, first_day: int, n_days: int) -> pd.DataFrame:
    """The totals of a span of days of the members of all parts, one row a customer."""
    told = [totals.total(each.world, each.state, each.logs, first_day=first_day, n_days=n_days)[each.is_member] for each in parts]
    return pd.concat(told).sort_values("customer_id", ignore_index=True)


def events_of(parts: list[Part], slots: pd.Series, *, first_day: int, n_days: int) -> pd.DataFrame:
    """The `events` of the members of all parts, in the order of time, naming the `decision_id` of the slots they answer."""
    told = []
    for each in parts:
        found = frames.events(each.world, each.logs, first_day=first_day, n_days=n_days, slots=slots)
        told.append(found if each.is_member.all() else found[found["customer_id"].isin(np.flatnonzero(each.is_member) + 1)])
    events = pd.concat(told, ignore_index=True)
    if len(parts) > 1:
        first_id = int(events["event_id"].min()) if len(events) else 0
        events = events.sort_values(["occurred_at", "customer_id", "event_id"], ignore_index=True)
        events["event_id"] = first_id + np.arange(len(events))
    return events


def part(world: World, state: State, is_member: np.ndarray, *, before: float) -> tuple[World, State]:
    """A world in which only the members come, and in which there is only their part of the stock.

    Parts of all arms add up to the whole: a unit that cannot be divided goes to one arm, by the item's number.
    """
    if is_member.all():
        return world, state
    until = before + float(is_member.mean())
    people = replace(world.customers, rate=np.where(is_member, world.customers.rate, 0.0))
    goods = replace(world.items, base_stock=_below(world.items.base_stock, until) - _below(world.items.base_stock, before))
    state.stock = _below(state.stock, until) - _below(state.stock, before)
    return replace(world, customers=people, items=goods), state


def _below(stock: np.ndarray, share: float) -> np.ndarray:
    """Whole units of each item below a share of its stock; the turn that rounds differs from item to item."""
    if share >= 1 - 1e-9:
        return stock
    turn = (np.arange(len(stock)) % 7) / 7 * (share > 0)
    return np.floor(stock * share + turn).astype(stock.dtype)


def _arms(assignments: pd.DataFrame | None, n_customers: int) -> np.ndarray:
    """The number of each customer's arm; who is in no arm goes with the first."""
    arms = np.zeros(n_customers, dtype=int)
    if assignments is not None:
        at = policies.customer_numbers(assignments["customer_id"], n_customers)
        arms[at] = assignments["arm"].astype("str").rank(method="dense").astype(int) - 1
    return arms


def facts(settings: config.Storefront) -> dict:
    """Say what this source is, as a record that JSON can hold."""
    as_of = pd.Timestamp(config.FIRST_DAY) + pd.Timedelta(days=settings.n_days - 1)
    return {
        "currency": CURRENCY, "as_of": as_of.date().isoformat(), "n_days": settings.n_days, "k": settings.k,
        "params": config.as_params(settings), "answers": True, "experiment": plan(), "is_randomised": True, "is_split": True,
        "cost_is_known": True, "assumptions": [*ASSUMPTIONS, _past(settings)],
    }


def _past(settings: config.Storefront) -> str:
    return (f"In the past {settings.personal_share:.0%} of the visits saw a draw by personal odds from all that may be shown, the "
            f"others best sellers, {settings.epsilon:.0%} of them in random choice and order; every probability is known.")


def plan() -> dict:
    """The pre-registered plan of the launch: value-based ranking against best sellers."""
    return {
        "experiment_id": "launch", "control": "popular", "expected_shares": {"popular": 0.5, "value": 0.5}, "alpha": 0.05,
        "metrics": {
            "revenue": {"role": "success", "kind": "mean", "winsorise": 0.999, "is_money": True,
                        "about": "money paid, EUR a customer"},
            "contribution": {"role": "success", "kind": "mean", "winsorise": 0.999, "is_money": True,
                             "about": "money paid less unit costs and returns, EUR a customer"},
            "is_converted": {"role": "success", "kind": "proportion", "about": "share of customers who bought"},
            "opted_out": {"role": "guardrail", "kind": "proportion", "margin": 0.015, "margin_scale": "absolute",
                          "direction": "down", "about": "share of customers who asked to be shown nothing more"},
            "complained": {"role": "guardrail", "kind": "proportion", "margin": 0.01, "margin_scale": "absolute",
                           "direction": "down", "about": "share of customers who complained"},
            "return_rate": {"role": "guardrail", "kind": "ratio", "numerator": "returned", "denominator": "revenue",
                            "margin": 0.02, "margin_scale": "absolute", "direction": "down",
                            "about": "money paid back for returned goods, share of money paid"},
            "latency": {"role": "guardrail", "kind": "quantile", "quantile": 0.9, "column": "latency_ms", "margin": 0.1, "direction": "down",
                        "about": "milliseconds until a page was there: the slowest tenth of customers wait longer"},
            "click_quality": {"role": "quality", "kind": "ratio", "numerator": "n_items_carried_on", "denominator": "n_items_clicked",
                              "about": "items put into the basket after a click, share of items clicked"},
            "is_retained": {"role": "quality", "kind": "proportion", "about": "share of customers who came in the last days"},
            "dismiss_rate": {"role": "quality", "kind": "ratio", "numerator": "dismissals", "denominator": "impressions",
                             "direction": "down", "about": "share of shown items that were waved away"},
            "variety": {"role": "quality", "kind": "ratio", "numerator": "n_items_seen", "denominator": "impressions",
                        "about": "different items, share of all shown: the rest is repetition"},
            "breadth": {"role": "quality", "kind": "mean", "column": "n_categories_seen",
                        "about": "different categories shown to a customer"},
            "novelty": {"role": "quality", "kind": "ratio", "numerator": "n_new_seen", "denominator": "n_items_seen",
                        "about": "items never shown to the customer before, share of different items shown"},
            "net_revenue": {"role": "exploratory", "kind": "mean", "winsorise": 0.999,
                            "about": "money paid less money back: the lifetime value so far, EUR a customer"},
            "aov": {"role": "exploratory", "kind": "ratio", "numerator": "revenue", "denominator": "orders",
                    "about": "money paid, EUR an order"},
        },
        "covariates": ["pre_revenue", "pre_orders", "pre_clicks"], "segments": ["segment", "region"],
    }


def history(settings: config.Storefront, *, n_days: int | None = None) -> tuple[World, State, Log]:
    """The world, its state on the last evening of its history (a copy), or of the first `n_days` of it, and the log."""
    world, state, log = _lived(settings, settings.n_days if n_days is None else n_days)
    return world, state.copy(), log


@lru_cache(maxsize=1)
def _lived(settings: config.Storefront, n_days: int) -> tuple[World, State, Log]:
    world = worlds.build(settings)
    state = morning(world)
    log = days.run(world, state, house.house, first_day=0, n_days=n_days)
    return world, state, log


def _before(settings: config.Storefront) -> pd.DataFrame:
    world, state, log = _lived(settings, settings.n_days)
    first_day = max(settings.n_days - PRE_DAYS, 0)
    before = totals.total(world, state, [log], first_day=first_day, n_days=settings.n_days - first_day)
    wanted = {"orders": "pre_orders", "revenue": "pre_revenue", "clicks": "pre_clicks"}
    return before[["customer_id", *wanted]].rename(columns=wanted)

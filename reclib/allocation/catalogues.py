"""Made-up catalogues under shared constraints, for benchmarks: one family, very different from seed to seed.

Popularity, prices and margins have long tails; value is response x margin and promotions cost a share of the price, so
that value and cost are proportional within an item and all its customers sit at one price (the hard case).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reclib.allocation import problem as p
from reclib.allocation.prices import best_slates, no_prices

N_CATEGORIES = 25
_BLOCK = 4_096


@dataclass(frozen=True)
class Shape:
    """What is drawn around: slate size, items of a category in a slate, and how tight every limit is.

    `stock` is a range of shares of each item's free demand, `budget` the share of what free slates would spend, `margin`
    what the floor adds to their average rate, `own_brand` and `new_items` multiples of their free shares. Floors are
    shares of what is shown, or, where `is_absolute`, of all slots and placements, at most half of the stock. In a tied
    catalogue every promoted item returns the same value a unit of promotion, in exact numbers, so that all of them, for
    all customers, flip at one price of the budget.
    """

    n_candidates: int = 100
    n_items: int = 2_000
    k: int = 5
    per_category: int = 2
    stock: tuple[float, float] = (0.2, 2.0)
    budget: float = 0.5
    margin: float = 0.01
    own_brand: float = 1.4
    new_items: float = 1.5
    is_absolute: bool = False
    is_tied: bool = False


def random_shape(seed: int) -> Shape:
    """Draw a shape: 20 to 100 of 100 to 2,000 items, slates of 1 to 8, limits from idle to very tight."""
    rng = np.random.default_rng(seed)
    return Shape(
        n_candidates=int(rng.integers(20, 101)), n_items=int(rng.integers(100, 2_001)), k=int(rng.integers(1, 9)),
        per_category=int(rng.integers(1, 4)), stock=(float(rng.uniform(0, 0.5)), float(rng.uniform(0.6, 3.0))),
        budget=float(rng.uniform(0.05, 1.2)), margin=float(rng.uniform(-0.02, 0.03)), own_brand=float(rng.uniform(0.5, 2.0)),
        new_items=float(rng.uniform(0.5, 2.0)), is_tied=bool(rng.random() < 0.25), is_absolute=bool(rng.random() < 0.25))


def make_catalogue(n_customers: int, seed: int, *, shape: Shape = Shape()) -> p.Problem:
    """Make a problem with stock, a promotion budget, a margin floor, two exposure floors and a category quota.

    Args:
        n_customers: customers; each has distinct candidates.
        seed: random seed.
        shape: what is drawn around.
    """
    rng, n_items = np.random.default_rng(seed), shape.n_items
    price = rng.lognormal(2.2, 0.8, n_items)
    rate = np.clip(rng.normal(0.28, 0.12, n_items), -0.05, 0.7)
    category = rng.integers(0, N_CATEGORIES, n_items)
    is_promoted, is_own, is_new = rng.random(n_items) < 0.3, rng.random(n_items) < 0.15, rng.random(n_items) < 0.08
    item = _candidates(n_customers, shape.n_candidates, n_items, rng)
    response = _responses(item, rng.normal(0, 0.6, n_items).astype("float32"), rng)
    worth, promo = price * rate + 0.02, np.where(is_promoted, 0.1 * price, 0.0)
    if shape.is_tied:
        np.multiply(np.ceil(response * 1_024), 1 / 1_024, out=response)
        promo = np.where(is_promoted, np.ceil(promo * 64) / 64, 0.0)
        worth, rate = np.where(is_promoted, 1.5 * promo, worth), np.where(is_promoted, 1.5 * promo / price, rate)
    value = worth.astype("float32")[item]
    value *= response
    free = p.Problem(item, value, response, shape.k, np.full(n_items, np.inf), (p.Quota("category", category, shape.per_category),))
    slates = best_slates(free, no_prices(free))
    stock = np.floor(slates.placements * rng.uniform(*shape.stock, n_items)) + rng.poisson(2.0, n_items)
    average = p.added(slates.responses, price * rate) / p.added(slates.responses, price)
    rows = (p.budget("promo_budget", promo, shape.budget * float(p.added(promo, slates.responses))),
            p.margin_floor("margin", price, rate, average + shape.margin),
            _floor("own_brand", is_own, shape.own_brand, slates.placements, stock, shape, of_slots=n_customers * shape.k),
            _floor("new_items", is_new, shape.new_items, slates.placements, stock, shape))
    return p.Problem(item, value, response, shape.k, stock, free.quotas, rows)


def _floor(name: str, is_member: np.ndarray, times: float, free: np.ndarray, stock: np.ndarray, shape: Shape,
           of_slots: int | None = None) -> p.Row:
    n_free = times * float(free[is_member].sum())
    if not shape.is_absolute:
        return p.min_share(name, is_member, min(n_free / float(free.sum()), 1.0))
    least = np.floor(min(n_free, 0.5 * float(stock[is_member].sum())))
    if of_slots is None:
        return p.min_exposure(name, is_member, least)
    return p.min_share(name, is_member, least / of_slots, of=p.SLOTS, n_slots=of_slots)


def _candidates(n_customers: int, n_candidates: int, n_items: int, rng: np.random.Generator) -> np.ndarray:
    weight = (np.arange(1, n_items + 1) ** -0.8).astype("float32")
    rng.shuffle(weight)
    item = np.empty((n_customers, n_candidates), dtype="int32")
    for start in range(0, n_customers, _BLOCK):
        stop = min(start + _BLOCK, n_customers)
        waiting = rng.standard_exponential((stop - start, n_items), dtype="float32") / weight
        item[start:stop] = np.argpartition(waiting, n_candidates, axis=1)[:, :n_candidates]
        item[start:stop].sort(axis=1)
    return item


def _responses(item: np.ndarray, appeal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    response = np.empty(item.shape, dtype="float32")
    for start in range(0, len(item), _BLOCK):
        part = item[start:start + _BLOCK]
        logit = rng.standard_normal(part.shape, dtype="float32") + appeal[part] - 1.5
        logit += 0.5 * rng.standard_normal((len(part), 1), dtype="float32")
        response[start:start + _BLOCK] = 1 / (1 + np.exp(-logit))
    return response

"""Made-up catalogues under shared constraints, for benchmarks: one family, very different from seed to seed.

Popularity, prices and margins have long tails; value is response x margin and promotions cost a share of the price, so
that value and cost are proportional within an item and all its customers sit at one price (the hard case).
"""

from __future__ import annotations

import numpy as np

from reclib.allocation import problem as p
from reclib.allocation.prices import best_slates, no_prices

N_CATEGORIES, K = 25, 5
_BLOCK = 4_096


def make_catalogue(n_customers: int, seed: int, *, n_candidates: int = 100, n_items: int = 2_000) -> p.Problem:
    """Make a problem with stock, a promotion budget, a margin floor, two exposure floors and a category quota.

    Args:
        n_customers: customers; each has `n_candidates` distinct candidates.
        seed: random seed.
        n_candidates: candidates a customer.
        n_items: items in the catalogue.
    """
    rng = np.random.default_rng(seed)
    price = rng.lognormal(2.2, 0.8, n_items)
    rate = np.clip(rng.normal(0.28, 0.12, n_items), -0.05, 0.7)
    category = rng.integers(0, N_CATEGORIES, n_items)
    is_promoted, is_own, is_new = rng.random(n_items) < 0.3, rng.random(n_items) < 0.15, rng.random(n_items) < 0.08
    item = _candidates(n_customers, n_candidates, n_items, rng)
    response = _responses(item, rng.normal(0, 0.6, n_items).astype("float32"), rng)
    value = response * (price * rate + 0.02).astype("float32")[item]
    free = p.Problem(item, value, response, K, np.full(n_items, np.inf), (p.Quota("category", category, 2),))
    slates = best_slates(free, no_prices(free))
    n_shown = slates.placements.sum()
    stock = np.floor(slates.placements * rng.uniform(0.2, 2.0, n_items)) + rng.poisson(2.0, n_items)
    promo = np.where(is_promoted, 0.1 * price, 0.0)
    average = p.added(slates.responses, price * rate) / p.added(slates.responses, price)
    rows = (
        p.budget("promo_budget", promo, 0.5 * float(p.added(promo, slates.responses))),
        p.margin_floor("margin", price, rate, average + 0.01),
        p.min_share("own_brand", is_own, 1.4 * float(slates.placements[is_own].sum() / n_shown)),
        p.min_share("new_items", is_new, 1.5 * float(slates.placements[is_new].sum() / n_shown)),
    )
    return p.Problem(item, value, response, K, stock, free.quotas, rows)


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

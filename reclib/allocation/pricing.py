"""What a rule costs: the bound without it less the bound with it, from a common sample and warm prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.allocation.prices import (
    Ascent,
    Prices,
    Sizes,
    ascend,
    carried,
    typical_sizes,
)
from reclib.allocation.problem import Allocation, Problem
from reclib.allocation.solve import find_prices, prices_of, solve

SAMPLE = 5_000
N_SAMPLE, N_FULL, N_LAST, N_NEAR = 60, 50, 14, 4
FLOOR = 2e-5


@dataclass(frozen=True)
class PriceList:
    """Prices of variants against a base.

    Attributes:
        table: one row a variant: variant, bound, change (its bound less the base's, in the unit of value),
            share (change over the base's bound), resolution (what the last iterations still moved, base and variant
            together, and a fifty-thousandth of the bound) and is_resolved (the change exceeds the resolution).
        bound: the base's bound, to which `share` refers.
        n_evaluations: evaluations of all customers' slates that the list cost.
        n_sample: customers of the common sample; all of them where there are few.
    """

    table: pd.DataFrame
    bound: float
    n_evaluations: float
    n_sample: int


def price_rules(base: Problem, variants: Mapping[str, Problem], *, seed: int = 0,
                start: Allocation | None = None) -> PriceList:
    """Re-solve variants of a problem and report what each changes.

    Leave-one-out: the base has all rules and each variant lacks one; a positive `change` is what the rule costs.
    First-in: the base has no rule and each variant has one; minus `change` is what the rule costs alone.
    Base and variants share the sample, the starting prices and the number of iterations, so their noise cancels.

    Args:
        base: the problem that variants are held against.
        variants: problems over the same customers and items: a row lifted, stock lifted, filtered pairs freed.
        seed: random seed of the sample.
        start: an answer of the base; spares solving for its prices.

    Raises:
        ValueError: a variant has other customers or items.
    """
    for name, variant in variants.items():
        if (variant.n_customers, variant.n_items) != (base.n_customers, base.n_items):
            raise ValueError(f"variant {name!r}: {variant.n_customers} customers and {variant.n_items} items, must be "
                             f"{base.n_customers} and {base.n_items} as in the base.")
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(base.n_customers, min(SAMPLE, base.n_customers), replace=False))
    sizes = typical_sizes(base)
    cost = 0.0
    if start is None:
        first = find_prices(base.of_customers(some), typical_sizes(base.of_customers(some)), rng)
        prices, cost = first.prices, first.n_iterations * len(some) / base.n_customers
    else:
        prices = prices_of(base, start)
    own, n_own = _priced(base, base, prices, some, sizes)
    rows, cost = [], cost + n_own
    for name, variant in variants.items():
        found, n_more = _priced(base, variant, prices, some, sizes)
        rows.append(_price_row(name, found, own))
        cost += n_more
    table = pd.DataFrame(rows, columns=["variant", "bound", "change", "share", "resolution", "is_resolved"])
    return PriceList(table, own[0], cost, len(some))


def confirm_price(base: Problem, variant: Problem, *, seed: int = 0) -> dict[str, float]:
    """Price one variant by the slates themselves: the change in their value, with the range that both gaps leave.

    Returns:
        `change`, and `low` and `high`, between which the change of the two optima lies for certain.
    """
    with_rule, without = solve(base, seed=seed), solve(variant, seed=seed)
    return {"change": without.value - with_rule.value, "low": without.value - with_rule.bound,
            "high": without.bound - with_rule.value}


def _priced(base: Problem, problem: Problem, prices: Prices, some: np.ndarray, sizes: Sizes,
            ) -> tuple[tuple[float, float], float]:
    """Bound of a problem and what the last iterations still took off it, from the base's prices.

    Two descents, and the lower bound counts: a far one, by way of the sample and large steps, for a variant whose prices
    move, and a near one, for a variant that changes next to nothing and would only be led away.
    """
    start = carried(base, prices, problem)
    sizes = sizes if problem is base else typical_sizes(problem)
    share = len(some) / problem.n_customers
    sample = problem.of_customers(some) if share < 1 else problem
    rough = _descend(sample, start, typical_sizes(sample) if share < 1 else sizes, N_SAMPLE, 0.3)
    far = [_descend(problem, rough.prices, sizes, N_FULL, 0.2)]
    far.append(_descend(problem, far[0].prices, sizes, N_LAST, 0.03))
    near = [_descend(problem, start, sizes, N_NEAR, 0.03)]
    near.append(_descend(problem, near[0].prices, sizes, N_NEAR, 0.03))
    before, after = min(far, near, key=lambda descents: descents[-1].bound)
    return (after.bound, before.bound - after.bound), (
        rough.n_iterations * share + sum(descent.n_iterations for descent in (*far, *near)))


def _descend(problem: Problem, start: Prices, sizes: Sizes, n_iterations: int, rate: float) -> Ascent:
    return ascend(problem, start, sizes=sizes, n_iterations=n_iterations, rate=rate, decay=0.05 ** (1 / n_iterations),
                  stall=30)


def _price_row(name: str, found: tuple[float, float], own: tuple[float, float]) -> dict:
    change, resolution = found[0] - own[0], found[1] + own[1] + FLOOR * abs(own[0])
    return {"variant": name, "bound": found[0], "change": change, "share": change / own[0] if own[0] else 0.0,
            "resolution": resolution, "is_resolved": abs(change) > resolution}

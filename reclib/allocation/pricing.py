"""What a rule costs: the bound without it less the bound with it, both from the same warm prices in as many steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.allocation.exact import solve_exact
from reclib.allocation.infeasible import yield_soft
from reclib.allocation.prices import Ascent, Prices, ascend, typical_sizes
from reclib.allocation.problem import Allocation, Problem
from reclib.allocation.solve import EXACT_UP_TO, find_prices, prices_of, solve
from reclib.allocation.warm import warm_start

STAGES = ((60, 0.3), (100, 1.0), (100, 0.05))  # steps, and the first of them as a share of a placement's worth
LAST_STEP = 0.003
STEADY, FLOOR = 4e-3, 5e-5


@dataclass(frozen=True)
class PriceList:
    """Prices of variants against a base.

    Attributes:
        table: one row a variant: variant, bound, change (its bound less the base's, in the unit of value),
            share (change over the base's bound), resolution (what the last third of the last descent took off the bounds
            and what rows that stayed off their limits are worth, base and variant together, and a twenty-thousandth of the
            bound) and is_resolved (the change exceeds it).
        bound: the base's bound, to which `share` refers.
        n_evaluations: evaluations of all customers' slates that the list cost.
    """

    table: pd.DataFrame
    bound: float
    n_evaluations: int


def price_rules(base: Problem, variants: Mapping[str, Problem], *, seed: int = 0,
                start: Allocation | None = None) -> PriceList:
    """Re-solve variants of a problem and report what each changes; soft rows yield in each as they would in `solve`.

    Up to 2,000 pairs whole slates are decided anew; beyond, bounds are compared.

    Leave-one-out: the base has all rules and each variant lacks one; a positive `change` is what the rule costs.
    First-in: the base has no rule and each variant has one; minus `change` is what the rule costs alone.

    Args:
        base: the problem that variants are held against.
        variants: problems over the same customers and items: a row lifted, stock lifted, filtered pairs freed.
        seed: random seed of the search for the base's prices.
        start: an answer of the base; spares solving for its prices.

    Raises:
        ValueError: a variant has other customers or items.
    """
    for name, variant in variants.items():
        if (variant.n_customers, variant.n_items) != (base.n_customers, base.n_items):
            raise ValueError(f"variant {name!r}: {variant.n_customers} customers and {variant.n_items} items, must be "
                             f"{base.n_customers} and {base.n_items} as in the base.")
    base, variants = yield_soft(base, seed=seed)[0], {name: yield_soft(each, seed=seed)[0] for name, each in variants.items()}
    problems = [base, *variants.values()]
    if max(np.isfinite(each.value).sum() for each in problems) <= EXACT_UP_TO:
        bounds, n_evaluations = [_decided(each) for each in problems], 0
    else:
        prices, n_evaluations = (prices_of(base, start), 0) if start else _found(base, seed)
        bounds = [_priced(base, each, prices) for each in problems]
    own, found = bounds[0], dict(zip(variants, bounds[1:]))
    table = pd.DataFrame([_price_row(name, each, own) for name, each in found.items()],
                         columns=["variant", "bound", "change", "share", "resolution", "is_resolved"])
    return PriceList(table, own.bound, n_evaluations + sum(each.n_evaluations for each in bounds))


def confirm_price(base: Problem, variant: Problem, *, seed: int = 0) -> dict[str, float]:
    """Price one variant by the slates themselves: the change in their value, with the range that both gaps leave.

    Returns:
        `change`, and `low` and `high`, between which the change of the two optima lies for certain.
    """
    with_rule, without = solve(base, seed=seed), solve(variant, seed=seed)
    return {"change": without.value - with_rule.value, "low": without.value - with_rule.bound,
            "high": without.bound - with_rule.value}


@dataclass(frozen=True)
class _Bound:
    """Bound of a problem, what may still be taken off it, and evaluations that it cost."""

    bound: float
    late: float
    n_evaluations: int


def _found(base: Problem, seed: int) -> tuple[Prices, int]:
    found = find_prices(base, typical_sizes(base), np.random.default_rng(seed))
    return found.prices, found.n_iterations


def _decided(problem: Problem) -> _Bound:
    """What whole slates are worth, where there are few pairs; what branch and bound left open is late."""
    found = solve_exact(problem)
    return _Bound(found.value, found.bound - found.value, found.n_iterations)


def _priced(base: Problem, problem: Problem, prices: Prices) -> _Bound:
    """Descend in steps from large to small; where a row stays over or under its limit to the end, in wider ones, then in fine.

    Prices of rows that balance one another, as where an item is freed that two floors ask for, lie in a narrow valley: the
    bound falls too slowly there to show that its floor is far. Items tied at one price are left behind by large steps.
    """
    start, n_evaluations = warm_start(base, prices, problem), 4
    for n_steps, rate in STAGES:
        found = _descend(problem, start, n_steps, rate)
        start, n_evaluations = found.prices, n_evaluations + found.n_iterations
        if found.steady <= STEADY * abs(found.bound):
            break
    return _Bound(found.bound, _late(found) + found.steady, n_evaluations)


def _descend(problem: Problem, start: Prices, n_steps: int, rate: float) -> Ascent:
    return ascend(problem, start, sizes=typical_sizes(problem), n_iterations=n_steps, rate=rate,
                  decay=(LAST_STEP / rate) ** (1 / n_steps), stall=n_steps)


def _late(found: Ascent) -> float:
    return found.history[2 * len(found.history) // 3] - found.bound


def _price_row(name: str, found: _Bound, own: _Bound) -> dict:
    change, resolution = found.bound - own.bound, found.late + own.late + FLOOR * abs(own.bound)
    return {"variant": name, "bound": found.bound, "change": change, "share": change / own.bound if own.bound else 0.0,
            "resolution": resolution, "is_resolved": abs(change) > resolution}

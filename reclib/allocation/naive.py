"""The ways that need no solver, to be compared: filter then cut, first come first served, and what is left once legal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.allocation.desk import Desk
from reclib.allocation.prices import as_shown, best_slates, no_prices
from reclib.allocation.problem import Problem, Row, added
from reclib.allocation.recovery import drop_until_met, mend


def top_values(problem: Problem) -> np.ndarray:
    """Filter then cut: every customer's best slate by value, as if there were no shared limit."""
    return as_shown(problem, best_slates(problem, no_prices(problem), keep=True).column)


def first_come(problem: Problem) -> np.ndarray:
    """First come, first served: customer after customer takes the best that stock and budgets still allow."""
    shown = np.zeros(problem.item.shape, dtype=bool)
    left, budgets = problem.stock.tolist(), [row for row in problem.rows if row.kind == "budget"]
    purse = [row.limit for row in budgets]
    for customer, (items, values) in enumerate(zip(problem.item, problem.value)):
        best = np.argsort(-values, kind="stable")[:np.count_nonzero(values > 0)]
        costs = [_costs(row, problem, customer, best) for row in budgets]
        groups = [quota.group[items[best]].tolist() for quota in problem.quotas]
        taken, counts = 0, [{} for _ in problem.quotas]
        for place, (column, code) in enumerate(zip(best.tolist(), items[best].tolist())):
            is_full = any(group[place] >= 0 and count.get(group[place], 0) >= quota.limit
                          for group, count, quota in zip(groups, counts, problem.quotas))
            if is_full or left[code] < 1 or any(cost[place] > money for cost, money in zip(costs, purse)):
                continue
            shown[customer, column], taken, left[code] = True, taken + 1, left[code] - 1
            purse = [money - cost[place] for cost, money in zip(costs, purse)]
            for group, count in zip(groups, counts):
                count[group[place]] = count.get(group[place], 0) + 1
            if taken == problem.k:
                break
    return shown


def made_legal(problem: Problem, shown: np.ndarray, *, n_rounds: int = 60) -> np.ndarray:
    """Drop placements until every row holds: in small steps, least value first for what it gives to all broken rows."""
    desk = Desk(problem, no_prices(problem), shown.copy())
    scale = np.maximum(np.abs(desk.limit), desk.excess) + desk.slop
    for _ in range(n_rounds):
        need = desk.excess / scale
        if not need.any():
            break
        customer, column = np.nonzero(desk.shown)
        given = added(desk.row_changes(customer, column), need / scale)
        at = np.flatnonzero(given > 0)
        at = at[np.argsort(problem.value[customer[at], column[at]] / given[at], kind="stable")]
        at = at[:max(len(customer) // 50, 1)]
        desk.drop(customer[at], column[at])
    drop_until_met(desk)
    return desk.shown


def mended(problem: Problem, shown: np.ndarray) -> np.ndarray:
    """Make slates legal by the swaps that prices use, without any price: the strongest way that needs no solver."""
    desk = Desk(problem, no_prices(problem), shown.copy())
    mend(desk, np.random.default_rng(0))
    return desk.shown


def audited(problem: Problem, shown: np.ndarray) -> dict[str, float]:
    """Hold slates against the raw tables in SQL and double precision, apart from all code that decides.

    Returns:
        value, over_stock (placements), over_slate (slates too long, with an item twice or over a quota), rows_broken
        (beyond a billionth of what they add up) and fill_rate.
    """
    import duckdb

    customer = np.nonzero(shown)[0]
    pairs = pd.DataFrame({"customer": customer, "item": problem.item[shown], "value": problem.value[shown].astype("float64"),
                          "response": 0.0 if problem.response is None else problem.response[shown].astype("float64")})
    items = pd.DataFrame({"item": np.arange(problem.n_items), "stock": problem.stock}
                         | {f"group_{at}": quota.group for at, quota in enumerate(problem.quotas)}
                         | {f"answer_{at}": 0.0 if row.per_response is None else row.per_response for at, row in enumerate(problem.rows)}
                         | {f"place_{at}": 0.0 if row.per_placement is None else row.per_placement for at, row in enumerate(problem.rows)})
    with duckdb.connect() as engine:
        engine.execute("SET enable_progress_bar = false")
        engine.register("pairs", pairs)
        engine.register("items", items)

        return {"value": _asked(engine, "SELECT fsum(value) FROM pairs"),
                "over_stock": _asked(engine, "SELECT sum(greatest(n - stock, 0)) FROM items JOIN "
                                             "(SELECT item, count(*) AS n FROM pairs GROUP BY item) USING (item)"),
                "over_slate": _asked(engine, "SELECT count(*) FROM (SELECT customer FROM pairs GROUP BY customer "
                                             f"HAVING count(*) > {problem.k} OR count(DISTINCT item) < count(*))")
                + sum(_asked(engine, f"SELECT count(*) FROM (SELECT customer FROM pairs JOIN items USING (item) WHERE group_{at} >= 0 "
                                     f"GROUP BY customer, group_{at} HAVING count(*) > {quota.limit})")
                      for at, quota in enumerate(problem.quotas)),
                "rows_broken": sum(_asked(engine, f"SELECT fsum(use) > {float(row.limit)!r} + 1e-9 * (fsum(abs(use)) + 1) FROM (SELECT "
                                                  f"response * answer_{at} + place_{at} AS use FROM pairs JOIN items USING (item))")
                                   for at, row in enumerate(problem.rows) if np.isfinite(row.limit)),
                "fill_rate": len(pairs) / max(problem.n_slots, 1)}


def _asked(engine, question: str) -> float:
    return float(engine.execute(question).fetchone()[0] or 0.0)


def _costs(row: Row, problem: Problem, customer: int, column: np.ndarray) -> list[float]:
    item = problem.item[customer, column]
    cost = np.zeros(len(item)) if row.per_placement is None else row.per_placement[item]
    return (cost if row.per_response is None else cost + row.per_response[item] * problem.response[customer, column]).tolist()

"""Where each pair ends: shown, or the one state and the one rule that kept it out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reclib.rules.kinds import Stock
from reclib.rules.plan import Case, Plan


def reduced(case: Case, plan: Plan) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What the shared limits take from each pair, in all and by rule: price x what the pair uses of the limit."""
    parts = {}
    item = case.pairs.item
    stock = [rule.id for rule in case.live(plan.policy) if isinstance(rule, Stock) and rule.placements_per_unit]
    if stock:
        parts[stock[0]] = plan.found.item_prices[item]
    for row in plan.problem.rows:
        price = plan.found.row_prices.get(row.name, 0.0)
        if price > 0:
            use = (0.0 if row.per_response is None else row.per_response[item] * plan.p_response) + (
                0.0 if row.per_placement is None else row.per_placement[item])
            parts[row.name] = price * use
    total = sum(parts.values(), np.zeros(len(item)))
    return total, parts


def end_states(case: Case, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """The one state that each pair ends in, and the rule that kept an allowed pair out."""
    number, is_open, is_shown = case.number, plan.is_ranked & (plan.first < 0), plan.position > 0
    price, parts = reduced(case, plan)
    net = plan.score - price
    cut, raw_cut = cuts(case, plan, net), cuts(case, plan, plan.score)
    could = is_open & ~is_shown & (plan.score > 0) & (plan.score + plan.penalty > raw_cut)
    blame = np.full(len(net), -1)
    state = np.where(is_open, "below_cut", np.where(plan.is_ranked, "filtered", "")).astype(object)
    dearest = _dearest(parts, number, len(net))
    lost = could & (net <= cut) & (dearest >= 0)
    blame[lost], state[lost] = dearest[lost], "lost_to_allocation"
    for rule_id, is_full in _full_quotas(case, plan, is_shown):
        capped = could & (net > cut) & is_full & (state != "capped")
        blame[capped], state[capped] = number[rule_id], "capped"
    pushed = could & (state == "below_cut") & (plan.penalty > 0) & (plan.score <= raw_cut)
    if pushed.any():
        blame[pushed], state[pushed] = _dearest(plan.taken, number, len(net))[pushed], "capped"
    rest = could & (state == "below_cut") & (plan.score > raw_cut)
    blame[rest], state[rest] = _tightest(plan, parts, number), "lost_to_allocation"
    state[is_shown] = "shown"
    return state, blame


def cuts(case: Case, plan: Plan, score: np.ndarray) -> np.ndarray:
    """The score of each customer's last unpinned slot, 0 where the slate has room; one entry a pair."""
    n = len(case.world.customers)
    is_shown = plan.position > 0
    lowest = np.full(n, np.inf)
    counted = is_shown & ~plan.is_pinned
    np.minimum.at(lowest, case.pairs.customer[counted], score[counted])
    has_room = np.bincount(case.pairs.customer[is_shown], minlength=n) < case.k
    return np.where(has_room, 0.0, lowest)[case.pairs.customer]


def _dearest(parts: dict[str, np.ndarray], number: dict[str, int], n: int) -> np.ndarray:
    best, blame = np.zeros(n), np.full(n, -1)
    for rule_id, part in parts.items():
        better = part > best
        best[better], blame[better] = part[better], number[rule_id]
    return blame


def _full_quotas(case: Case, plan: Plan, is_shown: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for quota in plan.problem.quotas:
        group = np.asarray(quota.group)[case.pairs.item]
        n_groups = int(np.max(quota.group, initial=-1)) + 1
        cell = case.pairs.customer.astype("int64") * (n_groups + 1) + np.where(group < 0, n_groups, group)
        used = np.bincount(cell[is_shown], minlength=len(case.world.customers) * (n_groups + 1))
        yield quota.name, (group >= 0) & (used[cell] >= quota.limit)


def _tightest(plan: Plan, parts: dict[str, np.ndarray], number: dict[str, int]) -> int:
    """The rule to name where whole units, not prices, kept a pair out."""
    if parts:
        return number[next(iter(parts))]
    rows = plan.found.rows
    return number[rows.loc[rows["slack"].idxmin(), "name"]] if len(rows) else -1

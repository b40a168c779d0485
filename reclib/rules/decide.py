"""Decide: filters, then levers, then slates for all customers at once under what they share.

The precedence is fixed: policy, safety, eligibility, applicability, suitability, block, stock, margin, frequency,
suppression; then pins, slate quotas, diversity, shared limits, boosts, and last the score. A pin or a boost never
resurrects a filtered pair, and filters hold for every source, the fallback's and the pinned pairs included.

Each policy is decided for all customers with the whole stock and the whole budget, as if it served them alone. An
experiment that gives each policy its part of the customers uses about that part of each limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from reclib.allocation import problem as allocation
from reclib.allocation.solve import solve
from reclib.rules import filters, slates
from reclib.rules.conditions import hold
from reclib.rules.pairs import Pairs, World, level
from reclib.rules.register import (Boost, Budget, Diversity, MarginFloor, MinExposure, Pin, Rule, SlateQuota, Stock)

FILL = 1e-6
PIN_BONUS = 3.0
MMR_EXTRA = 8
STATES = ("filtered", "capped", "lost_to_allocation", "below_cut", "shown")


@dataclass(frozen=True)
class Case:
    """All pairs that some policy ranks or some pin asks for, and what each rule would refuse.

    Attributes:
        world: what rules may know.
        rules: rules in force, in order of precedence, shadow ones included.
        skipped: rule_id -> why it is not in force.
        pairs: unique pairs, sorted by customer and item.
        refused: rule_id -> mark of the pairs that a row rule would refuse, whatever the others do.
        pins: rule_id -> mark of the pairs that a pin asks for.
        k: slots in a slate.
    """

    world: World
    rules: list[Rule]
    skipped: dict[str, str]
    pairs: Pairs
    refused: dict[str, np.ndarray]
    pins: dict[str, np.ndarray]
    k: int
    levers: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def key(self) -> np.ndarray:
        """One sorted number a pair."""
        return self.pairs.customer.astype("int64") * len(self.world.items) + self.pairs.item

    def live(self, policy: str) -> list[Rule]:
        """Rules that are enforced for a policy."""
        return [rule for rule in self.rules if rule.status == "live" and _concerns(rule, policy)]


@dataclass(frozen=True)
class Plan:
    """What was decided for one policy, one entry a pair of the case.

    Attributes:
        policy: name.
        is_ranked: the policy ranks the pair, or a pin brought it in.
        rank, priority, p_response, money: as ranked; `money` is p_response x value.
        first: number (in the case's rules) of the first rule that refused the pair, else -1.
        score: what was maximised: the priority after boosts and diversity, without the bonus of pins.
        penalty: what diversity took from the score.
        position: slot from 1, else 0.
        state: one of `STATES`, "" where not ranked.
        blame: number of the rule that kept an allowed pair out, else -1.
        problem: what was allocated.
        found: the allocation.
        is_pinned: shown in the slot that a pin asked for.
        relaxed: soft row rules that yielded, with the number of customers for whom they did.
        yielded: mark of the pairs that are allowed because a soft rule yielded.
        is_added: mark of the pairs that only a pin brought in: they rank last and are worth nothing.
        bonus: what the problem adds to the value of pinned pairs so that they come first.
    """

    policy: str
    is_ranked: np.ndarray
    rank: np.ndarray
    priority: np.ndarray
    p_response: np.ndarray
    money: np.ndarray
    first: np.ndarray
    score: np.ndarray
    penalty: np.ndarray
    position: np.ndarray
    state: np.ndarray
    blame: np.ndarray
    problem: allocation.Problem
    found: allocation.Allocation
    is_pinned: np.ndarray
    relaxed: dict[str, int]
    yielded: np.ndarray
    is_added: np.ndarray
    bonus: float

    @property
    def value(self) -> float:
        """Sum of the scores shown, in the unit of the policy's priority."""
        return float(np.round(self.score[self.position > 0], 6).sum())


def prepare(ranked: pd.DataFrame, rules: list[Rule], world: World, *, k: int) -> Case:
    """Hold every row rule against every pair, once for all policies.

    Args:
        ranked: the `ranked` table.
        rules: the register.
        world: made by `pairs.build` of the same customers.
        k: slots in a slate.
    """
    in_force, skipped = filters.applicable(rules, world)
    customer, item = world.code_customers(ranked["customer_id"]), world.code_items(ranked["item_id"])
    n_items = len(world.items)
    keys = np.unique(customer.astype("int64") * n_items + item)
    pinned = {rule.id: _pin_keys(rule, world) for rule in in_force if isinstance(rule, Pin)}
    keys = np.unique(np.concatenate([keys, *pinned.values()])) if pinned else keys
    pairs = Pairs(world, keys // max(n_items, 1), keys % max(n_items, 1))
    refused = {rule.id: filters.refusals(rule, pairs) for rule in in_force if filters.is_row_rule(rule)}
    levers = {rule.id: _lever(rule, pairs) for rule in in_force if isinstance(rule, Boost)}
    return Case(world, in_force, skipped, pairs, refused, {name: np.isin(keys, own) for name, own in pinned.items()}, k,
                levers)


def decide(ranked: pd.DataFrame, case: Case, *, policies: list[str] | None = None, seed: int = 0,
           method: str = "auto") -> dict[str, Plan]:
    """Decide every policy of `ranked` under the same rules.

    Args:
        ranked: the `ranked` table that the case was prepared with.
        case: made by `prepare`.
        policies: which to decide; all where missing.
        seed: random seed of the allocation.
        method: of the allocation, see `allocation.solve`.

    Raises:
        InfeasibleError: hard shared rules contradict one another; the sentence names them.
    """
    wanted = policies if policies is not None else sorted(ranked["policy"].unique())
    plans = {}
    for policy in wanted:
        draft = draft_of(ranked[ranked["policy"] == policy], case, policy)
        plans[policy] = settle(case, draft, allocate(draft.problem, seed=seed, method=method))
    return plans


def draft_of(ranked: pd.DataFrame, case: Case, policy: str, *, without: str | None = None,
             columns: dict[str, np.ndarray] | None = None) -> Plan:
    """Everything of a plan but the slates: filters, levers, penalties and the problem to allocate.

    Args:
        ranked: rows of one policy.
        case: made by `prepare`.
        policy: its name.
        without: a rule to leave out.
        columns: what `aligned` made of the same rows, where many drafts are made of them.
    """
    rules = [rule for rule in case.live(policy) if rule.id != without]
    columns = dict(aligned(ranked, case) if columns is None else columns)
    by_ranking = columns.pop("is_ranked")
    is_ranked = by_ranking | _any(case, [rule for rule in rules if isinstance(rule, Pin)])
    first = _first_refusal(case, rules, is_ranked)
    first, relaxed, yielded = _relax(case, rules, is_ranked, first)
    is_open = is_ranked & (first < 0)
    score = np.round(columns["priority"] * _times(case, rules), 6)
    score = np.where(is_open, np.where(score >= 0, score + FILL, score), -np.inf)
    penalty = _penalty(case, rules, score)
    score = np.where(is_open, np.round(score - penalty, 9), -np.inf)
    bonus = PIN_BONUS * float(np.max(score[np.isfinite(score)], initial=1.0))
    problem = _problem(case, rules, score, columns["p_response"], bonus)
    empty = np.zeros(len(first), dtype="int64")
    return Plan(policy=policy, is_ranked=is_ranked, first=first, score=score, penalty=penalty, position=empty,
                state=np.full(len(first), "", dtype=object), blame=empty - 1, problem=problem, found=None,
                is_pinned=empty > 0, relaxed=relaxed, yielded=yielded, is_added=is_ranked & ~by_ranking,
                bonus=bonus, **columns)


def allocate(problem: allocation.Problem, *, seed: int = 0, method: str = "auto") -> allocation.Allocation:
    """Solve a problem; where the best slates of each customer by itself hold all shared limits, they are the answer."""
    position = slates.greedy(problem.item, problem.value, problem.quotas, problem.k)
    if len(problem.quotas) < 2 and _holds(problem, position > 0):
        return _by_itself(problem, position)
    if not len(problem.rows) and np.isinf(problem.stock).all():
        return _by_itself(problem, position)
    return solve(problem, method=method, seed=seed)


def settle(case: Case, draft: Plan, found: allocation.Allocation) -> Plan:
    """Complete a draft with its slates: slots, pins, and the one state that each pair ends in."""
    rules = case.live(draft.policy)
    wanted = wanted_slots(case, rules)
    table = np.zeros(draft.problem.item.shape, dtype="int64")
    table[draft.problem.pair_row, draft.problem.pair_column] = wanted
    position = draft.problem.of_pairs(slates.place_pins(found.position.astype("int64"), table))
    plan = replace(draft, position=position, found=found, is_pinned=(position > 0) & (wanted > 0))
    return replace(plan, **dict(zip(("state", "blame"), _states(case, plan, rules))))


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


def _concerns(rule: Rule, policy: str) -> bool:
    return rule.policies is None or policy in rule.policies


def aligned(ranked: pd.DataFrame, case: Case) -> dict[str, np.ndarray]:
    """Columns of one policy's ranking in the order of the case's pairs; pairs that it lacks rank last, worth nothing."""
    key = case.world.code_customers(ranked["customer_id"]).astype("int64") * len(case.world.items)
    at = np.searchsorted(case.key, key + case.world.code_items(ranked["item_id"]))
    n = len(case.pairs)
    made = {name: np.zeros(n) for name in ("priority", "p_response", "money")}
    p, value = ranked["p_response"].to_numpy("float64"), ranked["value"].to_numpy("float64")
    for name, numbers in (("priority", ranked["priority"].to_numpy("float64")), ("p_response", p),
                          ("money", np.round(p * value, 6))):
        made[name][at] = np.nan_to_num(numbers)
    is_ranked, rank = np.zeros(n, dtype=bool), np.zeros(n, dtype="int64")
    is_ranked[at], rank[at] = True, ranked["rank"].to_numpy()
    last = np.zeros(len(case.world.customers), dtype="int64")
    np.maximum.at(last, case.pairs.customer, rank)
    lacking = np.where(is_ranked, 0, 1)
    after = pd.Series(lacking).groupby(case.pairs.customer).cumsum().to_numpy()
    return made | {"rank": np.where(is_ranked, rank, last[case.pairs.customer] + after), "is_ranked": is_ranked}


def _first_refusal(case: Case, rules: list[Rule], is_ranked: np.ndarray) -> np.ndarray:
    number = {rule.id: place for place, rule in enumerate(case.rules)}
    first = np.full(len(is_ranked), -1)
    for rule in reversed([rule for rule in rules if rule.id in case.refused]):
        first[case.refused[rule.id] & is_ranked] = number[rule.id]
    return first


def _relax(case: Case, rules: list[Rule], is_ranked: np.ndarray,
           first: np.ndarray) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """Let soft row rules yield, in their declared order, for customers who could be shown nothing at all."""
    soft = sorted((rule for rule in rules if rule.id in case.refused and not rule.is_hard), key=lambda rule: rule.yields)
    relaxed, yielded = {}, np.zeros(len(first), dtype=bool)
    n = len(case.world.customers)
    kept = list(rules)
    for rule in soft:
        starved = np.bincount(case.pairs.customer[is_ranked & (first < 0)], minlength=n) == 0
        if not starved.any():
            break
        kept = [other for other in kept if other.id != rule.id]
        again = _first_refusal(case, kept, is_ranked)
        freed = starved[case.pairs.customer] & (again < 0) & (first >= 0)
        first = np.where(starved[case.pairs.customer], again, first)
        yielded |= freed
        if freed.any():
            relaxed[rule.id] = len(np.unique(case.pairs.customer[freed]))
    return first, relaxed, yielded


def _any(case: Case, pins: list[Pin]) -> np.ndarray:
    return np.logical_or.reduce([np.zeros(len(case.pairs), dtype=bool), *(case.pins[rule.id] for rule in pins)])


def _pin_keys(rule: Pin, world: World) -> np.ndarray:
    code = filters.item_code(world, rule.item_id)
    if code < 0:
        return np.zeros(0, dtype="int64")
    everyone = Pairs(world, np.arange(len(world.customers)), np.full(len(world.customers), code))
    wanted = np.ones(len(everyone), dtype=bool) if rule.when is None else hold(rule.when, everyone.column).is_true
    return np.flatnonzero(wanted).astype("int64") * len(world.items) + code


def wanted_slots(case: Case, rules: list[Rule]) -> np.ndarray:
    """The slot that a live pin asks for, one entry a pair; 0 where none does, the first pin wins."""
    wanted = np.zeros(len(case.pairs), dtype="int64")
    for rule in reversed([rule for rule in rules if isinstance(rule, Pin)]):
        wanted[case.pins[rule.id]] = rule.position
    return wanted


def _lever(rule: Boost, pairs: Pairs) -> np.ndarray:
    held = hold(rule.when, pairs.column)
    concerned = held.is_true if rule.on_missing == "allow" else ~held.is_false
    return np.where(concerned, rule.times, 1.0)


def _times(case: Case, rules: list[Rule]) -> np.ndarray:
    """The lever of each pair: the largest boost, times the smallest of those below one."""
    own = [case.levers[rule.id] for rule in rules if isinstance(rule, Boost)]
    if not own:
        return np.ones(len(case.pairs))
    stacked = np.stack([np.ones(len(case.pairs)), *own])
    return stacked.max(axis=0) * stacked.min(axis=0)


def _penalty(case: Case, rules: list[Rule], score: np.ndarray) -> np.ndarray:
    mmr = [rule for rule in rules if isinstance(rule, Diversity) and rule.method == "mmr" and rule.weight > 0]
    if not mmr or not len(score):
        return np.zeros(len(score))
    framed = allocation.from_pairs(case.pairs.customer, case.pairs.item, score, k=case.k,
                                   n_customers=len(case.world.customers), n_items=len(case.world.items))
    total = np.zeros(framed.item.shape)
    for rule in mmr:
        features = np.column_stack([groups(case.world, name) for name in rule.fields])
        total += slates.mmr_penalty(framed.item, framed.value, features, weight=rule.weight, depth=case.k + MMR_EXTRA)
    return np.round(framed.of_pairs(total), 6)


def groups(world: World, name: str) -> np.ndarray:
    """Codes of an item field's values; -1 where missing."""
    values, codes = level(world, name)
    if codes != "item":
        raise ValueError(f"field {name!r} belongs to customers; quotas and diversity need a field of items.")
    return pd.factorize(values, sort=True)[0]


def members(world: World, condition: object) -> np.ndarray:
    """Items for which a condition on item fields is known to hold."""
    if condition is None:
        return np.ones(len(world.items), dtype=bool)
    return hold(condition, lambda name: _item_level(world, name)).is_true


def _item_level(world: World, name: str) -> pd.Series:
    values, codes = level(world, name)
    if codes != "item":
        raise ValueError(f"field {name!r} belongs to customers; a shared rule needs fields of items.")
    return values


def _problem(case: Case, rules: list[Rule], score: np.ndarray, p_response: np.ndarray,
             bonus: float) -> allocation.Problem:
    wanted = wanted_slots(case, rules)
    value = np.where((wanted > 0) & np.isfinite(score), score + bonus, score)
    n_slots = len(case.world.customers) * case.k
    return allocation.from_pairs(
        case.pairs.customer, case.pairs.item, value, k=case.k, n_customers=len(case.world.customers),
        n_items=len(case.world.items), response=p_response, stock=_capacity(case, rules),
        quotas=tuple(quota for rule in rules if (quota := quota_of(case.world, rule))),
        rows=tuple(row for rule in rules if (row := _row(case.world, rule, n_slots))))


def _capacity(case: Case, rules: list[Rule]) -> np.ndarray:
    """Placements that each item's stock bears."""
    capacity = np.full(len(case.world.items), np.inf)
    for rule in rules:
        if isinstance(rule, Stock) and rule.placements_per_unit:
            units = _item_level(case.world, rule.field).to_numpy("float64", na_value=np.nan)
            own = np.floor(np.maximum(units, 0) * rule.placements_per_unit)
            capacity = np.fmin(capacity, own)
    return capacity


def quota_of(world: World, rule: Rule) -> allocation.Quota | None:
    """The quota that a rule sets within a slate, or None where it sets none."""
    if isinstance(rule, SlateQuota):
        group = np.where(members(world, rule.when), groups(world, rule.field), -1)
        return allocation.Quota(rule.id, group, rule.max)
    if isinstance(rule, Diversity) and rule.method == "max_similar":
        codes = pd.DataFrame({name: groups(world, name) for name in rule.fields})
        group = codes.groupby(rule.fields).ngroup().to_numpy()
        return allocation.Quota(rule.id, np.where((codes < 0).any(axis=1), -1, group), rule.max)
    return None


def _row(world: World, rule: Rule, n_slots: int) -> allocation.Row | None:
    options = {"is_hard": rule.is_hard, "yields": rule.yields}
    if isinstance(rule, Budget):
        return allocation.budget(rule.id, _cost(world, rule), rule.max, per=rule.per, **options)
    if isinstance(rule, MarginFloor) and rule.over == "all":
        price = _item_level(world, "price").fillna(0.0).to_numpy("float64")
        rate = _item_level(world, "margin_rate")
        rate = rate.fillna(rate.min() if rule.on_missing == "block" and rate.notna().any() else rule.min)
        return allocation.margin_floor(rule.id, price, rate.to_numpy("float64"), rule.min, **options)
    if isinstance(rule, MinExposure):
        is_member = members(world, rule.when)
        if rule.placements is not None:
            return allocation.min_exposure(rule.id, is_member, rule.placements, **options)
        return allocation.min_share(rule.id, is_member, rule.share, of=rule.of, n_slots=n_slots, **options)
    return None


def _cost(world: World, rule: Budget) -> np.ndarray:
    """What each item costs; a missing cost counts as the dearest known one where missing data blocks, else as nothing."""
    is_member = members(world, rule.when)
    if rule.cost is None:
        return np.where(is_member, rule.times, 0.0)
    cost = _item_level(world, rule.cost).astype("float64")
    cost = cost.fillna(cost.max() if rule.on_missing == "block" and cost.notna().any() else 0.0)
    return np.where(is_member, cost * rule.times, 0.0)


def _holds(problem: allocation.Problem, is_shown: np.ndarray) -> bool:
    used = np.bincount(problem.item[is_shown], minlength=problem.n_items)
    if (used > np.floor(problem.stock)).any():
        return False
    limits = np.array([row.limit for row in problem.rows])
    return bool((allocation.usage(problem, is_shown) <= limits).all())


def _by_itself(problem: allocation.Problem, position: np.ndarray) -> allocation.Allocation:
    is_shown = position > 0
    value = float(problem.value[is_shown].sum())
    prices = np.zeros(len(problem.rows))
    return allocation.Allocation(
        position=position, value=value, bound=value, item_prices=np.zeros(problem.n_items),
        row_prices=dict.fromkeys(problem.row_names, 0.0),
        rows=allocation.row_table(problem, allocation.usage(problem, is_shown), prices),
        fill_rate=float(is_shown.sum()) / max(problem.n_slots, 1), method="by itself", n_iterations=1)


def _states(case: Case, plan: Plan, rules: list[Rule]) -> tuple[np.ndarray, np.ndarray]:
    """The one state that each pair ends in, and the rule that kept an allowed pair out."""
    number = {rule.id: place for place, rule in enumerate(case.rules)}
    is_open, is_shown = plan.is_ranked & (plan.first < 0), plan.position > 0
    price, parts = reduced(case, plan)
    net = plan.score - price
    cut, raw_cut = _cuts(case, plan, net), _cuts(case, plan, plan.score)
    could = is_open & ~is_shown & (plan.score > 0) & (plan.score + plan.penalty > raw_cut)
    blame = np.full(len(net), -1)
    state = np.where(is_open, "below_cut", np.where(plan.is_ranked, "filtered", "")).astype(object)
    dearest = _dearest(parts, number, len(net))
    lost = could & (net <= cut) & (dearest >= 0)
    blame[lost], state[lost] = dearest[lost], "lost_to_allocation"
    for rule_id, is_full in _full_quotas(case, plan, is_shown):
        capped = could & (net > cut) & is_full & (state != "capped")
        blame[capped], state[capped] = number[rule_id], "capped"
    diverse = [number[rule.id] for rule in rules if isinstance(rule, Diversity) and rule.method == "mmr"]
    pushed = could & (state == "below_cut") & (plan.penalty > 0) & (plan.score <= raw_cut)
    if diverse:
        blame[pushed], state[pushed] = diverse[0], "capped"
    rest = could & (state == "below_cut") & (plan.score > raw_cut)
    blame[rest], state[rest] = _tightest(plan, parts, number), "lost_to_allocation"
    state[is_shown] = "shown"
    return state, blame


def _cuts(case: Case, plan: Plan, score: np.ndarray) -> np.ndarray:
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


def _full_quotas(case: Case, plan: Plan, is_shown: np.ndarray):
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

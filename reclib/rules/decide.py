"""Decide: filters, then levers, then slates for all customers at once under what they share.

The precedence is fixed: policy, safety, eligibility, applicability, suitability, block, stock, margin, frequency,
suppression, quiet hours; then pins, slate quotas, diversity, shared limits, boosts, and last the score. A pin or a boost
never resurrects a filtered pair, and filters hold for every source, the fallback's and the pinned pairs included.

Each policy is decided for all customers with the whole stock and the whole budget, as if it served them alone. An
experiment that gives each policy its part of the customers uses about that part of each limit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from reclib.allocation import problem as allocation
from reclib.allocation.crossing import families
from reclib.allocation.prices import groups_of
from reclib.allocation.problem import InfeasibleError
from reclib.rules import controls, filters, slates
from reclib.rules.conditions import hold
from reclib.rules.fields import distinct, n_distinct
from reclib.rules.kinds import Boost, Pin, Rule
from reclib.rules.pairs import Pairs, World
from reclib.rules.plan import Case, Plan
from reclib.rules.shared import capacity, quota_of, row_of
from reclib.rules.states import end_states

FILL = 1e-6
PIN_BONUS = 3.0


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
    for name, codes in (("customer_id", customer), ("item_id", item)):
        if (codes < 0).any():
            raise ValueError(f"prepare: {name} {ranked[name].iloc[int(codes.argmin())]!r} is ranked, but the world was built without it.")
    n_items = len(world.items)
    pinned = {rule.id: _pin_keys(rule, world) for rule in in_force if isinstance(rule, Pin)}
    keys = distinct(np.concatenate([Pairs(world, customer, item).key, *pinned.values()]))
    pairs = Pairs(world, keys // max(n_items, 1), keys % max(n_items, 1))
    refused = {rule.id: filters.refusals(rule, pairs) for rule in in_force if filters.is_row_rule(rule)}
    levers = {rule.id: _lever(rule, pairs) for rule in in_force if isinstance(rule, Boost)}
    return Case(world, in_force, skipped, pairs, refused, {name: np.isin(keys, own) for name, own in pinned.items()}, k,
                levers, tuple(sorted(ranked["policy"].unique())))


def decide(ranked: pd.DataFrame, case: Case, *, policies: list[str] | None = None, seed: int = 0,
           method: str = "auto", start: Plan | None = None) -> dict[str, Plan]:
    """Decide every policy of `ranked` under the same rules.

    Args:
        ranked: the `ranked` table that the case was prepared with.
        case: made by `prepare`.
        policies: which to decide; all where missing.
        seed: random seed of the allocation.
        method: of the allocation, see `allocation.solve`.
        start: a plan of the same world under other rules; its prices are where the search begins.

    Raises:
        InfeasibleError: hard shared rules contradict one another; the sentence names them.
    """
    wanted = policies if policies is not None else sorted(ranked["policy"].unique())
    plans = {}
    for policy in wanted:
        draft = possible(aligned(ranked[(ranked["policy"] == policy).to_numpy()], case), case, policy, seed=seed)
        plans[policy] = settle(case, draft, allocate(draft.problem, seed=seed, method=method, start=start))
    return plans


def possible(columns: dict[str, np.ndarray], case: Case, policy: str, *, seed: int = 0) -> Plan:
    """The draft under which the hard shared limits can hold: where they cannot, soft rules yield in their declared order.

    Then, last first, every rule that yielded is held again if the others leave it room. Soft shared limits yield by no more
    than they must when slates are allocated.

    Raises:
        InfeasibleError: hard rules contradict one another; the sentence names a smallest set of them.
    """
    from reclib.allocation.infeasible import can_hold, explain_infeasible

    def draft(lifted: list[Rule]) -> Plan:
        return draft_of(columns, case, policy, lifted=tuple(rule.id for rule in lifted))

    def holds(lifted: list[Rule]) -> bool:
        return can_hold(draft(lifted).problem, seed=seed)

    whole, lifted = draft([]), []
    if can_hold(whole.problem, seed=seed):
        return whole
    limiting = [rule for rule in case.live(policy) if not rule.is_lever]
    for rule in sorted((rule for rule in limiting if not rule.is_hard), key=lambda rule: rule.yields):
        lifted.append(rule)
        if holds(lifted):
            break
    else:
        conflict = list(lifted)
        for rule in (rule for rule in limiting if rule.is_hard):
            conflict += [] if holds([*conflict, rule]) else [rule]
        found = explain_infeasible(draft(lifted).problem, seed=seed)
        found = replace(found, conflict=tuple(rule.id for rule in limiting if rule not in conflict))
        raise InfeasibleError(found.sentence(), found.misses)
    for rule in reversed(list(lifted)):
        rest = [other for other in lifted if other is not rule]
        lifted = rest if holds(rest) else lifted
    return draft([rule for rule in lifted if rule.id in case.refused or quota_of(case.world, rule)])


def draft_of(columns: dict[str, np.ndarray], case: Case, policy: str, *, lifted: tuple[str, ...] = ()) -> Plan:
    """Everything of a plan but the slates: filters, levers, controls and the problem to allocate.

    Args:
        columns: what `aligned` made of the policy's ranking.
        case: made by `prepare`; with some of its rules, what is decided without the others.
        policy: its name.
        lifted: rules that do not hold for anybody.
    """
    rules, by_ranking = [rule for rule in case.live(policy) if rule.id not in lifted], columns["is_ranked"]
    is_ranked = by_ranking | (wanted_slots(case, rules)[0] > 0)
    first = _yielded(case, rules, is_ranked, _first_refusal(case, rules, is_ranked))
    is_open = is_ranked & (first < 0)
    yielded = is_open & (_first_refusal(case, case.live(policy), is_ranked) >= 0)
    score = np.round(columns["priority"] * _times(case, rules), 6)
    score = np.where(is_open, np.where(score >= 0, score + FILL, score), -np.inf)
    taken = controls.taken(rules, case.pairs, score, k=case.k)
    score = np.where(is_open, np.round(score - sum(taken.values(), np.zeros(len(score))), 9), -np.inf)
    bonus = PIN_BONUS * float(np.max(score[np.isfinite(score)], initial=1.0))
    problem = _problem(case, rules, score, columns["p_response"], bonus)
    empty = np.zeros(len(first), dtype="int64")
    return Plan(**columns | {"is_ranked": is_ranked}, policy=policy, first=first, score=score, taken=taken, position=empty,
                state=np.full(len(first), "", dtype=object), blame=empty - 1, problem=problem, found=None,
                is_pinned=empty > 0, lifted=lifted, relaxed=_relaxed(case, policy, yielded, lifted), yielded=yielded,
                is_added=is_ranked & ~by_ranking, bonus=bonus)


def allocate(problem: allocation.Problem, *, seed: int = 0, method: str = "auto",
             start: Plan | None = None) -> allocation.Allocation:
    """Solve a problem; where the best slates of each customer by itself hold all shared limits, they are the answer."""
    from reclib.allocation.solve import solve

    position = slates.greedy(problem.item, problem.value, problem.quotas, problem.k)
    if len(families(groups_of(problem))) < 2 and allocation.holds(problem, position > 0):
        return allocation.answer(problem, position > 0, bound=-np.inf, item_prices=np.zeros(problem.n_items),
                                 row_prices=np.zeros(len(problem.rows)), method="by itself", n_iterations=1)
    return solve(problem, method=method, seed=seed, start=None if start is None else (start.problem, start.found))


def settle(case: Case, draft: Plan, found: allocation.Allocation) -> Plan:
    """Complete a draft with its slates and the one state that each pair ends in."""
    plan = placed(case, draft, found)
    return replace(plan, **dict(zip(("state", "blame"), end_states(case, plan))))


def placed(case: Case, draft: Plan, found: allocation.Allocation) -> Plan:
    """Complete a draft with its slates alone: slots and pins."""
    wanted, turn = wanted_slots(case, case.live(draft.policy))
    position = draft.problem.of_pairs(slates.place_pins(
        found.position.astype("int64"), *(slates.laid_out(draft.problem, numbers, 0) for numbers in (wanted, turn))))
    return replace(draft, position=position, found=found, is_pinned=(position > 0) & (wanted > 0))


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
    first, number = np.full(len(is_ranked), -1), case.number
    for rule in reversed([rule for rule in rules if rule.id in case.refused]):
        first[case.refused[rule.id] & is_ranked] = number[rule.id]
    return first


def _yielded(case: Case, rules: list[Rule], is_ranked: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Let soft row rules yield, in their declared order, for customers who could be shown nothing at all."""
    soft = sorted((rule for rule in rules if rule.id in case.refused and not rule.is_hard), key=lambda rule: rule.yields)
    for rule in soft:
        starved = np.bincount(case.pairs.customer[is_ranked & (first < 0)], minlength=len(case.world.customers)) == 0
        if not starved.any():
            break
        rules = [other for other in rules if other is not rule]
        first = np.where(starved[case.pairs.customer], _first_refusal(case, rules, is_ranked), first)
    return first


def _relaxed(case: Case, policy: str, yielded: np.ndarray, lifted: tuple[str, ...]) -> dict[str, int]:
    """Soft rules that yielded, and the number of customers for whom they did; a quota yields for all."""
    counts = {rule.id: n_distinct(case.pairs.customer[yielded & case.refused[rule.id]]) if rule.id in case.refused
              else len(case.world.customers) * (rule.id in lifted) for rule in case.live(policy)}
    return {name: count for name, count in counts.items() if count}


def _pin_keys(rule: Pin, world: World) -> np.ndarray:
    code = filters.item_code(world, rule.item_id)
    if code < 0:
        return np.zeros(0, dtype="int64")
    everyone = Pairs(world, np.arange(len(world.customers)), np.full(len(world.customers), code))
    wanted = np.ones(len(everyone), dtype=bool) if rule.when is None else hold(rule.when, everyone.column).is_true
    return np.flatnonzero(wanted).astype("int64") * len(world.items) + code


def wanted_slots(case: Case, rules: list[Rule]) -> tuple[np.ndarray, np.ndarray]:
    """The slot that a live pin asks for, one entry a pair, 0 where none does, and the pin's turn; the first pin wins."""
    slot, turn = np.zeros((2, len(case.pairs)), dtype="int64")
    for place, rule in reversed(list(enumerate(rule for rule in rules if isinstance(rule, Pin)))):
        slot[case.pins[rule.id]], turn[case.pins[rule.id]] = rule.position, place
    return slot, turn


def _lever(rule: Boost, pairs: Pairs) -> np.ndarray:
    held = hold(rule.when, pairs.column)
    is_closed = rule.on_missing == "block" and rule.times < 1
    return np.where(~held.is_false if is_closed else held.is_true, rule.times, 1.0)


def _times(case: Case, rules: list[Rule]) -> np.ndarray:
    """The lever of each pair: the largest boost, times the smallest of those below one."""
    own = [case.levers[rule.id] for rule in rules if isinstance(rule, Boost)]
    if not own:
        return np.ones(len(case.pairs))
    stacked = np.stack([np.ones(len(case.pairs)), *own])
    return stacked.max(axis=0) * stacked.min(axis=0)


def _problem(case: Case, rules: list[Rule], score: np.ndarray, p_response: np.ndarray,
             bonus: float) -> allocation.Problem:
    wanted, _ = wanted_slots(case, rules)
    value = np.where((wanted > 0) & np.isfinite(score), score + bonus, score)
    n_slots = len(case.world.customers) * case.k
    frame = case.pairs.frame
    return replace(
        frame, k=case.k, value=slates.laid_out(frame, value, -np.inf), response=slates.laid_out(frame, p_response),
        stock=capacity(case.world, rules), quotas=tuple(quota for rule in rules if (quota := quota_of(case.world, rule))),
        rows=tuple(row for rule in rules if (row := row_of(case.world, rule, n_slots))))

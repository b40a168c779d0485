"""Allocation solved exactly: small problems that can be checked by hand, and what cannot hold."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reclib.allocation import problem as p
from reclib.allocation.crossing import best_of_two, breaks, families
from reclib.allocation.exact import relax, solve_exact
from reclib.allocation.infeasible import explain_infeasible, yield_soft
from reclib.allocation.prices import groups_of
from reclib.allocation.solve import solve

CALM = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def two_by_two(**options) -> p.Problem:
    """Customers 0 and 1, items 0 and 1: values 5 and 4 for customer 0, 3 and 1 for customer 1."""
    return p.from_pairs([0, 0, 1, 1], [0, 1, 0, 1], [5.0, 4.0, 3.0, 1.0], k=1, **options)


def test_without_limits_everyone_sees_their_best():
    found = solve(two_by_two())
    assert found.value == pytest.approx(5 + 3)
    assert found.position.tolist() == [[1, 0], [1, 0]]
    assert (found.gap, found.fill_rate) == (0.0, 1.0)


def test_scarce_stock_goes_where_it_is_missed_most():
    found = solve(two_by_two(stock=np.array([1.0, 2.0])))
    assert found.value == pytest.approx(max(5 + 1, 4 + 3))
    assert found.position.tolist() == [[0, 1], [1, 0]]


def test_item_price_is_the_worth_of_one_more_placement():
    scarce = two_by_two(stock=np.array([1.0, np.inf]))
    more = replace(scarce, stock=np.array([2.0, np.inf]))
    price = solve_exact(scarce).item_prices[0]
    assert price >= (5 + 3) - (4 + 3) - 1e-9
    assert relax(more).bound <= relax(scarce).bound + price + 1e-9


def test_quota_keeps_one_of_a_group_and_positions_follow_value():
    quota = p.Quota("one_a_brand", np.array([0, 0, 1]), 1)
    found = solve(p.from_pairs([0, 0, 0], [0, 1, 2], [5.0, 4.0, 3.0], k=3, quotas=(quota,)))
    assert found.position.tolist() == [[1, 0, 2]]
    assert found.fill_rate == pytest.approx(2 / 3)


def test_budget_is_spent_where_it_earns_most():
    row = p.budget("promo", np.array([2.0, 0.0]), 2.0, per="placement")
    found = solve(two_by_two(rows=(row,)))
    assert found.value == pytest.approx(max(5 + 1, 4 + 3))
    assert found.rows.set_index("name").loc["promo", ["use", "slack", "miss"]].tolist() == [2.0, 0.0, 0.0]


def test_share_of_shown_starves_and_share_of_slots_does_not():
    member = np.array([False, True])
    values = [5.0, -1.0, 5.0, -1.0]
    shown = p.from_pairs([0, 0, 1, 1], [0, 1, 0, 1], values, k=2, rows=(p.min_share("own", member, 0.5),))
    slots = shown.with_rows((p.min_share("own", member, 0.25, of="slots", n_slots=4),))
    assert solve(shown).value == pytest.approx(2 * (5 - 1))
    assert solve(slots).value == pytest.approx(5 + 5 - 1)
    starved = shown.with_rows((p.min_share("own", member, 1.0),))
    assert solve(starved).fill_rate == 0.0


def test_margin_floor_counts_expected_sales():
    row = p.margin_floor("margin", np.array([10.0, 10.0]), np.array([0.1, 0.5]), 0.3)
    found = solve(p.from_pairs([0, 0], [0, 1], [1.0, 0.5], k=2, response=[0.2, 0.1], rows=(row,)))
    assert found.position.tolist() == [[0, 1]]
    assert found.rows["use"].tolist() == pytest.approx([0.1 * 10 * (0.3 - 0.5)])


def test_filtered_pairs_are_never_shown_and_can_be_freed():
    problem = replace(two_by_two(), value=np.array([[-np.inf, 4.0], [3.0, 1.0]]))
    assert solve(problem).position.tolist() == [[0, 1], [1, 0]]
    assert solve(replace(problem, value=two_by_two().value)).value == pytest.approx(8)


def test_customers_without_pairs_count_as_slots():
    found = solve(p.from_pairs([2], [0], [1.0], k=2, n_customers=3))
    assert found.position.shape == (3, 1) and found.fill_rate == pytest.approx(1 / 6)
    empty = solve(p.from_pairs([], [], [], k=2, n_customers=3, n_items=2))
    assert (empty.value, empty.fill_rate) == (0.0, 0.0)


def test_contradicting_floors_are_named_with_their_miss():
    first, second = np.array([True, False]), np.array([False, True])
    problem = two_by_two(stock=np.array([2.0, 2.0]), rows=(
        p.min_exposure("first", first, 2), p.min_exposure("second", second, 1),
        p.budget("idle", np.ones(2), 9, per="placement")))
    found = explain_infeasible(problem)
    assert found.misses["miss"].sum() == pytest.approx(2 + 1 - 2)
    assert set(found.conflict) == {"first", "second"}
    with pytest.raises(p.InfeasibleError, match="cannot hold together: first, second"):
        solve(problem)


def test_stock_is_part_of_a_conflict():
    problem = two_by_two(stock=np.array([1.0, 2.0]), rows=(p.min_exposure("first", np.array([True, False]), 2),))
    assert explain_infeasible(problem).conflict == ("first", "stock")


def test_soft_rows_yield_in_declared_order_and_no_further_than_they_must():
    first, second = np.array([True, False]), np.array([False, True])
    problem = two_by_two(rows=(
        p.min_exposure("hard", first, 1), p.min_exposure("last", second, 1, is_hard=False, yields=2),
        p.min_exposure("early", second, 2, is_hard=False, yields=1)))
    assert yield_soft(problem)[1] == ("early",)
    found = solve(problem)
    rows = found.rows.set_index("name")
    assert found.relaxed == ("early",) and rows.loc["early", "miss"] == pytest.approx(1)
    assert rows.loc[["hard", "last"], "miss"].tolist() == [0, 0]
    assert found.value == pytest.approx(4 + 3)


def test_rows_that_can_hold_do_not_yield():
    problem = two_by_two(rows=(p.min_exposure("second", np.array([False, True]), 1, is_hard=False),))
    assert yield_soft(problem)[1] == () and explain_infeasible(problem).sentence() == "All rows can hold together."


def contested(rng: np.random.Generator) -> p.Problem:
    """Up to 3 customers and 4 items under floors that often contradict caps, a budget, stock or a quota."""
    n, n_items = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    member = rng.random((4, n_items)) < 0.5
    soft = {name: {"is_hard": bool(rng.random() < 0.5), "yields": int(rng.integers(0, 9))} for name in "abcde"}
    k = int(rng.integers(1, 3))
    rows = (p.min_exposure("a", member[0], int(rng.integers(0, 4)), **soft["a"]),
            p.min_exposure("b", member[1], int(rng.integers(0, 4)), **soft["b"]),
            p.min_share("c", member[2], rng.integers(0, 5) / 4, of="slots", n_slots=n * k, **soft["c"]),
            p.budget("d", member[3], int(rng.integers(0, 3)), per="placement", **soft["d"]),
            p.budget("e", rng.integers(0, 3, n_items), int(rng.integers(0, 5)), **soft["e"]))
    values = rng.integers(1, 9, n * n_items).astype(float)
    return p.from_pairs(
        np.repeat(np.arange(n), n_items), np.tile(np.arange(n_items), n), values, k=k, n_items=n_items,
        response=rng.integers(0, 3, n * n_items) / 2, stock=rng.integers(0, 4, n_items).astype(float),
        quotas=(p.Quota("quota", rng.integers(-1, 2, n_items), 1),), rows=rows)


def can_hold(problem: p.Problem, names: set[str]) -> bool:
    """Try all slates of all customers: do any hold the named rows, quotas and stock? Independent of the code under test."""
    shows, answers = [], []
    for customer in range(problem.n_customers):
        some = [chosen for size in range(problem.k + 1) for chosen in combinations(range(problem.item.shape[1]), size)]
        for quota in (quota for quota in problem.quotas if quota.name in names):
            groups = [[int(quota.group[item]) for item in chosen if quota.group[item] >= 0] for chosen in some]
            some = [chosen for chosen, own in zip(some, groups) if all(own.count(one) <= quota.limit for one in own)]
        shown = np.array([np.isin(np.arange(problem.n_items), chosen) for chosen in some])
        shows.append(shown)
        answers.append(shown * problem.response[customer])
    at = np.array(list(product(*(range(len(shown)) for shown in shows))))
    count = sum(shown[column] * 1.0 for shown, column in zip(shows, at.T))
    answer = sum(part[column] for part, column in zip(answers, at.T))
    holds = (count <= problem.stock).all(axis=1) | ("stock" not in names)
    for row in (row for row in problem.rows if row.name in names):
        use = sum(part @ own for part, own in ((answer, row.per_response), (count, row.per_placement)) if own is not None)
        holds &= use <= row.limit + 1e-9
    return bool(holds.any())


@settings(CALM, max_examples=400)
@given(st.integers(0, 2**32 - 1))
def test_what_contradicts_is_named_and_nothing_of_it_could_be_spared(seed):
    problem = contested(np.random.default_rng(seed))
    names = {*"abcde", "quota", "stock"}
    found = explain_infeasible(problem)
    assert found.is_feasible == can_hold(problem, names)
    assume(not found.is_feasible)
    conflict = set(found.conflict)
    assert len(found.misses) and not can_hold(problem, conflict)
    assert all(can_hold(problem, conflict - {name}) for name in conflict)


@settings(CALM, max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_soft_rows_yield_first_come_first_and_hard_ones_never(seed):
    problem = contested(np.random.default_rng(seed))
    hard = {row.name for row in problem.rows if row.is_hard} | {"quota", "stock"}
    soft = [row.name for row in sorted(problem.rows, key=lambda row: (row.yields, row.name)) if not row.is_hard]
    if not can_hold(problem, hard):
        with pytest.raises(p.InfeasibleError, match="cannot hold together"):
            solve(problem)
        return
    n_yielding = next(n for n in range(len(soft) + 1) if can_hold(problem, hard | set(soft[n:])))
    found = solve(problem)
    missed = set(found.rows.query("miss > 0")["name"])
    assert missed == set(found.relaxed) <= set(soft[:n_yielding]) and bool(missed) == bool(n_yielding)
    assert n_yielding == 0 or soft[n_yielding - 1] in missed


def test_a_row_that_yields_gets_back_what_a_later_one_leaves_it():
    first, second = np.array([True, False]), np.array([False, True])
    problem = two_by_two(rows=(p.min_exposure("early", first, 1, is_hard=False, yields=1),
                               p.budget("late", second, 0, per="placement", is_hard=False, yields=2), p.min_exposure("hard", second, 2)))
    found = solve(problem)
    assert found.relaxed == ("early", "late") and found.rows["miss"].tolist() == pytest.approx([1, 2, 0])


@settings(CALM, max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_the_best_slate_under_crossing_quotas_is_the_best_of_all_slates(seed):
    rng = np.random.default_rng(seed)
    n_items, k = int(rng.integers(2, 9)), int(rng.integers(1, 5))
    quotas = tuple(p.Quota(name, rng.integers(-1, 4, n_items), int(rng.integers(1, 3))) for name in "xy")
    item, scores = np.arange(n_items)[None, :], rng.integers(-2, 9, (1, n_items)).astype("float32")
    by_family = families(groups_of(p.from_pairs([0], [0], [1.0], k=k, n_items=n_items, quotas=quotas)))
    held = best_of_two(scores, item, (by_family[0], by_family[-1]), k)
    some = [np.array([*chosen, *[-1] * (k - size)])[None, :] for size in range(k + 1) for chosen in combinations(range(n_items), size)]
    legal = [slate for slate in some if not any(breaks(item, slate, family).any() for family in by_family)]
    assert scores[0, held[held >= 0]].sum() == max(scores[0, slate[slate >= 0]].sum() for slate in legal)
    assert any(set(held[held >= 0]) == set(slate[slate >= 0]) for slate in legal)


def test_nested_quotas_are_one_family_and_crossing_ones_two():
    category, brand, supplier = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, -1]), np.array([0, 1, 0, 1, 0])
    quotas = tuple(p.Quota(str(at), group, 1) for at, group in enumerate((category, brand, supplier)))
    by_family = families(groups_of(p.from_pairs([0], [0], [1.0], k=2, n_items=5, quotas=quotas)))
    assert [len(family) for family in by_family] == [2, 1]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: two_by_two(stock=np.array([-1.0, 1.0])), "stock: holds NaN or a negative number"),
    (lambda: p.from_pairs([0], [3], [1.0], k=1, n_items=2), r"item: codes from 3 to 3, must be in \[0, 2\)"),
    (lambda: p.from_pairs([0], [0], [np.nan], k=1), "value: holds NaN"),
    (lambda: p.from_pairs([0], [0], [1.0], k=0), "k == 0, must be at least 1"),
    (lambda: two_by_two(rows=(p.budget("b", np.ones(2), 1.0),)), "row 'b': counts responses"),
    (lambda: two_by_two(rows=(p.budget("b", np.ones(3), 1.0, per="placement"),)), "one finite coefficient for each of 2"),
    (lambda: p.min_share("s", np.ones(2), 0.5, of="slots"), "must be 'shown', or 'slots' with n_slots"),
    (lambda: two_by_two().without_row("x"), r"unknown rows \['x'\]; known rows: \[\]"),
    (lambda: solve(two_by_two(), method="magic"), "method == 'magic', must be one of auto, exact, prices"),
])
def test_what_is_not_allowed_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()

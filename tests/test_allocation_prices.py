"""Allocation by prices: bounds against HiGHS, limits that are never exceeded, prices of rules."""

import os
import pickle
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reclib.allocation import problem as p
from reclib.allocation.catalogues import Shape, make_catalogue, random_shape
from reclib.allocation.contest import dozen
from reclib.allocation.desk import Desk
from reclib.allocation.exact import relax, solve_exact
from reclib.allocation.naive import (
    audited,
    first_come,
    made_legal,
    mended,
    top_values,
)
from reclib.allocation.prices import (
    Prices,
    as_shown,
    ascend,
    best_slates,
    bound_of,
    certified_bound,
    no_prices,
    typical_sizes,
)
from reclib.allocation.pricing import confirm_price, price_rules
from reclib.allocation.recovery import mend
from reclib.allocation.solve import find_prices, solve
from reclib.allocation.warm import warm_start

N_BATCHES, N_BATCH = 100, 100
CALM = settings(max_examples=N_BATCHES, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck))


def tiny_catalogue(rng: np.random.Generator, *, floors: bool = False) -> p.Problem:
    """Up to 8 customers and 12 items, some filtered and some pinned, under stock, two crossing quotas and six rows or eight."""
    n, n_items = int(rng.integers(1, 9)), int(rng.integers(2, 13))
    m = int(rng.integers(1, n_items + 1))
    item = np.concatenate([rng.permutation(n_items)[:m] for _ in range(n)])
    price, rate = rng.lognormal(2, 0.8, n_items), rng.normal(0.28, 0.12, n_items)
    response = np.round(rng.uniform(0, 0.5, n * m), int(rng.integers(1, 6)))
    quotas = (p.Quota("category", rng.integers(0, 4, n_items), int(rng.integers(1, 3))),
              p.Quota("brand", rng.integers(-1, 3, n_items), int(rng.integers(1, 3))))
    k = int(rng.integers(1, 5))
    value = response * (price * rate + 0.02)[item] + np.where(rng.random(n * m) < 0.1, 1e3, 0.0)
    value[rng.random(n * m) < 0.1] = -np.inf
    rows = (p.budget("promo", price * 0.1 * (rng.random(n_items) < 0.5), float(rng.uniform(0, 2))),
            p.margin_floor("margin", price, rate, float(rng.uniform(0.2, 0.35))),
            p.min_share("own", rng.random(n_items) < 0.4, float(rng.uniform(0, 0.8))),
            p.min_share("old", rng.random(n_items) < 0.6, float(rng.uniform(0.1, 0.9))),
            p.budget("heavy", rng.random(n_items) < 0.4, float(rng.uniform(0.1, 0.9)) * n * k, per="placement"),
            p.budget("loud", rng.random(n_items) < 0.4, int(rng.integers(0, n + 3)), per="placement"))
    if floors:
        rows += (p.min_exposure("known", rng.random(n_items) < 0.5, int(rng.integers(0, n // 2 + 2))),
                 p.min_share("fresh", rng.random(n_items) < 0.5, float(rng.uniform(0, 0.1)), of=p.SLOTS, n_slots=n * k))
    return p.from_pairs(
        np.repeat(np.arange(n), m), item, value, k=k, n_customers=n, n_items=n_items, response=response, stock=rng.integers(0, n + 2, n_items).astype(float),
        quotas=quotas, rows=rows)


def faults(problem: p.Problem, shown: np.ndarray) -> list[str]:
    """Hold slates against the raw tables, pair by pair in float64; independent of the code under test."""
    found, used = [], {row.name: [] for row in problem.rows}
    count = [0] * problem.n_items
    for customer in range(problem.n_customers):
        slate = [int(column) for column in np.flatnonzero(shown[customer])]
        items = [int(problem.item[customer, column]) for column in slate]
        if len(slate) > problem.k or len(set(items)) < len(items) or min(items, default=0) < 0:
            found.append(f"slate of {customer}")
        for quota in problem.quotas:
            groups = [int(quota.group[item]) for item in items if quota.group[item] >= 0]
            if any(groups.count(group) > quota.limit for group in groups):
                found.append(f"{quota.name} of {customer}")
        for column, item in zip(slate, items):
            count[item] += 1
            if not np.isfinite(problem.value[customer, column]):
                found.append(f"filtered pair of {customer}")
            for row in problem.rows:
                answers = 0.0 if row.per_response is None else float(problem.response[customer, column])
                paid = answers * row.per_response[item] if answers else 0.0
                used[row.name].append(paid + (0.0 if row.per_placement is None else row.per_placement[item]))
    found += [f"stock of {item}" for item in range(problem.n_items) if count[item] > problem.stock[item]]
    for row in problem.rows:
        rounding = 1e-9 * (abs(row.limit) + sum(map(abs, used[row.name])) + 1.0)
        if sum(used[row.name]) > row.limit + rounding:
            found.append(row.name)
    return found


@CALM
@given(st.integers(0, 2**32 - 1))
def test_no_limit_is_exceeded_on_ten_thousand_catalogues_whatever_the_prices(seed):
    rng = np.random.default_rng(seed)
    for _ in range(N_BATCH):
        problem = tiny_catalogue(rng)
        prices = Prices(rng.exponential(1, problem.n_items) * (rng.random(problem.n_items) < 0.3),
                        rng.exponential(2, len(problem.rows)) * (rng.random(len(problem.rows)) < 0.5))
        desk = Desk(problem, prices, as_shown(problem, best_slates(problem, prices, keep=True).column))
        mend(desk, rng)
        assert faults(problem, desk.shown) == []


@settings(CALM, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_absolute_floors_hold_on_a_thousand_catalogues_or_nothing_could_hold_them(seed):
    rng = np.random.default_rng(seed)
    decided = 0
    for _ in range(N_BATCH):
        problem = tiny_catalogue(rng, floors=True)
        try:
            found = solve(problem)
        except p.InfeasibleError as refused:
            assert "cannot hold together" in str(refused) and len(refused.misses)
            continue
        decided += 1
        assert faults(problem, found.position > 0) == []
    assert decided >= N_BATCH / 5


@settings(CALM, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_both_methods_hold_every_limit_and_the_bound_is_one(seed):
    problem = tiny_catalogue(np.random.default_rng(seed))
    exact, priced = solve_exact(problem), solve(problem, method="prices")
    assert faults(problem, exact.position > 0) == [] and faults(problem, priced.position > 0) == []
    assert priced.value <= exact.value * (1 + 1e-4) + 1e-9
    assert exact.value <= priced.bound + 1e-9


@pytest.mark.parametrize("seed", [0, 3])
def test_the_bound_is_the_optimum_of_the_relaxation(seed):
    problem = make_catalogue(400, seed)
    found = solve(problem, method="prices")
    assert found.bound == pytest.approx(relax(problem).bound, rel=2e-5)


@pytest.mark.parametrize(("seed", "shape"), [
    *((seed, Shape()) for seed in range(6)), *((seed, random_shape(seed)) for seed in (3, 25, 34, 53, 54, 60, 61, 62)),
    (3, Shape(is_tied=True)), (5, Shape(is_absolute=True))])
def test_a_thousand_customers_get_nearly_all_of_the_bound(seed, shape):
    problem = make_catalogue(1_000, seed, shape=shape)
    found = solve(problem, method="prices")
    assert found.value >= 0.995 * found.bound
    told = audited(problem, found.position > 0)
    assert (told["over_stock"], told["over_slate"], told["rows_broken"]) == (0, 0, 0)
    assert told["value"] == pytest.approx(found.value, rel=1e-9) and told["fill_rate"] == pytest.approx(found.fill_rate)


def test_everything_promoted_ties_at_one_price_in_exact_numbers():
    problem = make_catalogue(200, 3, shape=Shape(is_tied=True))
    cost = problem.rows[0].per_response[problem.item] * problem.response
    assert (problem.value[cost > 0] == 1.5 * cost[cost > 0]).all() and (cost > 0).mean() > 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_crossing_quotas_leave_the_bound_as_tight_as_one(seed):
    problem = make_catalogue(300, seed, shape=Shape(n_candidates=60))
    brand = p.Quota("brand", np.random.default_rng(seed).integers(0, 10, problem.n_items), 1)
    crossed = replace(problem, quotas=(*problem.quotas, brand))
    found = solve(crossed, method="prices")
    assert found.bound == pytest.approx(relax(crossed).bound, rel=2e-5) and found.gap < 0.005
    assert audited(crossed, found.position > 0)["over_slate"] == 0


def test_the_audit_counts_what_is_exceeded():
    problem = p.from_pairs([0, 0, 1], [0, 1, 0], [1.0, 2.0, 4.0], k=1, stock=np.array([1.0, 1.0]),
                           quotas=(p.Quota("all", np.zeros(2, dtype=int), 1),),
                           rows=(p.budget("spend", np.array([3.0, 1.0]), 6.5, per="placement"),))
    told = audited(problem, np.ones(problem.item.shape, dtype=bool) & (problem.item >= 0))
    assert told == {"value": 7.0, "over_stock": 1.0, "over_slate": 1.0 + 1.0, "rows_broken": 1.0, "fill_rate": 3 / 2}


@pytest.mark.parametrize("machine", [
    {"OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "1"}, {"OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "4"},
    {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL", "OMP_NUM_THREADS": "2"}])
def test_slates_do_not_depend_on_threads_or_kernels(machine, tmp_path):
    problem = make_catalogue(400, 3, shape=Shape(n_candidates=40, n_items=300))
    found = solve(problem, method="prices")
    with (tmp_path / "problem.pickle").open("wb") as file:
        pickle.dump(problem, file)
    code = ("import pickle, sys, zlib; from reclib.allocation.solve import solve; found = solve(pickle.load(open(sys.argv[1], 'rb')), "
            "method='prices'); print(found.value.hex(), found.bound.hex(), zlib.crc32(found.position.tobytes()))")
    told = subprocess.run([sys.executable, "-c", code, tmp_path / "problem.pickle"], capture_output=True, text=True, check=True,
                          env={**os.environ, **machine, "PYTHONWARNINGS": "ignore"}).stdout.split()
    assert told == [found.value.hex(), found.bound.hex(), str(zlib.crc32(found.position.tobytes()))]


def test_any_prices_give_a_bound():
    problem = make_catalogue(200, 1)
    optimum = relax(problem).bound
    rng = np.random.default_rng(0)
    for _ in range(10):
        prices = Prices(rng.exponential(1, problem.n_items), rng.exponential(1, len(problem.rows)))
        assert certified_bound(problem, prices, best_slates(problem, prices)) >= optimum - 1e-6


def test_slates_are_exact_at_given_prices():
    problem = replace(make_catalogue(60, 2, shape=Shape(n_candidates=30)), rows=(), stock=np.full(2_000, np.inf))
    assert best_slates(problem, no_prices(problem)).score == pytest.approx(solve_exact(problem).value, rel=1e-6)


def test_the_same_seed_gives_the_same_slates():
    problem = make_catalogue(600, 3)
    first, second = solve(problem, method="prices", seed=5), solve(problem, method="prices", seed=5)
    assert np.array_equal(first.position, second.position) and first.bound == second.bound


def test_order_of_pairs_does_not_matter():
    problem = make_catalogue(150, 4)
    customer, column = np.nonzero(problem.item >= 0)
    item = problem.item[customer, column]
    shuffled = np.random.default_rng(0).permutation(len(item))
    value, response = problem.value[customer, column], problem.response[customer, column]
    orders = (np.arange(len(item)), shuffled)
    parts = [(customer[order], item[order], value[order], response[order]) for order in orders]
    first, second = (solve(p.from_pairs(c, i, v, k=5, response=r, stock=problem.stock, quotas=problem.quotas,
                                        rows=problem.rows), method="prices") for c, i, v, r in parts)
    assert np.array_equal(first.position, second.position)


@pytest.mark.parametrize("seed", range(2))
def test_a_search_that_stops_short_says_that_a_row_is_off_its_limit(seed):
    problem = make_catalogue(300, seed)
    sizes = typical_sizes(problem)
    short = ascend(problem, no_prices(problem), sizes=sizes, n_iterations=9, rate=0.01, decay=1.0)
    ended = ascend(problem, find_prices(problem, sizes, np.random.default_rng(seed)).prices, sizes=sizes, n_iterations=60, rate=0.1, decay=0.93)
    assert (short.steady > 0.1 * short.bound, ended.steady < 0.01 * ended.bound) == (True, True)


def test_a_warm_start_reaches_the_same_bound():
    problem = make_catalogue(500, 0)
    lifted = problem.without_row("new_items")
    warm = solve(lifted, method="prices", start=(problem, solve(problem, method="prices")))
    cold = solve(lifted, method="prices")
    assert warm.bound == pytest.approx(cold.bound, rel=2e-4)
    assert warm.n_iterations < cold.n_iterations / 2


def test_absolute_floors_hold_or_are_refused():
    problem = make_catalogue(300, 2)
    own = problem.rows[2].per_placement < 0
    stock = problem.stock[own].sum()
    floored = problem.with_rows(problem.rows[:2] + (p.min_exposure("own", own, 0.6 * stock),))
    found = solve(floored, method="prices")
    assert found.rows.set_index("name").loc["own", "use"] <= -0.6 * stock
    with pytest.raises(p.InfeasibleError, match="own misses its limit by"):
        solve(problem.with_rows((p.min_exposure("own", own, 2 * stock),)))


def test_prices_of_rules_are_within_their_resolution_of_the_exact_ones():
    base, variants = dozen(200, 1)
    variants["stock"] = replace(base, stock=np.full(2_000, np.inf))
    found = price_rules(base, variants, start=solve(base, method="prices")).table
    optimum = relax(base).bound
    exact = np.array([relax(variants[name]).bound - optimum for name in found["variant"]])
    assert ((found["change"] - exact).abs() <= found["resolution"]).all()
    assert found["resolution"].max() <= 1e-3 * optimum < found["change"].max()


def test_a_freed_item_starts_at_what_the_first_claim_that_does_not_fit_is_worth():
    """Item 1 is worth 5, 4, 3 to its customers and item 0 is worth 1 to each: two placements clear at 3 - 1."""
    after = p.from_pairs([0, 0, 1, 1, 2, 2], [0, 1] * 3, [1.0, 5.0, 1.0, 4.0, 1.0, 3.0], k=1, stock=np.array([3.0, 2.0]))
    before = replace(after, value=np.array([[1.0, -np.inf]] * 3))
    start = warm_start(before, no_prices(before), after)
    assert start.item.tolist() == [0.0, 3.0 - 1.0]
    assert bound_of(after, start, best_slates(after, start)) == 5 + 4 + 1


def test_a_rule_that_does_not_bind_is_below_resolution():
    base = make_catalogue(300, 5)
    idle = base.with_rows(base.rows + (p.budget("idle", np.ones(2_000), 1e9, per="placement"),))
    row = price_rules(idle, {"idle": idle.without_row("idle")}).table.iloc[0]
    assert not row.is_resolved and abs(row.change) <= row.resolution


def test_a_confirmed_price_states_its_range():
    base = make_catalogue(300, 0)
    found = confirm_price(base, base.without_row("promo_budget"))
    assert found["low"] <= found["change"] <= found["high"]


def test_variants_must_be_of_the_same_customers():
    base = make_catalogue(50, 0)
    with pytest.raises(ValueError, match="variant 'other': 60 customers and 2000 items, must be 50 and 2000"):
        price_rules(base, {"other": make_catalogue(60, 0)})


def test_naive_ways_break_rules_or_lose_value():
    problem = make_catalogue(1_000, 0)
    first = first_come(problem)
    ways = {"filter then cut": top_values(problem), "first come": first, "dropped": made_legal(problem, first),
            "swapped": mended(problem, first), "prices": solve(problem, method="prices").position > 0}
    found = pd.DataFrame({way: audited(problem, shown) for way, shown in ways.items()}).T
    assert found.loc["filter then cut", "over_stock"] > 0
    assert found.loc[["dropped", "swapped", "prices"], ["over_stock", "rows_broken"]].to_numpy().sum() == 0
    assert found.loc[["dropped", "swapped"], "value"].max() < found.loc["prices", "value"]

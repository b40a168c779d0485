"""The storefront's doors: contracts, determinism, exact probabilities, and laws that every shop obeys."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import feedback, schema
from reclib.sources.storefront import (
    config,
    days,
    frames,
    house,
    luck,
    policies,
    tables,
    world,
)
from reclib.sources.storefront.state import morning

PACKAGE = Path(tables.__file__).parent
SMALL = {"n_customers": 600, "n_items": 120, "n_days": 28}
TRUTH = {
    "taste", "affinity", "price_weight", "tolerance", "rate", "appeal", "weight", "utility", "irritation", "goodwill",
    "satiation", "p_click", "p_examine", "intent", "churn_day", "seen", "looks",
}


@pytest.fixture(scope="module")
def shop() -> tuple[dict[str, pd.DataFrame], dict]:
    return tables.load(**SMALL)


@pytest.fixture(scope="module")
def deliveries(shop) -> pd.DataFrame:
    return slates(shop[0]["items"]["item_id"].head(8), 600)


@pytest.fixture(scope="module")
def answers(shop, deliveries) -> dict[str, pd.DataFrame]:
    return tables.answer(deliveries, params=shop[1]["params"], n_days=14)


def slates(item_ids: pd.Series, n_customers: int) -> pd.DataFrame:
    """One slate for everybody, as a small deliveries table with text ids."""
    k = len(item_ids)
    numbers = np.arange(n_customers * k)
    return pd.DataFrame({
        "decision_id": [f"d{number}" for number in numbers], "customer_id": numbers // k + 1,
        "position": numbers % k + 1, "item_id": np.tile(item_ids.to_numpy(), n_customers),
    })


def digest(frames_by_name: dict[str, pd.DataFrame]) -> int:
    """One number for the content of tables."""
    return sum(int(pd.util.hash_pandas_object(frame).sum() % 2**61) for frame in frames_by_name.values())


@pytest.mark.parametrize("name", ["events", "items", "customers", "logged_deliveries", "logged_outcomes"])
def test_history_meets_the_contracts(shop, name):
    schema.require(shop[0][name], schema.TABLES[name])


def test_answers_meet_the_contract_and_name_the_slot_they_answer(answers, deliveries):
    events = schema.require(answers["events"], schema.TABLES["events"])
    told = events.dropna(subset="decision_id").merge(deliveries, on="decision_id", suffixes=("", "_delivered"))
    assert len(told) == events["decision_id"].notna().sum() > 0
    assert (told["customer_id"] == told["customer_id_delivered"]).all()
    assert (told["item_id"] == told["item_id_delivered"]).all()


def test_every_type_of_event_happens(shop):
    wanted = {"impression", "view", "click", "add_to_cart", "purchase", "return", "dismiss", "unsubscribe", "complaint"}
    events = tables.load(**SMALL, complaint_base=0.002)[0]["events"]
    assert set(events["event_type"]) == wanted


def test_facts_are_plain_and_rebuild_the_world(shop):
    facts = json.loads(json.dumps(shop[1]))
    assert config.as_params(config.build(**facts["params"])) == facts["params"]
    assert facts["as_of"] == "2026-02-01"
    assert facts["answers"] and facts["is_randomised"] and facts["cost_is_known"]


def test_plan_measures_columns_that_feedback_reads_from_the_answers(shop, answers):
    known = shop[0]["customers"]
    assigned = known[["customer_id"]].assign(experiment_id="launch", arm="value")
    start = pd.Timestamp(shop[1]["as_of"], tz="UTC")
    there = set(feedback.build_units(assigned, answers["events"], shop[0]["items"], start=start, customers=known,
                                     end=start + pd.Timedelta(days=14), pre_days=28).columns)
    for name, metric in shop[1]["experiment"]["metrics"].items():
        needed = {metric["numerator"], metric["denominator"]} if metric["kind"] == "ratio" else {metric.get("column", name)}
        assert needed <= there, name
    assert {*shop[1]["experiment"]["covariates"], *shop[1]["experiment"]["segments"]} <= there


def test_totals_are_the_sums_of_the_events(answers):
    events, after = answers["events"], answers["customers_after"].set_index("customer_id")
    revenue = events.query("event_type == 'purchase'").groupby("customer_id")["value"].sum()
    assert after["revenue"].sum() == pytest.approx(revenue.sum())
    assert after.loc[revenue.index, "revenue"].to_numpy() == pytest.approx(revenue.to_numpy())
    assert after["clicks"].sum() == (events["event_type"] == "click").sum()
    assert after["returned"].sum() == pytest.approx(events.query("event_type == 'return'")["value"].sum())
    assert len(after) == 600


def test_no_one_without_a_delivery_is_shown_anything(shop, deliveries):
    some = deliveries.query("customer_id <= 100")
    shown = tables.answer(some, params=shop[1]["params"], n_days=7)["events"].query("event_type == 'impression'")
    assert 0 < shown["customer_id"].nunique() <= 100
    assert shown["customer_id"].max() <= 100


def test_nothing_is_shown_after_an_opt_out(shop):
    events, customers = shop[0]["events"], shop[0]["customers"]
    shown = events.query("event_type == 'impression'").merge(customers, on="customer_id", validate="many_to_one")
    assert customers["opted_out_at"].notna().any()
    assert not (shown["occurred_at"] >= shown["opted_out_at"] + pd.Timedelta(days=1)).any()


def test_events_come_from_the_days_they_are_asked_for(shop, answers):
    assert shop[0]["events"]["occurred_at"].max() < pd.Timestamp("2026-02-02", tz="UTC")
    assert answers["events"]["occurred_at"].min() >= pd.Timestamp("2026-02-02", tz="UTC")
    assert answers["events"]["event_id"].min() > shop[0]["events"]["event_id"].max()


def test_money_is_price_times_quantity(shop):
    bought = shop[0]["events"].query("event_type == 'purchase'")
    cents = (bought["value"] / bought["quantity"] * 100).to_numpy()
    assert cents == pytest.approx(np.round(cents), abs=1e-6)


def test_tables_are_equal_in_another_process_and_on_a_lesser_processor(shop):
    code = (
        "import sys; sys.path.insert(0, 'tests'); import test_storefront as t; "
        "print(t.digest(t.tables.load(**t.SMALL)[0]))"
    )
    changed = os.environ | {
        "OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "5", "PYTHONWARNINGS": "",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3",
    }
    told = subprocess.run([sys.executable, "-c", code], env=changed, cwd=PACKAGE.parents[2], capture_output=True, text=True,
                          check=True)
    assert int(told.stdout) == digest(shop[0])


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunk_size_changes_nothing(chunk):
    settings_ = config.build(n_customers=150, n_items=60, n_days=10)
    logs = []
    for size in (days.CHUNK, chunk):
        shop_world = world.build(settings_)
        evening = morning(shop_world)
        logs.append(days.run(shop_world, evening, house.house, first_day=0, n_days=10, chunk=size))
    for name in ("impression", "click", "line", "view", "add_to_cart", "dismiss", "unsubscribe"):
        for key, column in logs[0].columns(name).items():
            np.testing.assert_array_equal(column, logs[1].columns(name)[key])


def test_another_seed_is_another_world(shop):
    assert digest(tables.load(**SMALL, seed=8)[0]) != digest(shop[0])


def test_luck_is_uniform_and_does_not_repeat_across_days_and_streams():
    customers = np.arange(50_000)
    draws = np.stack([luck.uniform(7, stream, day, customers) for stream in ("visit", "churn") for day in (0, 1)])
    assert draws.mean(axis=1) == pytest.approx(0.5, abs=4 * (1 / 12 / 50_000) ** 0.5)
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.02


def test_p_shown_is_what_happens():
    """Over 40,000 visits a segment, each item's share of each position is p_shown within 4.5 standard errors."""
    settings_ = config.build(n_customers=40_000, n_items=80, epsilon=0.5, consent_share=0.0, minor_share=0.0, n_pool=20)
    shop_world = world.build(settings_)
    everyone = np.arange(40_000)
    slates_ = policies.bestsellers(shop_world, None, 0, everyone, np.ones(80, dtype=bool))
    for position in range(8):
        share = np.bincount(slates_.items[:, position], minlength=80) / 40_000
        p_shown = np.zeros(80)
        p_shown[slates_.items[:, position]] = slates_.p_shown[:, position]
        assert p_shown.sum() == pytest.approx(1.0)
        assert (np.abs(share - p_shown) <= 4.5 * np.sqrt(p_shown * (1 - p_shown) / 40_000) + 1e-12).all()


def test_logged_probabilities_are_those_of_the_mix(shop):
    """Greedy slots have 0.8 + 0.2 / 40 = 0.805, explored ones 0.2 / 40 = 0.005."""
    log = tables.load(**SMALL, personal_share=0.0)[0]["logged_deliveries"].query("n_eligible == 40")
    assert sorted(log["p_shown"].round(9).unique()) == [0.005, 0.805]
    explored = (log["p_shown"] < 0.5).mean()
    assert explored == pytest.approx(0.2 * (1 - 1 / 40), abs=0.02)


def test_every_item_has_the_chance_that_is_logged():
    """The same shop evening lived by 30,000 alike customers: each item's share of each position is p_shown within 5 errors."""
    settings_ = config.build(n_customers=30_000, n_items=80, consent_share=0.0, minor_share=0.0, n_pool=20)
    shop_world, everyone = world.build(settings_), np.arange(30_000)
    state = morning(shop_world)
    slates_ = house.house(shop_world, state, 0, everyone, np.arange(80) % 9 > 0)
    for position in range(8):
        share = np.bincount(slates_.items[:, position], minlength=80) / 30_000
        p_shown = np.zeros(80)
        p_shown[slates_.items[:, position]] = slates_.p_shown[:, position]
        assert p_shown.sum() == pytest.approx(1.0)
        assert (np.abs(share - p_shown) <= 5 * np.sqrt(p_shown * (1 - p_shown) / 30_000) + 1e-12).all()
    anywhere = np.zeros(80)
    anywhere[slates_.items] = slates_.p_in_slate
    shares = np.bincount(slates_.items.ravel(), minlength=80) / 30_000
    assert anywhere.sum() == pytest.approx(8.0)
    assert (np.abs(shares - anywhere) <= 5 * np.sqrt(anywhere * (1 - anywhere) / 30_000) + 1e-12).all()


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_draw_takes_different_items_by_their_odds(seed, n_items, k):
    """Two visitors and few items with odds from 0 to 50: all starts together give each item exactly k x odds of the sum."""
    odds = house._capped(np.random.default_rng(seed).integers(0, 51, (2, n_items)).astype(np.int32), k)
    drawn = house.draw(odds, luck.rows(seed, "personal", 0, np.arange(2)), k)
    for own, items in zip(odds, drawn, strict=True):
        shown = items[items >= 0]
        assert len(shown) == len(set(shown)) == min(k, (own > 0).sum())
        assert (own[shown] > 0).all()


def test_what_was_bought_before_is_shown_more_often_to_those_who_agreed():
    shop_world = world.build(config.build(n_customers=400, n_items=60, n_days=10))
    state = morning(shop_world)
    state.bought[:, 7] = True
    odds = house.personal_odds(shop_world, state, 0, np.arange(400), np.ones(60, dtype=bool))[:, 7]
    before = house.personal_odds(shop_world, morning(shop_world), 0, np.arange(400), np.ones(60, dtype=bool))[:, 7]
    agreed = shop_world.customers.has_consent
    assert (odds[agreed] > before[agreed]).all() and (odds[~agreed] == before[~agreed]).all()


def test_slates_hold_no_item_twice(shop):
    assert not shop[0]["logged_deliveries"].duplicated(["session_id", "item_id"]).any()


@pytest.mark.parametrize("policy", ["house", "bestsellers", "popular", "random", "oracle", "oracle_margin"])
def test_no_ineligible_item_is_ever_shown(policy):
    shop_world = world.build(config.build(n_customers=400, n_items=60, n_days=10, minor_share=0.3, stock_cover=0.4))
    state, is_minor = morning(shop_world), ~shop_world.customers.is_adult
    shows = house.house if policy == "house" else policies.POLICIES[policy]
    for day in range(10):
        before = state.copy()
        is_open = days._open_items(shop_world, before, day)
        log = days.run(shop_world, state, shows, first_day=day, n_days=1)
        shown = log.columns("impression")
        assert is_open[shown["item"]].all()
        assert not (shop_world.items.is_restricted[shown["item"]] & is_minor[shown["customer"]]).any()
    assert not is_open.all()


def test_stock_is_never_oversold():
    shop_world = world.build(config.build(n_customers=800, n_items=40, n_days=14, stock_cover=0.2))
    state = morning(shop_world)
    for day in range(14):
        days.run(shop_world, state, policies.popular, first_day=day, n_days=1)
        assert (state.stock >= 0).all()


def test_truth_is_in_no_table(shop, answers):
    for frame in [*shop[0].values(), *answers.values()]:
        assert not TRUTH & set(frame.columns)


def test_no_layer_imports_the_world():
    """Only its doors (`tables`, `live`, `facts`, `config`) may be imported from outside of the shop, by package code.

    Two places need more: the loop lives the world, and the proof of off-policy values is held against its true chances.
    """
    more = {"loop.py": {"lived"}, "logged.py": {"chances"}}
    outside = [path for path in PACKAGE.parents[1].rglob("*.py") if PACKAGE not in path.parents]
    for path in outside:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reclib.sources.storefront"):
                names = {node.module.rpartition(".")[2], *(alias.name for alias in node.names)}
                assert names <= {"storefront", "tables", "live", "facts", "config"} | more.get(path.name, set()), path


@pytest.mark.parametrize("options, sentence", [
    ({"n_customers": -3}, r"n_customers == -3, must be at least 1\."),
    ({"n_items": 0}, r"n_items == 0, must be at least 1\."),
    ({"epsilon": 1.5}, r"epsilon == 1.5, must be a share in \[0, 1\]\."),
    ({"delay_share": -0.1}, r"delay_share == -0.1, must be a share in \[0, 1\]\."),
    ({"n_items": 5}, r"k == 8, must be at most n_items == 5: more slots than items\."),
    ({"n_days": True}, r"n_days == True, must be a whole number\."),
    ({"n_customers": 10.5}, r"n_customers == 10.5, must be a whole number\."),
    ({"visit_rate": float("nan")}, r"visit_rate == nan, must be a number\."),
    ({"stock_on": 1}, r"stock_on == 1, must be True or False\."),
    ({"preset": "bazaar"}, r"preset == 'bazaar', must be one of \['default', 'grocery', 'retail'\]\."),
    ({"n_shoppers": 5}, r"unknown parameters \['n_shoppers'\]; known parameters: \["),
])
def test_bad_parameters_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        tables.load(**options)


def test_unknown_customers_and_items_are_named(shop, deliveries):
    params = shop[1]["params"]
    with pytest.raises(ValueError, match=r"customer_id == 601, must be one of the 600 customers, from 1\."):
        tables.answer(deliveries.assign(customer_id=601).head(1), params=params)
    with pytest.raises(ValueError, match=r"item_id == 'x', must be one of the 120 items, from 'i0001'\."):
        tables.answer(deliveries.assign(item_id="x").head(1), params=params)
    with pytest.raises(ValueError, match=r"1 rows repeat a \(customer_id, position\)"):
        tables.answer(pd.concat([deliveries.head(1)] * 2), params=params)
    with pytest.raises(ValueError, match=r"n_days == 0, must be at least 1\."):
        tables.answer(deliveries, params=params, n_days=0)


def test_answers_do_not_depend_on_the_order_of_deliveries(shop, deliveries, answers):
    shuffled = deliveries.sample(frac=1, random_state=3)
    again = tables.answer(shuffled, params=shop[1]["params"], n_days=14)
    assert digest(again) == digest(answers)


def test_titles_are_human_and_unique(shop):
    titles = shop[0]["items"]["title"]
    assert titles.is_unique
    assert titles.str.match(r"^[A-Z][a-z-]+ .*").all()


@pytest.mark.parametrize("n_customers, n_items", [(1, 8), (3, 9), (40, 3000)])
def test_odd_sizes_work(n_customers, n_items):
    found, _ = tables.load(n_customers=n_customers, n_items=n_items, n_days=3)
    assert len(found["customers"]) == n_customers
    assert found["items"]["title"].is_unique
    schema.require(found["events"], schema.TABLES["events"])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.booleans(), st.integers(1, 8))
def test_any_shop_keeps_its_contracts(seed, epsilon, stock_on, k):
    found, _ = tables.load(n_customers=40, n_items=30, n_days=5, seed=seed, epsilon=epsilon, stock_on=stock_on, k=k)
    for name, frame in found.items():
        schema.require(frame, schema.TABLES[name])
    log = found["logged_deliveries"]
    assert ((log["p_shown"] > 0) & (log["p_shown"] <= 1)).all()
    assert not len(log) or log["position"].max() <= k


def test_words_spell_codes():
    assert frames.words(["a", "bb"], np.array([1, 0, 1])).tolist() == ["bb", "a", "bb"]


def test_what_can_be_measured_is_what_happened(shop, deliveries, answers):
    """Units built from the events alone, as the feedback layer builds them, equal the shop's own totals."""
    from reclib import feedback

    start, end = (pd.Timestamp(day, tz="UTC") - pd.Timedelta(seconds=1) for day in ("2026-02-02", "2026-02-16"))
    assigned = pd.DataFrame({"experiment_id": "launch", "customer_id": np.arange(1, 601), "arm": "popular"})
    both = [frame.drop(columns="decision_id") for frame in (shop[0]["events"], answers["events"])]
    units = feedback.build_units(assigned, pd.concat(both), shop[0]["items"], start=start, end=end, pre_days=28)
    after = answers["customers_after"]
    for name in ("orders", "revenue", "returned", "contribution", "clicks", "impressions", "dismissals", "complaints",
                 "opted_out", "pre_orders", "pre_revenue", "pre_clicks"):
        assert units[name].to_numpy() == pytest.approx(after[name].to_numpy(), abs=1e-6), name

"""The built-in sources and the catalogue that knows them."""

from __future__ import annotations

import functools

import pandas as pd
import pytest

from reclib import schema
from reclib.sources import catalog, dictionary
from reclib.sources.source import Source, SourceError

REAL = ("complete-journey", "movielens-100k", "open-bandit", "hillstrom")


@functools.cache
def _loaded(name: str) -> Source:
    return catalog.load(name)


def _real(name: str) -> Source:
    found = catalog.describe(name)
    if not found["is_here"]:
        pytest.skip(f"{name} is not here: {', '.join(found['absent'])}")
    return _loaded(name)


@pytest.mark.parametrize("name", REAL)
def test_real_sources_hold_their_contracts_and_what_they_promise(name):
    loaded = _real(name)
    assert set(loaded.tables) == set(catalog.describe(name)["tables"])
    assert all(schema.violations(frame, schema.TABLES[table]).empty for table, frame in loaded.tables.items())
    assert set(loaded.facts["lacks"]) | set(loaded.tables) >= {"events", "items", "units", "logged_deliveries", "holdout"}


def test_complete_journey_leaves_out_only_what_it_says():
    loaded = _real("complete-journey")
    assert len(loaded.tables["events"]) + loaded.facts["n_lines_left_out"] == 1_469_307
    assert (loaded.tables["events"]["quantity"] > 0).all()
    assert not loaded.facts["cost_is_known"]
    assert not loaded.facts["stock_is_known"]
    assert not loaded.facts["is_randomised"]


def test_complete_journey_shows_discounts_that_reconcile():
    events = _real("complete-journey").tables["events"]
    assert ((events["value"] + events["discount"] - events["list_value"]).abs() < 0.005).all()
    assert (events["discount"] > 0).mean() == pytest.approx(0.504, abs=0.005)


def test_complete_journey_marks_alcohol_and_tobacco():
    items = _real("complete-journey").tables["items"]
    assert items.query("category == 'Cigarettes'")["is_age_restricted"].all()
    assert not items.query("category == 'Bread'")["is_age_restricted"].any()


def test_as_of_hides_what_came_later():
    name = "movielens-100k"
    _real(name)
    loaded = catalog.load(name, as_of="1997-12-31")
    assert loaded.facts["as_of"] == "1997-12-31"
    assert loaded.tables["events"]["occurred_at"].max() < pd.Timestamp("1998-01-01", tz="UTC")


def test_movielens_has_every_rating_on_its_scale():
    loaded = _real("movielens-100k")
    assert len(loaded.tables["events"]) == 100_000
    assert sorted(loaded.tables["events"]["value"].unique()) == [1, 2, 3, 4, 5]
    assert loaded.tables["items"].set_index("item_id").loc[1, "title"] == "Toy Story (1995)"


def test_open_bandit_keeps_the_probability_of_each_showing():
    log = _real("open-bandit").tables["logged_deliveries"]
    uniform = log.query("policy == 'random'")
    assert len(log) == 20_000
    assert uniform["p_shown"].to_numpy() == pytest.approx(1 / 34)
    assert set(_real("open-bandit").tables["logged_outcomes"]["decision_id"]) <= set(log["decision_id"])


def test_hillstrom_spells_suburban_and_fits_its_plan():
    loaded = _real("hillstrom")
    units, plan = loaded.tables["units"], loaded.facts["experiment"]
    assert len(units) == 64_000
    assert set(units["zip_code"]) == {"Suburban", "Urban", "Rural"}
    assert set(units["arm"]) == set(plan["expected_shares"])
    assert set(plan["metrics"]) | set(plan["covariates"]) <= set(units)


def test_the_storefront_answers_and_says_what_it_is():
    loaded = catalog.load("storefront", n_customers=120, n_items=60, n_days=14, seed=3)
    assert loaded.facts["name"] == "storefront"
    assert loaded.facts["answers"]
    assert set(loaded.tables) == set(catalog.describe("storefront")["tables"])


@pytest.mark.parametrize("name", ["storefront-2", "nowhere.yaml", "shop.csv"])
def test_unknown_sources_are_refused_by_name(name):
    with pytest.raises(SourceError, match=name):
        catalog.load(name)


def test_absent_files_are_named_with_the_way_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("RECLIB_SHARED_DATA", str(tmp_path))
    if catalog.describe("hillstrom")["is_here"]:
        pytest.skip("hillstrom is in the project's own data folder")
    with pytest.raises(SourceError, match="hillstrom.csv not found in .*python -m reclib.sources.fetch hillstrom"):
        catalog.load("hillstrom")
    assert len(catalog.check("hillstrom")) == 1


def test_a_bad_date_is_refused():
    _real("movielens-100k")
    assert "as_of == 'soon'" in catalog.check("movielens-100k", as_of="soon").loc[0, "problem"]


def test_known_lists_every_source_with_what_it_feeds():
    known = catalog.known().set_index("source")
    assert known.index.tolist() == list(catalog.BUILT_IN)
    assert known.loc["hillstrom", "feeds"] == "units"
    assert known["lacks"].str.len().gt(0).all()


def test_the_data_dictionary_is_the_contracts():
    from reclib import store

    assert (store.project() / "data" / "README.md").read_text() == dictionary.text(), "run python -m reclib.sources.dictionary"

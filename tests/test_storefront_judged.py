"""Lists lived on the days on which they were judged: the earlier evening is the true one, and the sentences say what is so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.sources.storefront import config, judged, tables, truth

PARAMS = config.as_params(config.build(n_customers=300, n_items=80, n_days=28))
SOURCE = {"answers": True, "params": PARAMS}
SINCE = pd.Timestamp(config.FIRST_DAY, tz="UTC") + pd.Timedelta(days=13, hours=23)
WHO = pd.Series(range(1, 201))


def test_an_earlier_evening_is_the_history_cut_there():
    whole, early = (tables.history(config.build(**PARAMS), n_days=n)[2].columns("click") for n in (28, 14))
    before = whole["day"] < 14
    assert all(np.array_equal(early[name], whole[name][before]) for name in early)
    assert judged.first_day(SINCE) == 14


def test_random_lists_are_of_eligible_items_without_repeats():
    ids = pd.Index([f"i{number:04d}" for number in range(1, 21)])
    shown = judged.lists({}, WHO, SOURCE, eligible=ids, k=5, rng=np.random.default_rng(1))[judged.AT_RANDOM]
    assert shown["item_id"].isin(ids).all() and not shown.duplicated(["customer_id", "item_id"]).any()
    assert shown.groupby("customer_id")["rank"].max().eq(5).all()


def test_all_worlds_share_their_luck_and_only_the_customers_who_are_looked_at_count():
    ids = pd.Index([f"i{number:04d}" for number in range(1, 21)])
    shown = judged.lists({}, WHO, SOURCE, eligible=ids, k=5, rng=np.random.default_rng(1))
    worlds = judged.live(shown | {"again": shown[judged.AT_RANDOM]}, WHO, SOURCE, since=SINCE, n_days=7)
    pd.testing.assert_frame_equal(worlds["again"], worlds[judged.AT_RANDOM], check_exact=True)
    assert worlds[judged.NOTHING]["customer_id"].tolist() == WHO.tolist() and worlds[judged.NOTHING]["clicks"].sum() == 0


def test_without_a_truth_nothing_is_lived_and_it_is_said():
    shown = judged.lists({"a": pd.DataFrame()}, WHO, {}, eligible=pd.Index([]), k=5, rng=np.random.default_rng(1))
    worlds = judged.live(shown, WHO, {}, since=SINCE, n_days=7)
    table = judged.compare(worlds, pd.DataFrame())
    assert (shown, worlds, len(table)) == ({}, {}, 0)
    assert "no source whose truth is known" in judged.sentence(table, judged.disagreements(worlds, pd.DataFrame()), currency=None, n_days=7)


def world(contribution: float) -> pd.DataFrame:
    own = contribution + np.linspace(-0.1, 0.1, 50)
    return pd.DataFrame({"clicks": 1, "orders": 1, "revenue": own, "contribution": own})


def accuracy(**means: float) -> pd.DataFrame:
    return pd.DataFrame({name: mean + np.linspace(-0.01, 0.01, 50) for name, mean in means.items()})


@pytest.mark.parametrize(("earned", "said"), [
    (1.0, "value earns most"), (5.0, "ranked ranks best offline and earns most"),
    (1.0, "Of 1 pairs of lists that both tell apart, the one that ranks better offline earns less in 1; most of all ranked, 2.00 EUR"),
    (5.0, "Of 1 pairs of lists that both tell apart, offline accuracy is right on all.")])
def test_offline_accuracy_is_held_against_what_is_earned(earned, said):
    worlds = {judged.NOTHING: world(0.0), "ranked": world(earned), "value": world(3.0)}
    offline = accuracy(ranked=0.3, value=0.2)
    told = judged.sentence(judged.compare(worlds, offline), judged.disagreements(worlds, offline), currency="EUR", n_days=7)
    assert said in told


def test_pairs_that_differ_by_noise_alone_do_not_disagree():
    worlds = {judged.NOTHING: world(0.0), "ranked": world(1.0), "value": world(3.0)}
    assert judged.disagreements(worlds, accuracy(ranked=0.2, value=0.2)).empty


def test_the_truth_of_pairs_is_that_of_the_evening():
    pairs = pd.DataFrame({"customer_id": [1, 2], "item_id": ["i0001", "i0002"]})
    known = judged.pairs(pairs, SOURCE, since=SINCE)
    assert known["p_buy"].tolist() == truth.p_response(pairs, PARAMS, first_day=14)["p_buy"].tolist()
    assert known["visit_rate"].tolist() == truth.tastes(PARAMS)["visit_rate"].head(2).tolist()
    assert judged.pairs(pairs, {}, since=SINCE).empty

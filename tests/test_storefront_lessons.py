"""What the storefront is there to show, in truth."""

import pandas as pd
import pytest

from reclib.sources.storefront import config, lessons

PARAMS = config.as_params(config.build(n_customers=1500, n_items=200, n_days=28))


@pytest.fixture(scope="module")
def lived() -> dict[str, pd.DataFrame]:
    return lessons.worlds(["popular", "oracle", "oracle_margin"], params=PARAMS)


def test_relevance_is_not_value(lived):
    both = ("oracle", "oracle_margin")
    clicks, money = ({name: float(lived[name][metric].sum()) for name in both} for metric in ("clicks", "contribution"))
    assert clicks["oracle"] > clicks["oracle_margin"]
    assert money["oracle"] < money["oracle_margin"]
    assert lessons.relevance_sentence(lived, "oracle", "oracle_margin", currency="EUR").startswith("oracle wins more clicks")


def test_attributed_revenue_overstates_incremental_revenue(lived):
    found = lessons.attribution(lived).set_index("policy")
    assert found["share"].between(0.05, 0.95).all()
    assert (found["attributed"] > found["incremental"]).all()
    assert "overstates 3 of 3 policies" in lessons.attribution_sentence(found.reset_index(), currency="EUR")


def test_contact_has_a_best_frequency_between_never_and_daily():
    found = lessons.by_push("popular", params=PARAMS | {"stock_on": False, "n_customers": 2500}, n_days=[56])
    best = found[found["is_best"]].iloc[0]
    assert best["push_every"] not in (0, 1)
    assert found.sort_values("pushes")["opted_out"].is_monotonic_increasing
    assert lessons.push_sentence(found).startswith("The best frequency lies between never and daily: over 56 days")


def test_push_sentence_says_when_an_end_is_best():
    found = pd.DataFrame({"n_days": 7, "push_every": [0, 1], "pushes": [0.0, 7.0], "contribution": [2.0, 1.0],
                          "opted_out": [0.0, 0.5], "is_best": [True, False]})
    assert lessons.push_sentence(found) == (
        "The best frequency lies at an end: over 7 days a push never earns most (2.00 a customer; 1.00 with one every day, "
        "where 50% opt out).")

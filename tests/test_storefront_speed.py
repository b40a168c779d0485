"""The measuring itself; its figures belong to the benchmark page."""

import pandas as pd

from reclib.sources.storefront import speed


def test_a_small_shop_is_measured_in_its_own_process():
    measured = speed.measure([(20, 20)], n_days=3)
    assert measured.loc[0, ["n_customers", "n_items"]].tolist() == [20, 20]
    assert (measured[["cpu_seconds", "peak_mb", "events", "slots"]] > 0).all(axis=None)


def test_the_sentence_names_the_largest():
    measured = pd.DataFrame({
        "n_customers": [10, 2000], "n_items": [5, 400], "cpu_seconds": [0.1, 0.54], "peak_mb": [90.0, 220.0],
        "events": [9, 377000], "slots": [4, 230000],
    })
    assert speed.sentence(measured, n_days=84) == (
        "2,000 customers and 400 items over 84 days took 0.5 CPU seconds and 220 MB for 377,000 events.")

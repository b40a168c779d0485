"""Layer 1: what events say about pairs, items, customers, context and stock, as of a moment.

Nothing after `as_of` is read. Weights and half-life are arguments that a notebook shows, so that anyone can change
them and see what moves. This is the one door to all signals.
"""

from reclib.signals.describe import (
    attribute_coverage,
    context_signals,
    customer_signals,
    inventory_signals,
    item_signals,
)
from reclib.signals.grader import Grader
from reclib.signals.page import (
    attributes_sentence,
    by_weekday,
    context_sentence,
    customers_sentence,
    decay_sentence,
    inventory_sentence,
    items_sentence,
    quantiles,
    ratings_sentence,
    rising,
    shortest_stock,
    weights_sentence,
)
from reclib.signals.ratings import (
    WEIGHTS,
    build_ratings,
    decay_curve,
    rating_scale,
    rating_spread,
    weight_table,
)
from reclib.signals.shared import RESPONSES, response_type

__all__ = [
    "RESPONSES", "WEIGHTS", "Grader", "attribute_coverage", "attributes_sentence", "build_ratings", "by_weekday",
    "context_sentence", "context_signals", "customer_signals", "customers_sentence", "decay_curve", "decay_sentence",
    "inventory_sentence", "inventory_signals", "item_signals", "items_sentence", "quantiles", "rating_scale", "rating_spread",
    "ratings_sentence", "response_type", "rising", "shortest_stock", "weight_table", "weights_sentence",
]

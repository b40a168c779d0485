"""Figures in one visual language: table in, figure out, shown with words for those who cannot see it.

The palette is Okabe and Ito's, safe for colour blindness; series differ by marker or dash as well as by colour. This is
the one door to all of them: `figure` makes an empty one, `show` is the only way to put one on a page.
"""

from reclib.plots.base import (
    GREY,
    MARKERS,
    PALETTE,
    Figure,
    Stage,
    figure,
    nothing,
    panels,
    plt,
    show,
)
from reclib.plots.explorers import day, planned, regraded, thresholds, what_if
from reclib.plots.layers import (
    forest,
    foretold,
    long_tail,
    new_and_again,
    price_list,
    rates,
    reliability,
    trade_offs,
    waterfall,
    weekly,
)
from reclib.plots.tables import against_limit, bars, intervals, lines

__all__ = [
    "GREY", "MARKERS", "PALETTE", "Figure", "Stage", "against_limit", "bars", "day", "figure", "forest", "foretold", "intervals", "lines", "long_tail",
    "new_and_again", "nothing", "panels", "planned", "plt", "price_list", "rates", "regraded", "reliability", "show", "thresholds",
    "trade_offs", "waterfall", "weekly", "what_if",
]

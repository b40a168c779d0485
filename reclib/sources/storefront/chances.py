"""The true chance of a click while slates are lived, free of the luck of the clicks.

Like `truth`, this is for pages that hold an estimate against the truth; no layer may import it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.sources.storefront import config, days, policies, response, tables
from reclib.sources.storefront.policies import EMPTY, Slates
from reclib.sources.storefront.state import NEVER
from reclib.sources.storefront.world import World


class _Watched:
    """Published slates that add up, visit by visit, how likely each seen slot is to be clicked."""

    def __init__(self, published: policies.Published) -> None:
        self._published = published
        self.chance, self.n_seen = 0.0, 0

    def __call__(self, world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
        slates = self._published(world, state, day, visitors, is_open)
        items = np.maximum(slates.items, 0)
        is_seen = (slates.items != EMPTY) & (state.opt_out_day[visitors] >= NEVER)[:, None]
        logit = response.utility(world, day, visitors, items) + response.memory(world, state, visitors, items)
        chance = response.p_examine(world, state, visitors, items.shape[1]) * response.p_click(world, logit)
        self.chance += round(float(chance[is_seen].sum()), 6)
        self.n_seen += int(is_seen.sum())
        return slates


def of_click(slates: pd.DataFrame, params: dict, *, n_days: int) -> float:
    """The true mean chance of a click of a seen slot while everybody is shown these slates after the history.

    Args:
        slates: customer_id, item_id and position.
        params: `facts["params"]` of the history.
        n_days: days that the slates are lived.
    """
    settings = config.build(**params)
    world, state, _ = tables.history(settings)
    watched = _Watched(policies.published(slates, settings.n_customers, settings.n_items))
    days.run(world, state, watched, first_day=settings.n_days, n_days=n_days)
    return watched.chance / watched.n_seen if watched.n_seen else float("nan")

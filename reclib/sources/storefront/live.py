"""The shop lived day by day: each night something is published, the next day the shop answers it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.sources.storefront import config, days, frames, policies, tables, totals
from reclib.sources.storefront.policies import EMPTY, Published, Slates
from reclib.sources.storefront.state import NEVER, Log
from reclib.sources.storefront.world import World

HISTORY = "h"


class Watched:
    """Published slates, and a count of what a day found stale in them.

    Attributes:
        n_slots: slots that were due to visitors of the day, those who opted out left out.
        n_out_of_stock: of these, slots whose item had nothing left to sell that morning.
        n_withdrawn: of these, slots whose item was not on sale any more, or not yet.
    """

    def __init__(self, published: Published) -> None:
        self._published = published
        self.n_slots = self.n_out_of_stock = self.n_withdrawn = 0

    def __call__(self, world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
        """Show what was published, less what cannot be sold."""
        items = self._published.items[visitors]
        is_due = (items != EMPTY) & (state.opt_out_day[visitors] >= NEVER)[:, None]
        is_gone = is_due & ~world.on_sale(day)[items]
        self.n_slots += int(is_due.sum())
        self.n_withdrawn += int(is_gone.sum())
        self.n_out_of_stock += int((is_due & ~is_gone & ~is_open[items]).sum())
        return self._published(world, state, day, visitors, is_open)


class Shop:
    """A shop that goes on from the end of its history, one day at a time.

    Ids of slots are text throughout: those of the history begin with `h`.

    Attributes:
        params: parameters of the world.
        n_days: days lived so far, the history included.
        watched: what the last day found stale in the published slates; None where it showed a policy of the shop.
    """

    def __init__(self, params: dict) -> None:
        self.params = params
        self._settings = config.build(**params)
        self._world, self._state, self._history = tables.history(self._settings)
        self._days: list[tuple[Log, pd.Series | None]] = []
        self.n_days = self._settings.n_days
        self.watched: Watched | None = None

    @property
    def as_of(self) -> pd.Timestamp:
        """The last day lived."""
        return pd.Timestamp(config.FIRST_DAY, tz="UTC") + pd.Timedelta(days=self.n_days - 1)

    def next_day(self, published: pd.DataFrame | str) -> pd.DataFrame:
        """Let a day pass in which every visitor is shown what was published for them.

        Args:
            published: `deliveries` of the night, or the name of one of the shop's own policies (`policies.POLICIES`).

        Returns:
            The totals of the day, one row a customer, as `totals.total` makes them.
        """
        slots = None if isinstance(published, str) else published["decision_id"].astype("str")
        self.watched = None if isinstance(published, str) else Watched(
            policies.published(published, self._settings.n_customers, self._settings.n_items))
        policy = policies.named(published) if self.watched is None else self.watched
        log = days.run(self._world, self._state, policy, first_day=self.n_days, n_days=1)
        self._days.append((log, slots))
        self.n_days += 1
        return self.totals(n_days=1)

    def totals(self, *, n_days: int) -> pd.DataFrame:
        """Totals of the last days, one row a customer."""
        logs = [self._history, *(log for log, _ in self._days)]
        return totals.total(self._world, self._state, logs, first_day=self.n_days - n_days, n_days=n_days)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The shop's tables as they stand this evening: `events` of all days so far, `items` and `customers`.

        `logged_deliveries` and `logged_outcomes` stay those of the history, whose probabilities the shop knows.
        """
        before = self._settings.n_days
        return self.evening(n_days=self.n_days) | {
            "logged_deliveries": _as_text(frames.logged_deliveries(self._world, self._history, policy=tables.LOGGING)),
            "logged_outcomes": _as_text(frames.logged_outcomes(self._world, self._history, n_days=before)),
        }

    def evening(self, *, n_days: int) -> dict[str, pd.DataFrame]:
        """What a night may learn from: `events` of the last days, `items` and `customers` as they stand this evening.

        The cost follows the days that are asked for, not the days lived.
        """
        evening = self.n_days - 1
        return {
            "events": self._events(first_day=max(self.n_days - n_days, 0)),
            "items": frames.items(self._world, self._state, day=evening),
            "customers": frames.customers(self._world, self._state, day=evening),
        }

    def _events(self, *, first_day: int) -> pd.DataFrame:
        span = {"first_day": first_day, "n_days": self.n_days - first_day}
        parts = [_as_text(frames.events(self._world, [self._history], slots=None, **span))]
        for log, slots in self._days:
            part = frames.events(self._world, [log], slots=slots, **span)
            unknown = pd.Series(np.nan, index=part.index, dtype="str")
            parts.append(part.assign(decision_id=unknown) if slots is None else part)
        found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        found = found.sort_values("occurred_at", kind="stable", ignore_index=True)
        return found.assign(event_id=np.arange(1, len(found) + 1))


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the whole-number slots of the history into text ids."""
    numbers = frame["decision_id"]
    return frame.assign(decision_id=(HISTORY + numbers.astype("str")).where(numbers.notna()).astype("str"))

"""One customer's day under two controls: what they did, who offered what, the slate, and why an item is in it or not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots
from reclib.rules import trace
from reclib.rules.plan import Case, Plan

N_CUSTOMERS = 6
N_SOURCES = 8


@dataclass(frozen=True)
class _Day:
    """A customer's night as it was decided, and what the figure shows of it."""

    desk: trace.Desk
    case: Case
    plan: Plan
    shown: pd.Series
    history: pd.DataFrame
    offers: pd.DataFrame
    ranks: pd.DataFrame


class Day:
    """A few customers whose day can be looked at, each decided again as the trace does it.

    Attributes:
        controls: the customers to choose from, and the rank (before rules) of the item that is asked about.
    """

    def __init__(self, case: Case, plan: Plan, ranked: pd.DataFrame, candidates: pd.DataFrame, events: pd.DataFrame, *,
                 as_of: pd.Timestamp) -> None:
        self._case, self._plan, self._as_of = case, plan, as_of
        known = case.world.customers["customer_id"]
        chosen = _telling(case, plan)
        mine = known.take(chosen)
        history = events[(events["occurred_at"] <= as_of).to_numpy() & (events["event_type"] != "impression").to_numpy()]
        own = [_rows_of(table, mine) for table in (ranked[(ranked["policy"] == plan.policy).to_numpy()], candidates, history)]
        self._days = _side_by_side({name: self._decided(code, *(rows[name] for rows in own)) for name, code in zip(mine.astype("str"), chosen)})
        deepest = max((len(each.ranks) for each in self._days.values()), default=0)
        self.controls = {"customer": list(self._days), "rank": (1, deepest, 1, self._missed())} if self._days else {}

    def draw(self, *, customer: str = "", rank: int = 1) -> tuple[Figure, str]:
        """One customer's history, offers and slate, and why the item at a rank is shown or not.

        Args:
            customer: id as text.
            rank: before rules; the customer's last one where there are fewer.
        """
        if not self._days:
            return plots.nothing("Nothing was ranked, so no customer's day can be shown."), "Nothing was ranked."
        own = self._days[customer]
        rank = min(int(rank), int(own.plan.rank.max()))
        row = int(np.flatnonzero(own.plan.is_ranked & (own.plan.rank == rank))[0])
        told = trace.told(trace.look(own.desk, own.case.world.items["item_id"].iloc[int(own.case.pairs.item[row])]))
        return plots.day(own.history, own.offers, own.ranks, chosen=rank), self._said(customer, own, told)

    def _missed(self) -> int:
        """Best rank of the first customer that is not shown, else 1."""
        ranks = next(iter(self._days.values())).ranks
        return int(ranks.loc[(ranks["state"] != "shown").to_numpy(), "rank"].min()) if (ranks["state"] != "shown").any() else 1

    def _said(self, customer: str, own: _Day, told: trace.Answer) -> str:
        before = (f"left {_many(len(own.history), 'event')}, the last {own.history['days_ago'].min():.1f} days ago" if len(own.history)
                  else "has no history")
        offers = own.desk.candidates
        return (f"Customer {customer} {before}; {_many(offers['source'].nunique(), 'source')} offered "
                f"{_many(offers['item_id'].nunique(), 'item')}, {len(own.desk.ranked)} ranked; the slate of {told.policy} is "
                f"{', '.join(map(str, own.shown)) or 'empty'}. {told.sentence}")

    def _decided(self, code: int, ranked: pd.DataFrame, candidates: pd.DataFrame, history: pd.DataFrame) -> _Day:
        desk = trace.desk_of(self._case, self._plan, code, ranked.reset_index(drop=True), candidates.reset_index(drop=True))
        case, plan = desk.decide()
        slate = np.flatnonzero(plan.position > 0)
        shown = case.world.items["item_id"].take(case.pairs.item[slate[np.argsort(plan.position[slate])]])
        past = pd.DataFrame({"days_ago": (self._as_of - history["occurred_at"]) / pd.Timedelta(days=1),
                             "event_type": history["event_type"].astype("str")})
        ranks = pd.DataFrame({"rank": plan.rank, "state": plan.state})[plan.is_ranked].sort_values("rank", kind="stable")
        return _Day(desk, case, plan, shown, past, _offers(desk.candidates, shown), ranks)


def _side_by_side(days: dict[str, _Day]) -> dict[str, _Day]:
    """Give all days the same rows in their figures: every type of event, source and state that one of them has."""
    if not days:
        return {}
    types, states, offers = (pd.concat([getattr(each, name) for each in days.values()]) for name in ("history", "ranks", "offers"))
    most = offers.groupby("source")["n_offered"].sum().reset_index().sort_values(["n_offered", "source"], ascending=[False, True])
    sources = most["source"].head(N_SOURCES)
    dtypes = [pd.CategoricalDtype(sorted(types["event_type"].unique())), pd.CategoricalDtype(states["state"].unique())]
    return {name: replace(each, history=each.history.astype({"event_type": dtypes[0]}), ranks=each.ranks.astype({"state": dtypes[1]}),
                          offers=each.offers.set_index("source").reindex(sources, fill_value=0).reset_index())
            for name, each in days.items()}


def _telling(case: Case, plan: Plan) -> list[int]:
    """Codes of customers with a slate to explain: most different states first, then by spread of how much is shown."""
    states = pd.DataFrame({"customer": case.pairs.customer, "state": plan.state, "is_shown": plan.position > 0})[plan.is_ranked]
    if states.empty:
        return []
    by = states.groupby("customer").agg(n_states=("state", "nunique"), n_shown=("is_shown", "sum"))
    first = int(by.index[by["n_states"] == by["n_states"].max()].min())
    rest = by.drop(index=first).reset_index().sort_values(["n_shown", "customer"])["customer"].to_numpy()
    places = np.unique(np.linspace(0, len(rest) - 1, N_CUSTOMERS - 1).round().astype(int)) if len(rest) else []
    return [first, *(int(rest[place]) for place in places)]


def _rows_of(table: pd.DataFrame, customers: pd.Series) -> dict[str, pd.DataFrame]:
    """The rows of each of these customers, by their id as text."""
    own = table[table["customer_id"].isin(customers).to_numpy()]
    return {str(customer): own[(own["customer_id"] == customer).to_numpy()] for customer in customers}


def _offers(candidates: pd.DataFrame, shown: pd.Series) -> pd.DataFrame:
    """How many items each source offered and how many of them are shown."""
    marked = candidates.assign(source=candidates["source"].astype("str"), is_shown=candidates["item_id"].isin(shown))
    return marked.groupby("source").agg(n_offered=("item_id", "nunique"), n_shown=("is_shown", "sum")).reset_index()


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")

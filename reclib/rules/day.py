"""One customer's day under two controls: what they did, who offered what, the slate, and why an item is in it or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots
from reclib.rules import trace
from reclib.rules.plan import Case, Plan

N_CUSTOMERS = 6
N_SOURCES = 8


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
        self._codes = {str(known.iloc[code]): code for code in chosen}
        mine = known.take(chosen)
        own = ranked[(ranked["policy"] == plan.policy).to_numpy()]
        self._ranked, self._candidates = _rows_of(own, mine), _rows_of(candidates, mine)
        history = events[(events["occurred_at"] <= as_of).to_numpy()]
        self._history = {name: rows[rows["event_type"] != "impression"] for name, rows in _rows_of(history, mine).items()}
        self._decided = {name: self._again(name) for name in self._codes}
        deepest = max((len(rows) for rows in self._ranked.values()), default=0)
        self.controls = {"customer": list(self._codes), "rank": (1, deepest, 1, self._missed())} if self._codes else {}

    def draw(self, *, customer: str = "", rank: int = 1) -> tuple[Figure, str]:
        """One customer's history, offers and slate, and why the item at a rank is shown or not.

        Args:
            customer: id as text.
            rank: before rules; the customer's last one where there are fewer.
        """
        if not self._decided:
            return plots.nothing("Nothing was ranked, so no customer's day can be shown."), "Nothing was ranked."
        desk, case, plan = self._decided[customer]
        rank = min(int(rank), int(plan.rank.max()))
        row = int(np.flatnonzero(plan.is_ranked & (plan.rank == rank))[0])
        item = case.world.items["item_id"].iloc[int(case.pairs.item[row])]
        slate = np.flatnonzero(plan.position > 0)
        shown = case.world.items["item_id"].take(case.pairs.item[slate[np.argsort(plan.position[slate])]])
        told = trace.told(desk, case, plan, row, item)
        history = self._history[customer]
        past = pd.DataFrame({"days_ago": (self._as_of - history["occurred_at"]) / pd.Timedelta(days=1),
                             "event_type": history["event_type"].astype("str")})
        order = np.argsort(plan.rank[plan.is_ranked], kind="stable")
        ranks = pd.DataFrame({"rank": plan.rank[plan.is_ranked][order], "state": plan.state[plan.is_ranked][order]})
        offered = _offers(desk.candidates, shown)
        return plots.day(past, offered, ranks, chosen=rank), self._said(customer, past, desk, shown, told)

    def _missed(self) -> int:
        """Best rank of the first customer that is not shown, else 1."""
        _, _, plan = next(iter(self._decided.values()))
        missed = plan.rank[plan.is_ranked & (plan.position == 0)]
        return int(missed.min()) if len(missed) else 1

    def _said(self, customer: str, past: pd.DataFrame, desk: trace.Desk, shown: pd.Series, told: trace.Answer) -> str:
        before = f"left {_many(len(past), 'event')}, the last {past['days_ago'].min():.1f} days ago" if len(past) else "has no history"
        offers = desk.candidates
        return (f"Customer {customer} {before}; {_many(offers['source'].nunique(), 'source')} offered "
                f"{_many(offers['item_id'].nunique(), 'item')}, {len(desk.ranked)} ranked; the slate of {told.policy} is "
                f"{', '.join(map(str, shown)) or 'empty'}. {told.sentence}")

    def _again(self, name: str) -> tuple[trace.Desk, Case, Plan]:
        code = self._codes[name]
        desk = trace.desk_of(self._case, self._plan, code, self._ranked[name].reset_index(drop=True),
                             self._candidates[name].reset_index(drop=True))
        return desk, *desk.decide()


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
    """How many items each source offered and how many of them are shown, the fullest lists first."""
    marked = candidates.assign(source=candidates["source"].astype("str"), is_shown=candidates["item_id"].isin(shown))
    table = marked.groupby("source").agg(n_offered=("item_id", "nunique"), n_shown=("is_shown", "sum")).reset_index()
    return table.sort_values(["n_offered", "source"], ascending=[False, True]).head(N_SOURCES)


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")

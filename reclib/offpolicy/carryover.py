"""What a log cannot show by itself: a policy that is lived shows the same again and again, and no week is like another.

A value from a log is that of a slate shown once, to customers as the log left them. Lived, the policy shapes its own answers:

    value lived = value in the log x exp(share x slope x (mean log(1 + showings) lived - the same in the log))

where showings are those of the item to the customer in the days before. The log draws at random, so it tells the slope: by
chance some customers had seen an item more often than others who were as likely to see it (Poisson regression with robust
errors, Wooldridge 2010, 18.2). Whether customers remember at the launch as they did in the log no log tells: every share from
a half to one and a half is taken as likely, with mean 1 and variance 1 / 12. All weeks logged tell the slope and how weeks
differ beyond luck, also those that a policy cannot be asked of. Attention, habits and prices drift, so a week is taken to
start from the one before: the week to come is farther from the mean of those asked than one of them drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.offpolicy import estimators
from reclib.offpolicy.logs import DAY, clusters_of, context_of

WINDOW = pd.Timedelta(days=14)
NEEDED = {"customer_id", "item_id", "position", "p_shown", "p_in_slate", "reward", DAY}
_STEPS, _PRIOR, _KNOWN, _ENOUGH = 8, 2.0, 0.99, 20


@dataclass(frozen=True)
class Memory:
    """What a log tells of its own past.

    Attributes:
        log: the slots asked, with looked (how much their position is looked at), start (of the days that are lived as if the
            policy began then) and n_earlier (visits of the customer since).
        shown: these slots and those of the days before.
        slope, slope_error: change of log reward by log(1 + showings), and its standard error.
        between: variance of the log level of the week to come about that of the weeks asked, of all items together; by_item:
            of each item by itself.
        known: showings that one slot in a hundred exceeds.
    """

    log: pd.DataFrame
    shown: pd.DataFrame
    slope: float
    slope_error: float
    between: float
    by_item: float
    known: float


@dataclass(frozen=True)
class CarryOver:
    """How a value moves from the log to its being lived: factor, error (of its logarithm), and the share of slots that would
    be repeated more often than the log knows."""

    factor: float
    error: float
    beyond: float


def remember(log: pd.DataFrame, shown: pd.DataFrame, *, days: int = 7) -> Memory | None:
    """Learn from a log how repetition and weeks move its rewards.

    Args:
        log: the slots that a policy is asked of, with `reward` and `p_in_slate`.
        shown: all slots logged, these among them; earlier ones count as showings, and tell of repetition and weeks.
        days: days that a policy is lived.

    Returns:
        The memory; None where the log names no customers, times or chances in the slate, or holds too few rewards.
    """
    if not set(log) >= NEEDED or log["customer_id"].isna().any() or log["reward"].sum() < _ENOUGH:
        return None
    first, end = log[DAY].min(), log[DAY].max()
    past = shown[shown[DAY] <= end]
    looked = estimators.examination(past)
    n_before = showings(past, past, since=past[DAY] - WINDOW, until=past[DAY])
    reward, repeated = past["reward"].to_numpy("float64"), np.log1p(n_before)
    expected = _expected(past.assign(looked=past["position"].map(looked)))
    slope, error = _slope(reward, expected, repeated, clusters_of(past)) if repeated.any() else (0.0, 0.0)
    mean, week = expected * np.exp(slope * repeated), ((end - past[DAY]).dt.days // 7).to_numpy()
    is_asked = (past[DAY] >= first).to_numpy()
    reach = _reach(len(np.unique(week[is_asked])), len(np.unique(week)))
    places = log.assign(looked=log["position"].map(looked)).merge(
        _visits(past, days), on=["customer_id", DAY], how="left", validate="many_to_one")
    recent = past.loc[past[DAY] >= first - WINDOW - pd.Timedelta(days=days), ["customer_id", "item_id", DAY]]
    return Memory(places, recent, slope, error, between=reach * _excess(reward, mean, np.zeros(len(past)), week),
                  by_item=reach * _excess(reward, mean, past["item_id"].to_numpy(), week),
                  known=float(np.quantile(n_before[is_asked], _KNOWN)))


def carry_over(memory: Memory, target: pd.DataFrame, is_away: np.ndarray) -> CarryOver | None:
    """Say how the value of slates moves once they are lived.

    At each visit of the log the slate is taken to have been shown at every visit since the days began, and before that
    what the log showed.

    Args:
        memory: of the log that the slates are asked of.
        target: one item a customer and position.
        is_away: slots of the log in whose place the item was not on offer.

    Returns:
        The change; None where the target is not a slate a customer, or has no place in the log.
    """
    if set(context_of(target)) != {"customer_id", "position"} or target.duplicated(["customer_id", "position"]).any():
        return None
    columns = ["customer_id", "position", "looked", "start", "n_earlier", DAY]
    places = memory.log.loc[~is_away, columns].merge(target, on=["customer_id", "position"], validate="many_to_one")
    if places.empty:
        return None
    first = places[DAY] - WINDOW
    in_log = showings(memory.shown, places, since=first, until=places[DAY])
    lived = showings(memory.shown, places, since=first, until=places["start"].clip(lower=first))
    lived = lived + places["n_earlier"].to_numpy() * (1 - is_away.mean())
    more = float(np.log1p(lived).mean() - np.log1p(in_log).mean())
    shares = places.groupby("item_id")["looked"].sum() / places["looked"].sum()
    weeks = memory.between + memory.by_item * float((shares**2).sum())
    whole = memory.slope * more
    error = np.sqrt((memory.slope_error * more) ** 2 + whole**2 / 12 + weeks)
    return CarryOver(float(np.exp(whole)), float(error), float((lived > memory.known).mean()))


def showings(shown: pd.DataFrame, asked: pd.DataFrame, *, since: pd.Series, until: pd.Series) -> np.ndarray:
    """Count how often each pair asked was shown from `since` on and before `until`."""
    origin, second, n = shown[DAY].min() - 2 * WINDOW, pd.Timedelta(seconds=1), len(shown)
    customer, item = (pd.factorize(pd.concat([shown[name], asked[name]]))[0] for name in ("customer_id", "item_id"))
    pair = customer.astype("int64") * (item.max(initial=0) + 1) + item
    span = max(int((moments.max() - origin) // second) for moments in (shown[DAY], until)) + 2
    keys = np.sort(pair[:n] * span + ((shown[DAY] - origin) // second).to_numpy())
    first, last = (pair[n:] * span + np.maximum((moments - origin) // second, 0).to_numpy() for moments in (since, until))
    return np.searchsorted(keys, last) - np.searchsorted(keys, first)


def _visits(shown: pd.DataFrame, days: int) -> pd.DataFrame:
    """Cut the days into runs of `days`, back from the last: start of each visit's run, and the customer's earlier visits in it."""
    visits = shown[["customer_id", DAY]].drop_duplicates().sort_values([DAY, "customer_id"], ignore_index=True)
    end = visits[DAY].max().floor("D") + pd.Timedelta(days=1)
    run = (end - visits[DAY]) // pd.Timedelta(days=days)
    return visits.assign(start=end - (run + 1) * pd.Timedelta(days=days), n_earlier=visits.groupby(["customer_id", run]).cumcount())


def _expected(log: pd.DataFrame) -> np.ndarray:
    """Reward foretold by position, item and chance of being in the slate, each a factor; rare ones lean to the mean."""
    expected = log["looked"].to_numpy("float64")
    for key in (log["item_id"], np.round(2 * np.log2(log["p_in_slate"]))):
        sums = pd.DataFrame({"top": log["reward"], "below": expected}).groupby(key.to_numpy()).sum()
        factor = (sums["top"] + _PRIOR) / (sums["below"] + _PRIOR * sums["below"].sum() / sums["top"].sum())
        expected = expected * key.map(factor).to_numpy()
    return expected


def _slope(reward: np.ndarray, expected: np.ndarray, x: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Poisson regression of rewards on x by Newton steps; the error is robust to rows of one customer moving together."""
    columns, found = np.column_stack([np.ones_like(x), x]), np.zeros(2)
    for _ in range(_STEPS):
        mean = expected * np.exp(columns @ found)
        information = columns.T @ (columns * mean[:, None])
        found = found + np.linalg.solve(information, columns.T @ (reward - mean))
    sums = np.column_stack([np.bincount(clusters, column * (reward - mean)) for column in columns.T])
    bread = np.linalg.inv(information)
    return float(found[1]), float(np.sqrt((bread @ (sums.T @ sums) @ bread)[1, 1]))


def _reach(n_asked: int, n_weeks: int) -> float:
    """Variance of the next week about the mean of the last `n_asked`, over that of `n_weeks` about their mean.

    Each week starts from the one before: with variance q a step, weeks have the sample variance q (n_weeks + 1) / 6, and the
    next differs from the mean of the last n by q (n + 1) (2 n + 1) / (6 n). Both are 2 weeks: (3 x 5 / 12) / (3 / 6) = 2.5.
    """
    return (n_asked + 1) * (2 * n_asked + 1) / (n_asked * (n_weeks + 1))


def _excess(reward: np.ndarray, expected: np.ndarray, group: np.ndarray, week: np.ndarray) -> float:
    """Variance of the weeks of a group about its mean beyond Poisson luck, on the relative scale; at least 0.

    sum of (r - m)^2 - m (1 - s) over sum of m^2 (1 - s), where m is the group's reward spread over its weeks as expected
    and s the share of the week.
    """
    cells = pd.DataFrame({"r": reward, "e": expected}).groupby([group, week]).sum()
    whole = cells.groupby(level=0).transform("sum")
    share = cells["e"] / whole["e"]
    mean = share * whole["r"]
    top, below = ((cells["r"] - mean) ** 2 - mean * (1 - share)).sum(), (mean**2 * (1 - share)).sum()
    return max(float(top / below), 0.0) if below > 0 else 0.0

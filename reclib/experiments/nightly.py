"""The ledger of a loop: what each night foretells of the next day's answers, and what came of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from reclib.experiments import ledger

ANSWERS = ("click", "add_to_cart")
PAIR = ["customer_id", "item_id"]
CAME = ["observed", "observed_low", "observed_high"]
NEXT_DAY = " of a seen slot on the next day"


def foretell(slates: pd.DataFrame, events: pd.DataFrame, *, as_of: pd.Timestamp, days: int = 14, alpha: float = 0.05) -> pd.DataFrame:
    """Foretell how often tomorrow's seen slots are answered, from the slots of the last days.

    A slot is likened to those whose customer, like its own, had bought the item before, or had not. Slots count by how
    often their customer came in these days. The interval holds the chance of who came and answered (customers as units) and
    how much days differ beyond it; tomorrow's own chance is in the interval of what comes.

    Args:
        slates: `deliveries` of one policy that go out tonight.
        events: `events` up to tonight; impressions and answers name the slot by `decision_id`.
        as_of: tonight.
        days: how far back slots are looked at.
        alpha: error rate of the interval.

    Returns:
        A `forecasts` table of one row an answer, without what came. An answer that nobody gave in these days is not
        foretold, and none is where slots of fewer than two customers were seen: nothing says how sure it would be.
    """
    seen = _seen(events, slates, since=as_of - pd.Timedelta(days=days))
    given = [name for name in ANSWERS if seen["customer_id"].nunique() > 1 and seen[name].any()]
    if not given or slates.empty:
        return _typed(pd.DataFrame(columns=ledger.COLUMNS))
    came = events[events["occurred_at"] > as_of - pd.Timedelta(days=days)].groupby("customer_id")["session_id"].nunique()
    weight = slates["customer_id"].map(came).fillna(0.0) + 0.5
    is_known = _known(slates.assign(occurred_at=as_of), events)
    share = pd.Series({kind: float(weight[is_known == kind].sum() / weight.sum()) for kind in (True, False)})
    rows = [{"metric": f"{name}{NEXT_DAY}", **_rate(seen.assign(hits=seen[name]), share, alpha)} for name in given]
    policy = str(slates["policy"].iloc[0])
    made = pd.DataFrame(rows).assign(policy=policy, made_at=as_of, estimator="slots alike", gate="log", is_inside=pd.NA,
                                     **dict.fromkeys(CAME, np.nan))
    return _typed(made.assign(forecast_id=f"{as_of:%Y-%m-%d}-{policy}-" + made["metric"]))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = dict.fromkeys(("forecast", "low", "high", *CAME), "float64")
    return table.astype({"made_at": "datetime64[us, UTC]", "is_inside": "boolean", **numbers})[ledger.COLUMNS]


def _known(slots: pd.DataFrame, events: pd.DataFrame) -> pd.Series:
    """Whether the customer of each slot had bought its item before."""
    first = events[events["event_type"] == "purchase"].groupby(PAIR)["occurred_at"].min().rename("bought_at")
    return slots[[*PAIR, "occurred_at"]].join(first, on=PAIR).eval("bought_at < occurred_at")


def _seen(events: pd.DataFrame, slates: pd.DataFrame, *, since: pd.Timestamp) -> pd.DataFrame:
    """Every time a slot was seen: customer_id, day, is_known, and whether each of `ANSWERS` came the same day."""
    late = events[(events["occurred_at"] > since) & events["decision_id"].notna()]
    late = late.assign(day=late["occurred_at"].dt.floor("D"))
    seen, key = late[late["event_type"] == "impression"], ["decision_id", "day"]
    place = pd.MultiIndex.from_frame(seen[key])
    answered = {name: place.isin(pd.MultiIndex.from_frame(late.loc[late["event_type"] == name, key])).astype(float) for name in ANSWERS}
    return seen.assign(is_known=_known(seen, events), **answered)[["customer_id", "day", "is_known", *ANSWERS]]


def _rate(seen: pd.DataFrame, share: pd.Series, alpha: float) -> dict[str, float]:
    """The rate of the slots alike, each kind by its share of tonight's, with its interval."""
    kinds = seen.groupby("is_known")["hits"].agg(["mean", "size"]).reindex(share.index)
    rate = float((share * kinds["mean"]).sum())
    expected = seen["is_known"].map(kinds["mean"])
    moved = (seen["hits"] - expected) * seen["is_known"].map(share / kinds["size"])
    own = float((moved.groupby(seen["customer_id"]).sum() ** 2).sum())
    by_day = pd.DataFrame({"hits": seen["hits"], "expected": expected}).groupby(seen["day"]).sum()
    ratio, n_days = by_day["hits"] / by_day["expected"], len(by_day)
    beyond = max(float(((ratio - 1) ** 2).mean() - (1 / by_day["expected"]).mean()), 0.0) if n_days > 1 else 0.0
    half = float(ndtri(1 - alpha / 2)) * np.sqrt(own + beyond * (1 + 1 / n_days) * rate**2)
    return {"forecast": rate, "low": max(rate - half, 0.0), "high": rate + half}


def score(table: pd.DataFrame | None, answers: pd.DataFrame) -> pd.DataFrame:
    """Put what came beside the forecasts that wait for it.

    Args:
        table: a ledger of nights, or None where there is none yet.
        answers: `events` that answer slots of nights; a forecast is held against those of the day after it was made.

    Returns:
        The ledger; a forecast whose day has not come, or on which no slot was seen, still waits.
    """
    if table is None:
        return _typed(pd.DataFrame(columns=ledger.COLUMNS))
    waits = table["observed"].isna()
    came = pd.DataFrame([_came(row, answers) for row in table[waits].itertuples()], index=table.index[waits],
                        columns=CAME, dtype="float64")
    found = table.assign(**{name: table[name].fillna(came[name]) for name in CAME})
    return _typed(found.assign(is_inside=ledger.agrees(found)))


def _came(row: object, answers: pd.DataFrame) -> tuple[float, float, float]:
    """Answers over seen slots of the day after a forecast, customers as units."""
    day = answers[(answers["occurred_at"] > row.made_at) & (answers["occurred_at"] <= row.made_at + pd.Timedelta(days=1))]
    kind, name = day["event_type"], row.metric.removesuffix(NEXT_DAY)
    sums = pd.DataFrame({"top": kind == name, "below": kind == "impression"}).astype(float).groupby(day["customer_id"]).sum()
    return ledger.rate("", sums, 0.05)[1:4]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How honest the nights were, by answer: metric, n_forecasts, n_scored, n_inside, inside_share, bias."""
    return ledger.score(table.assign(estimator=table["metric"])).rename(columns={"estimator": "metric"})


def sentence(table: pd.DataFrame | None) -> str:
    """Say how many forecasts met their day, and which way they leaned."""
    if table is None or table.empty:
        return "No night foretold anything."
    found = summary(table)
    n, hits, waits = int(found["n_scored"].sum()), int(found["n_inside"].sum()), int(table["observed"].isna().sum())
    rest = f"; {waits} wait{'s' if waits == 1 else ''} for what comes" if waits else ""
    if not n:
        return f"Of {len(table)} forecasts none has met its day yet{rest}."
    leaned = ", ".join(f"{row.metric.removesuffix(NEXT_DAY)} {_leaned(row.bias)}"
                       for row in found.dropna(subset="bias").itertuples())
    return (f"{hits} of {n} forecasts of the next day's answers met what came ({100 * hits / n:.0f} %, where honest intervals do in 95 %); "
            f"all days together, {leaned}{rest}.")


def _leaned(bias: float) -> str:
    size = f"{100 * abs(bias):.1f} %"
    return "level" if size == "0.0 %" else f"{size} too {'high' if bias > 0 else 'low'}"

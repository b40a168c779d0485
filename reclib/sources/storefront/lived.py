"""What a closed loop came to: value a day in worlds that share their luck, and what was served stale.

The worlds are the loop itself, the loop's first slates kept for good (frozen), the shop's best sellers (popular), and a
policy that knows the true probabilities (oracle). Their luck is the same, so differences are effects of the slates.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reclib.sources.storefront import live

LOOP, FROZEN, POPULAR, ORACLE = "loop", "frozen", "popular", "oracle"
OF_THE_SHOP = {POPULAR: "popular", ORACLE: "oracle_margin"}
NOTHING = "none"
MONEY = ("contribution", "revenue")
ABOUT = {
    LOOP: "decided anew each night", FROZEN: "the first night's slates, kept",
    POPULAR: "best sellers of the shop that are there", ORACLE: "knows what is truly worth most at the next visit",
}


class Worlds:
    """The same shop lived side by side: by the loop, frozen, by popularity and by the oracle.

    Attributes:
        rows: one record a day and world: `day`, `date`, `world`, means a customer of `MONEY` and of `clicks` and
            `opted_out`, and `n_slots`, `n_out_of_stock`, `n_withdrawn` of published slates.
    """

    def __init__(self, params: dict) -> None:
        self._shops = {world: live.Shop(params) for world in ABOUT}
        self._first: pd.DataFrame | None = None
        self._params = params
        self.rows: list[dict] = []

    @property
    def shop(self) -> live.Shop:
        """The shop that the loop serves."""
        return self._shops[LOOP]

    def next_day(self, published: pd.DataFrame | None) -> list[dict]:
        """Let one day pass in every world.

        Args:
            published: the `deliveries` that the loop's shop shows; None where no night has published any yet.

        Returns:
            The records of the day.
        """
        self._first = published if self._first is None else self._first
        shown: Mapping = {LOOP: published, FROZEN: self._first, **OF_THE_SHOP}
        told = [self._day(world, NOTHING if shown[world] is None else shown[world]) for world in ABOUT]
        self.rows += told
        return told

    def _day(self, world: str, shown: pd.DataFrame | str) -> dict:
        shop = self._shops[world]
        totals, watched = shop.next_day(shown), shop.watched
        means = {name: round(float(totals[name].sum()) / len(totals), 6) for name in (*MONEY, "clicks", "opted_out")}
        stale = {name: getattr(watched, name, 0) for name in ("n_slots", "n_out_of_stock", "n_withdrawn")}
        return {"day": shop.n_days - int(self._params["n_days"]), "date": shop.as_of.date().isoformat(), "world": world,
                **means, **stale}


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Add up the days of each world, the most contribution first.

    Returns:
        world, about, means a customer and day of contribution, revenue and clicks, opted_out (customers a thousand, all
        days together), beyond_popular (share by which contribution exceeds that under popularity).
    """
    table = rows.groupby("world", as_index=False).agg(
        contribution=("contribution", "mean"), revenue=("revenue", "mean"), clicks=("clicks", "mean"),
        opted_out=("opted_out", "sum"))
    base = float(table.loc[table["world"] == POPULAR, "contribution"].iloc[0])
    table = table.assign(about=table["world"].map(ABOUT), opted_out=1000 * table["opted_out"],
                         beyond_popular=table["contribution"] / base - 1 if base else float("nan"))
    return table[["world", "about", "contribution", "revenue", "clicks", "opted_out", "beyond_popular"]].sort_values(
        ["contribution", "world"], ascending=[False, True], ignore_index=True)


def gained(rows: pd.DataFrame, *, metric: str = "contribution", over: str = POPULAR) -> pd.DataFrame:
    """What each world has gained over one of them so far: day, world, gained (a customer, from the first day on)."""
    wide = rows.pivot(index="day", columns="world", values=metric)
    beyond = wide.sub(wide[over], axis=0).cumsum().round(6)
    order = [world for world in ABOUT if world in beyond]
    return beyond[order].reset_index().melt(id_vars="day", var_name="world", value_name="gained")


def value_sentence(table: pd.DataFrame, *, currency: str, n_days: int) -> str:
    """Say what the loop is worth a day against popularity, the oracle and the frozen slates.

    Args:
        table: made by `means`.
        currency: of the money.
        n_days: days lived.
    """
    worth = table.set_index("world")["contribution"]
    parts = [f"{_against(worth[LOOP], worth[POPULAR])} popularity", f"{_against(worth[LOOP], worth[FROZEN])} its own first slates kept"]
    reach = worth[ORACLE] - worth[POPULAR]
    last = f"{_against(worth[LOOP], worth[ORACLE])} the oracle"
    if reach > 0:
        last += f", which is {100 * (worth[LOOP] - worth[POPULAR]) / reach:.0f} % of the way from popularity to it"
    return (f"Over {n_days} day{'s' if n_days > 1 else ''} the loop brought {worth[LOOP]:,.3f} {currency} of contribution a customer "
            f"and day: {', '.join(parts)}, and {last}.")


def revenue_sentence(table: pd.DataFrame, *, currency: str) -> str:
    """Say whether revenue tells the same as contribution."""
    paid, worth = (table.set_index("world")[name] for name in ("revenue", "contribution"))
    same = (paid[LOOP] >= paid[POPULAR]) == (worth[LOOP] >= worth[POPULAR])
    told = "It points the way contribution does" if same else "It points the other way than contribution"
    return (f"Revenue was {paid[LOOP]:,.3f} {currency} a customer and day, {_against(paid[LOOP], paid[POPULAR])} popularity. "
            f"{told}.")


def trend_sentence(rows: pd.DataFrame) -> str:
    """Say whether the loop's lead over its frozen slates grew over the days; the first, on which both show the same, is left out."""
    wide = rows.pivot(index="day", columns="world", values="contribution").iloc[1:]
    lead, half = wide[LOOP] - wide[FROZEN], len(wide) // 2
    if half < 1:
        return "These are too few days to say whether deciding anew pays."
    first, second = lead.iloc[:half].mean(), lead.iloc[half:].mean()
    word = "grew" if second > first else "did not grow"
    return (f"Deciding anew led the frozen slates by {first:+.3f} a customer and day in the first half of the days and by "
            f"{second:+.3f} in the second: the lead {word}.")


def stale(rows: pd.DataFrame) -> pd.DataFrame:
    """Count what was served stale in the worlds that publish slates: slots due, out of stock, withdrawn, and their share."""
    kept = rows[rows["world"].isin([LOOP, FROZEN])]
    table = kept.groupby("world")[["n_slots", "n_out_of_stock", "n_withdrawn"]].sum()
    table = table.loc[[LOOP, FROZEN]].reset_index()
    lost = table["n_out_of_stock"] + table["n_withdrawn"]
    return table.assign(stale_share=lost / table["n_slots"].where(table["n_slots"] > 0))


def stale_by_day(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the slots that were stale, in percent, by day and world: day, world, stale_percent."""
    kept = rows[rows["world"].isin([LOOP, FROZEN]) & (rows["n_slots"] > 0)]
    share = 100 * (kept["n_out_of_stock"] + kept["n_withdrawn"]) / kept["n_slots"]
    return kept[["day", "world"]].assign(stale_percent=share.round(6)).sort_values(["world", "day"], ascending=[False, True])


def stale_sentence(table: pd.DataFrame) -> str:
    """Say how much of what was published could not be shown, in the loop and frozen."""
    by = table.set_index("world")
    told = []
    for world, name in ((LOOP, "In the loop"), (FROZEN, "under the frozen slates")):
        row = by.loc[world]
        n = int(row["n_out_of_stock"] + row["n_withdrawn"])
        share = f" ({100 * row['stale_share']:.2f} %)" if row["n_slots"] else ""
        told.append(f"{name} {n:,} of {int(row['n_slots']):,} slots{share} held an item that was out of stock or withdrawn")
    return f"{'; '.join(told)}."


def nights(facts: dict) -> pd.DataFrame:
    """The nights: date, status (published, refused, failed), slates_of (night whose slates were shown), n_slots, reason."""
    table = pd.DataFrame(facts["nights"])
    return table[["date", "status", "slates_of", "n_slots", "reason"]]


def nights_sentence(table: pd.DataFrame) -> str:
    """Say whether every night published, and how often older slates had to do."""
    kept = table[table["status"] != "published"]
    if kept.empty:
        return f"All {len(table)} nights published their slates; no day was served those of an earlier night."
    named = ", ".join(f"{row.date} ({row.status})" for row in kept.itertuples())
    empty = int((kept["slates_of"] == "").sum())
    nothing = f", {empty} of them with nothing to show, because no night had published yet" if empty else ""
    return (f"{len(kept)} of {len(table)} nights did not publish: {named}. {len(kept)} day{'s' if len(kept) > 1 else ''} "
            f"went by on the last good slates{nothing}.")


def answered(events: pd.DataFrame) -> pd.DataFrame:
    """Count events by type, and those that answer slots published since the shop's own history ended: event_type, n_events, n_own."""
    table = events.assign(is_own=_is_own(events)).groupby("event_type", as_index=False, observed=True).agg(
        n_events=("is_own", "size"), n_own=("is_own", "sum"))
    return table.sort_values(["n_events", "event_type"], ascending=[False, True], ignore_index=True)


def answered_sentence(events: pd.DataFrame, *, as_of: pd.Timestamp) -> str:
    """Say how many events of the last day answer slots that a night had published."""
    n_own, day = int(_is_own(events).sum()), f"{as_of:%Y-%m-%d}"
    if not n_own:
        return f"None of the {len(events):,} events of {day} answers slots of a night: the shop served its own policy until then."
    return f"{n_own:,} of the {len(events):,} events of {day} answer slots that a night had published."


def own(events: pd.DataFrame) -> pd.DataFrame:
    """The events that answer slots of a night."""
    return events[_is_own(events)]


def own_answers(events: pd.DataFrame) -> dict[str, int]:
    """How many events answer slots that a night had published, as a fact of the night."""
    return {"n_answers": int(_is_own(events).sum())}


def _is_own(events: pd.DataFrame) -> pd.Series:
    return events["decision_id"].notna() & ~events["decision_id"].str.startswith(live.HISTORY, na=False)


def learning_sentence(facts: dict) -> str:
    """Say how many of the loop's own answers had come into the history by the last night."""
    told = [night for night in facts["nights"] if night.get("as_of")]
    if not told:
        return "No night ended, so nothing was learnt from."
    last = told[-1]
    return (f"The night of {last['date']} read events up to {last['as_of']}: {last['n_events']:,} of them, of which "
            f"{last['n_answers']:,} answer slots that the loop itself had published.")


def _against(value: float, other: float) -> str:
    if other <= 0:
        return f"{value - other:+.3f} against"
    change = round(100 * (value / other - 1), 1)
    if not change:
        return "level with"
    return f"{abs(change):.1f} % {'above' if change >= 0 else 'below'}"

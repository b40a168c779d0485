"""Layer 1: what events say about pairs, items, customers, context and stock, as of a moment.

Nothing after `as_of` is read. Weights and half-life are arguments that a notebook shows, so that anyone can change
them and see what moves.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots

WEIGHTS = {"view": 1.0, "click": 2.0, "add_to_cart": 3.0, "purchase": 5.0, "dismiss": -3.0, "return": -4.0, "complaint": -5.0}
HALF_WAY = 5.0
RESPONSES = ("purchase", "rating", "click", "add_to_cart", "view")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DIGITS = 6
N_BEST = 10
_DAY = np.timedelta64(1, "D")


def build_ratings(events: pd.DataFrame, *, weights: dict[str, float] | None = None, half_life_days: float = 90.0,
                  as_of: pd.Timestamp, scale: tuple[float, float] = (1.0, 5.0)) -> pd.DataFrame:
    """Grade each pair by its weighted, decayed events.

    The strength s is the sum of weight x 2^(-age in days / half_life_days). The rating is middle + half x s / (|s| + 5):
    no signal is the middle, one purchase today three quarters of the way up, refusals pull below the middle. A pair
    with a `rating` event keeps the latest one, lowered by its refusals in the same way and never below the scale.

    Args:
        weights: points an event type; types that are not named, or weigh 0, are not read. `WEIGHTS` where None.
        scale: lowest and highest rating; `rating_scale` finds it for data with ratings.

    Returns:
        A `ratings` table, sorted by its key.

    Raises:
        ValueError: the half-life is not positive, the scale is empty, or a rating event lies outside it.
    """
    weights = WEIGHTS if weights is None else weights
    _check(weights, half_life_days, scale)
    known = _known(events, as_of, ["customer_id", "item_id", "event_type", "value"])
    weight = known["event_type"].astype("str").map(weights).fillna(0.0).to_numpy(float)
    is_rating = (known["event_type"] == "rating").to_numpy()
    kept = (weight != 0) | is_rating
    known, weight, is_rating = known[kept], weight[kept], is_rating[kept]
    decayed = _round(weight * np.exp2(-_age(known, as_of) / half_life_days))
    points = known.assign(strength=decayed, refusal=np.minimum(decayed, 0.0))
    pairs = points.groupby(["customer_id", "item_id"], observed=True, as_index=False).agg(
        strength=("strength", "sum"), refusal=("refusal", "sum"), n_events=("strength", "size"),
        last_event_at=("occurred_at", "max"))
    pairs = pairs.merge(_latest_ratings(points[is_rating], scale), on=["customer_id", "item_id"], how="left",
                        validate="one_to_one")
    low, high = scale
    half = (high - low) / 2
    graded = low + half + half * _bounded(pairs["strength"])
    explicit = np.maximum(pairs["explicit"] + half * _bounded(pairs["refusal"]), low)
    rating = _round(np.where(pairs["explicit"].notna(), explicit, graded))
    return pairs.assign(rating=rating)[["customer_id", "item_id", "rating", "n_events", "last_event_at"]]


def rating_scale(events: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest rating given, or (1, 5) where nobody rated or all ratings are equal."""
    given = events.loc[(events["event_type"] == "rating").to_numpy(), "value"].dropna()
    if given.empty or given.min() == given.max():
        return (min(1.0, given.min()), max(5.0, given.max())) if len(given) else (1.0, 5.0)
    return float(given.min()), float(given.max())


def response_type(events: pd.DataFrame) -> str:
    """The event type that counts as success: purchase, else rating, click, add_to_cart, view.

    Raises:
        ValueError: the events hold none of them.
    """
    there = set(events["event_type"].unique())
    found = next((name for name in RESPONSES if name in there), None)
    if found is None:
        raise ValueError(f"events: none of {list(RESPONSES)} among the event types {sorted(there)}.")
    return found


def weight_table(events: pd.DataFrame, weights: dict[str, float], *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Show what each event type weighs, how often it occurs and in what share of the pairs."""
    known = _known(events, as_of, ["customer_id", "item_id", "event_type"])
    n_pairs = max(len(known[["customer_id", "item_id"]].drop_duplicates()), 1)
    pairs = known.drop_duplicates(["customer_id", "item_id", "event_type"])["event_type"].value_counts()
    counts = known["event_type"].value_counts().sort_index()
    table = pd.DataFrame({"event_type": counts.index.astype("str"), "n_events": counts.to_numpy()})
    share = table["event_type"].map(pairs).fillna(0) / n_pairs
    weight = table["event_type"].map(weights).fillna(0.0).where(table["event_type"] != "rating")
    return table.assign(weight=weight, share_of_pairs=share).sort_values(
        ["n_events", "event_type"], ascending=[False, True], ignore_index=True)


def decay_curve(half_life_days: float, *, days: int = 365, step: int = 5) -> pd.DataFrame:
    """What an event still weighs after so many days: columns `days` and `weight`."""
    at = np.arange(0, days + 1, step)
    return pd.DataFrame({"days": at, "weight": np.exp2(-at / half_life_days)})


def item_signals(events: pd.DataFrame, items: pd.DataFrame | None = None, *, as_of: pd.Timestamp,
                 window_days: float = 28.0) -> pd.DataFrame:
    """Describe each item by popularity, recency and trend.

    Returns:
        One row an item (the catalogue's too): `n_responses`, `n_customers`, `n_recent` and `n_before` (responses in
        the last window and in the one before), `trend` ((n_recent + 1) / (n_before + 1)), `days_since_last`.
    """
    known = _responses(events, as_of)
    age = _age(known, as_of)
    found = known.assign(age=age, recent=age < window_days, before=(age >= window_days) & (age < 2 * window_days))
    table = found.groupby("item_id", observed=True).agg(
        n_responses=("age", "size"), n_customers=("customer_id", "nunique"), n_recent=("recent", "sum"),
        n_before=("before", "sum"), days_since_last=("age", "min"))
    ids = table.index if items is None else table.index.union(pd.Index(items["item_id"]))
    table = table.reindex(ids).rename_axis("item_id")
    counts = ["n_responses", "n_customers", "n_recent", "n_before"]
    table = table.assign(**{name: table[name].fillna(0).astype("int64") for name in counts})
    trend = (table["n_recent"] + 1) / (table["n_before"] + 1)
    return table.assign(trend=_round(trend)).reset_index()


def customer_signals(events: pd.DataFrame, customers: pd.DataFrame | None = None, *,
                     as_of: pd.Timestamp) -> pd.DataFrame:
    """Describe each customer by orders, recency, frequency, value and discount share.

    An order is a session with a response where sessions are known, else a day with one.

    Returns:
        One row a customer (the customers table's too): `n_orders`, `n_items`, `recency_days`, `orders_a_month` (since the first
        order, over a month at least), `value` and `value_an_order` where money is paid, `discount_share` where the events
        have a `discount` column (share of the price before it).
    """
    known = _responses(events, as_of)
    known = known.assign(age=_age(known, as_of), order=_orders(known))
    table = known.groupby("customer_id", observed=True).agg(
        n_orders=("order", "nunique"), n_items=("item_id", "nunique"), recency_days=("age", "min"), first=("age", "max"))
    table["orders_a_month"] = _round(table["n_orders"] / np.maximum(table["first"], 30) * 30)
    if response_type(known) == "purchase":
        table["value"] = known["value"].groupby(known["customer_id"], observed=True).sum().round(2)
        table["value_an_order"] = (table["value"] / table["n_orders"]).round(2)
        if "discount" in known:
            saved = known["discount"].fillna(0).groupby(known["customer_id"], observed=True).sum()
            table["discount_share"] = _round(saved / np.maximum(saved + table["value"], 0.01))
    table = table.drop(columns="first")
    ids = table.index if customers is None else table.index.union(pd.Index(customers["customer_id"]))
    table = table.reindex(ids).rename_axis("customer_id").reset_index()
    return table.assign(**{name: table[name].fillna(0).astype("int64") for name in ("n_orders", "n_items")})


def context_signals(events: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Count responses by weekday (0 is Monday) and, where it is known, by channel.

    Returns:
        `weekday`, [`channel`], `n_responses`, `share`.
    """
    known = _responses(events, as_of)
    by = ["weekday"] + (["channel"] if "channel" in known and known["channel"].notna().any() else [])
    table = known.assign(weekday=known["occurred_at"].dt.day_of_week).groupby(by, observed=True).size()
    table = table.rename("n_responses").reset_index()
    return table.assign(share=table["n_responses"] / max(table["n_responses"].sum(), 1))


def inventory_signals(events: pd.DataFrame, items: pd.DataFrame | None, *, as_of: pd.Timestamp,
                      window_days: float = 28.0) -> pd.DataFrame | None:
    """Say how many days the stock of each item lasts at its recent pace.

    Returns:
        `item_id`, `stock_on_hand`, `units_a_day`, `days_of_stock` (missing where nothing sold), or None where the
        source has no stock.
    """
    if items is None or "stock_on_hand" not in items or items["stock_on_hand"].isna().all():
        return None
    known = _known(events, as_of, ["item_id", "event_type", *(["quantity"] if "quantity" in events else [])])
    sold = known[(known["event_type"] == "purchase").to_numpy() & (_age(known, as_of) < window_days)]
    units = sold["quantity"].fillna(1.0) if "quantity" in sold else pd.Series(1.0, index=sold.index)
    pace = units.groupby(sold["item_id"], observed=True).sum() / window_days
    table = items[["item_id", "stock_on_hand"]].assign(units_a_day=items["item_id"].map(pace).fillna(0.0))
    days = table["stock_on_hand"] / table["units_a_day"].where(table["units_a_day"] > 0)
    return table.assign(units_a_day=_round(table["units_a_day"]), days_of_stock=_round(days))


def attribute_coverage(items: pd.DataFrame | None) -> pd.DataFrame:
    """Say for each attribute of the items what share has it and how many values it takes."""
    columns = [] if items is None else [name for name in items.columns if name != "item_id"]
    rows = [{"attribute": name, "share_filled": float(items[name].notna().mean()), "n_values": int(items[name].nunique())}
            for name in columns]
    return pd.DataFrame(rows, columns=["attribute", "share_filled", "n_values"])


def rating_spread(ratings: pd.DataFrame, *, scale: tuple[float, float], n_bins: int = 8) -> pd.DataFrame:
    """Share of the pairs in equal bins of the scale: `rating` (from and to) and `share`."""
    edges = np.linspace(*scale, n_bins + 1)
    counts = np.histogram(ratings["rating"], bins=edges)[0]
    names = [f"{low:.3g} to {high:.3g}" for low, high in zip(edges[:-1], edges[1:])]
    return pd.DataFrame({"rating": names, "share": counts / max(counts.sum(), 1)})


def rising(signals: pd.DataFrame, items: pd.DataFrame | None = None) -> pd.DataFrame:
    """The items that rise most, with their names where they are known."""
    names = [name for name in ("title", "category") if items is not None and name in items]
    table = signals.sort_values(["trend", "item_id"], ascending=[False, True], ignore_index=True)
    if names:
        table = table.merge(items[["item_id", *names]], on="item_id", how="left", validate="one_to_one")
    return table[["item_id", *names, "n_customers", "n_recent", "n_before", "trend"]]


def quantiles(signals: pd.DataFrame) -> pd.DataFrame:
    """Spread of each signal over those who have a history: tenth, half and nine tenths lie below."""
    numbers = signals[signals["n_orders"] > 0].select_dtypes("number").drop(columns="customer_id", errors="ignore")
    return numbers.quantile([0.1, 0.5, 0.9]).T.set_axis(["p10", "median", "p90"], axis=1).rename_axis("signal").reset_index()


def by_weekday(context: pd.DataFrame) -> pd.DataFrame:
    """Share of the responses by name of the weekday, all channels together."""
    days = context.groupby("weekday")["share"].sum().reindex(range(7)).fillna(0.0)
    return pd.DataFrame({"weekday": WEEKDAYS, "share": days.to_numpy()})


def shortest_stock(stock: pd.DataFrame | None) -> pd.DataFrame:
    """The items in stock that run out first, fastest sellers first among equals; no row where there is no stock."""
    if stock is None:
        return pd.DataFrame(columns=["item_id", "stock_on_hand", "units_a_day", "days_of_stock"])
    left = stock[(stock["stock_on_hand"] > 0) & stock["days_of_stock"].notna()]
    return left.sort_values(["days_of_stock", "units_a_day", "item_id"], ascending=[True, False, True], ignore_index=True)


def weights_sentence(table: pd.DataFrame) -> str:
    """Say what share of the events counts, and which type carries most weight in all."""
    share = table.loc[table["weight"].fillna(1.0) != 0, "n_events"].sum() / max(table["n_events"].sum(), 1)
    if (table["event_type"] == "rating").any():
        text = f"{100 * share:.0f} % of the events count; ratings stand as they were given"
    else:
        text = f"{100 * share:.0f} % of the events carry a weight"
    total = (table["n_events"] * table["weight"]).abs()
    return text + (f"; {table.loc[total.idxmax(), 'event_type']} events carry most in all." if total.max() > 0 else ".")


def decay_sentence(half_life_days: float) -> str:
    """Say what is left of an event after a month and after a year."""
    month, year = (100 * 2 ** (-days / half_life_days) for days in (30, 365))
    return (f"With a half-life of {half_life_days:g} days an event keeps {month:.0f} % of its weight after a month "
            f"and {year:.2g} % after a year.")


def ratings_sentence(ratings: pd.DataFrame, events: pd.DataFrame, *, scale: tuple[float, float]) -> str:
    """Say what became of the events."""
    if ratings.empty:
        return "No event carries a weight, so there is no graded signal."
    middle = sum(scale) / 2
    below = float((ratings["rating"] < middle).mean())
    return (f"{len(events):,} events became {len(ratings):,} graded pairs of {ratings['customer_id'].nunique():,} customers and "
            f"{ratings['item_id'].nunique():,} items, on {scale[0]:g} to {scale[1]:g}; {100 * below:.1f} % lie below the middle.")


def items_sentence(signals: pd.DataFrame) -> str:
    """Say how concentrated demand is and how much of the catalogue has no history."""
    counts = signals["n_responses"].sort_values(ascending=False).to_numpy()
    head = max(1, round(0.1 * len(counts)))
    share = counts[:head].sum() / max(counts.sum(), 1)
    none = int((counts == 0).sum())
    return (f"The top tenth of the {len(counts):,} items takes {100 * share:.0f} % of the responses; "
            f"{none:,} items have none yet" + (", and only content or a first look can offer them." if none else "."))


def customers_sentence(signals: pd.DataFrame) -> str:
    """Say how recent and how frequent the customers are, and how much they save."""
    cold = int((signals["n_orders"] == 0).sum())
    known = signals[signals["n_orders"] > 0]
    text = (f"The median customer came {known['recency_days'].median():.0f} days ago and {known['n_orders'].median():.0f} times "
            f"in all; {cold:,} of {len(signals):,} have no history")
    if "discount_share" in known:
        text += f"; discounts took off {100 * known['discount_share'].median():.0f} % of the median customer's bill"
    return text + "."


def context_sentence(context: pd.DataFrame) -> str:
    """Name the strongest weekday and, where it is known, the channels."""
    days = context.groupby("weekday")["share"].sum()
    text = (f"{WEEKDAYS[int(days.idxmax())]} takes {100 * days.max():.0f} % of the responses, "
            f"{WEEKDAYS[int(days.idxmin())]} {100 * days.min():.0f} %")
    if "channel" not in context:
        return text + "; the source does not say through which channel."
    channels = context.groupby("channel", observed=True)["share"].sum().sort_values(ascending=False)
    if len(channels) == 1:
        return text + f"; all came through {channels.index[0]}."
    return text + f"; {channels.index[0]} is the strongest of {len(channels)} channels with {100 * channels.iloc[0]:.0f} %."


def inventory_sentence(stock: pd.DataFrame | None, *, short_days: float = 7.0) -> str:
    """Say how much of the catalogue is out of stock or soon will be."""
    if stock is None:
        return "The source has no stock, so no signal of it is used and nothing is assumed in its place."
    out = int((stock["stock_on_hand"] == 0).sum())
    short = int((stock["days_of_stock"] < short_days).sum()) - int((stock["days_of_stock"] == 0).sum())
    return f"{out:,} of {len(stock):,} items are out of stock and {short:,} more last less than {short_days:g} days at their recent pace."


def attributes_sentence(coverage: pd.DataFrame) -> str:
    """Say which attributes can be relied on."""
    if coverage.empty:
        return "The source describes no items, so sources that read the catalogue offer nothing."
    full = coverage.loc[coverage["share_filled"] == 1, "attribute"].tolist()
    thin = coverage.loc[coverage["share_filled"] < 0.5, "attribute"].tolist()
    text = f"{len(full)} of {len(coverage)} attributes are filled for every item"
    return text + (f"; less than half of the items have {', '.join(thin)}." if thin else "; none is filled for less than half.")


def _check(weights: dict[str, float], half_life_days: float, scale: tuple[float, float]) -> None:
    if not half_life_days > 0:
        raise ValueError(f"half_life_days == {half_life_days}, must be greater than 0.")
    if not scale[0] < scale[1]:
        raise ValueError(f"scale == {scale}, must be (low, high) with low < high.")
    bad = {name: value for name, value in weights.items() if not np.isfinite(value)}
    if bad:
        raise ValueError(f"weights: {bad}, must be finite numbers.")


def _known(events: pd.DataFrame, as_of: pd.Timestamp, columns: list[str]) -> pd.DataFrame:
    return events.loc[(events["occurred_at"] <= as_of).to_numpy(), ["occurred_at", *columns]]


def _responses(events: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    known = events[(events["occurred_at"] <= as_of).to_numpy()]
    return known[(known["event_type"] == response_type(known)).to_numpy()]


def _age(events: pd.DataFrame, as_of: pd.Timestamp) -> np.ndarray:
    return (as_of - events["occurred_at"]).to_numpy() / _DAY


def _orders(known: pd.DataFrame) -> pd.Series:
    day = known["occurred_at"].dt.strftime("%Y-%m-%d")
    if "session_id" not in known:
        return day
    return known["session_id"].astype("str").where(known["session_id"].notna(), day)


def _latest_ratings(rated: pd.DataFrame, scale: tuple[float, float]) -> pd.DataFrame:
    outside = rated[(rated["value"] < scale[0]) | (rated["value"] > scale[1]) | rated["value"].isna()]
    if len(outside):
        raise ValueError(f"events: rating {outside['value'].iloc[0]} lies outside the scale {scale} ({len(outside):,} rows).")
    ordered = rated.sort_values(["occurred_at", "value"], kind="stable")
    latest = ordered.drop_duplicates(["customer_id", "item_id"], keep="last")
    return latest[["customer_id", "item_id", "value"]].rename(columns={"value": "explicit"})


def _bounded(strength):
    return strength / (np.abs(strength) + HALF_WAY)


def _round(values):
    return np.round(values, DIGITS)


class Grader:
    """The events of all pairs, ready to be graded again in a moment under other weights and another half-life.

    Attributes:
        controls: name -> (lowest, highest, step, start): the half-life, and the weight of each type that occurs.
    """

    def __init__(self, events: pd.DataFrame, weights: dict[str, float], *, half_life_days: float, as_of: pd.Timestamp,
                 scale: tuple[float, float]) -> None:
        known = _known(events, as_of, ["customer_id", "item_id", "event_type", "value"])
        kind = known["event_type"].astype("str")
        kept = kind.isin([*weights, "rating"]).to_numpy()
        known, kind = known[kept], kind[kept]
        self._names = [name for name in weights if (kind == name).any()]
        self._kind = kind.map({name: at for at, name in enumerate(self._names)} | {"rating": len(self._names)}).to_numpy("int64")
        customer, item = pd.factorize(known["customer_id"], sort=True)[0], pd.factorize(known["item_id"], sort=True)[0]
        pairs, self._pair = np.unique(customer * (item.max(initial=0) + 1) + item, return_inverse=True)
        self._customer = pairs // (item.max(initial=0) + 1)
        self._first = np.searchsorted(self._customer, self._customer)
        self._age, self._scale = _age(known, as_of), scale
        latest = _latest_ratings(known[(kind == "rating").to_numpy()], scale)
        self._given = np.full(len(pairs), np.nan)
        rated = known[["customer_id", "item_id"]].assign(pair=self._pair).merge(latest, on=["customer_id", "item_id"], how="inner")
        self._given[rated["pair"]] = rated["explicit"]
        self.controls = {"half_life_days": (min(7, half_life_days), max(365, 2 * round(half_life_days)), 1, half_life_days)}
        edge = max([10.0, *(abs(weight) for weight in weights.values())])
        self.controls |= {f"weight_{name}": (-edge, edge, 0.5, float(weights[name])) for name in self._names}
        self._start = self.grade(**{name: control[3] for name, control in self.controls.items()})
        self._best = self._top(self._start)

    def grade(self, *, half_life_days: float, **weights: float) -> np.ndarray:
        """The rating of each pair, by customer and item; missing where no event of it weighs anything."""
        points = np.array([weights[f"weight_{name}"] for name in self._names] + [0.0])[self._kind]
        decayed, n = _round(points * np.exp2(-self._age / half_life_days)), len(self._customer)
        strength, refusal = (np.bincount(self._pair, part, n) for part in (decayed, np.minimum(decayed, 0.0)))
        low, half = self._scale[0], (self._scale[1] - self._scale[0]) / 2
        graded = np.where(np.bincount(self._pair, points != 0, n) > 0, low + half + half * _bounded(strength), np.nan)
        explicit = np.maximum(self._given + half * _bounded(refusal), low)
        return _round(np.where(np.isnan(self._given), graded, explicit))

    def draw(self, **values: float) -> tuple[Figure, str]:
        """The spread of grades, and the grade of a single event by its age, under these weights."""
        rating = self.grade(**values)
        edges = np.linspace(*self._scale, 17)
        shares = [np.histogram(each, edges)[0] / max(np.isfinite(each).sum(), 1) for each in (rating, self._start)]
        spread = pd.DataFrame({"rating": edges[:-1], "width": np.diff(edges), "now": shares[0], "start": shares[1]})
        days = np.arange(0, 181, 15)
        faded = np.exp2(-days / values["half_life_days"])
        low, half = self._scale[0], (self._scale[1] - self._scale[0]) / 2
        single = [pd.DataFrame({"event_type": name, "days": days,
                                "rating": low + half + half * _bounded(values[f"weight_{name}"] * faded)}) for name in self._names]
        grades = pd.concat(single, ignore_index=True) if single else pd.DataFrame({"event_type": [], "days": [], "rating": []})
        return plots.regraded(spread, grades, scale=self._scale), self._said(rating, values["half_life_days"])

    def _said(self, rating: np.ndarray, half_life_days: float) -> str:
        graded = rating[np.isfinite(rating)]
        if not len(graded):
            return "With these weights no event counts, so no pair has a grade."
        below = float((graded < sum(self._scale) / 2).mean())
        kept = float((self._best & self._top(rating)).sum() / max(self._best.sum(), 1))
        return (f"With a half-life of {half_life_days:g} days and these weights {len(graded):,} pairs have a grade: the median is "
                f"{np.median(graded):.3f}, {100 * below:.1f} % lie below the middle, and of the customers' {N_BEST} best items "
                f"each {100 * kept:.1f} % are those of the start.")

    def _top(self, rating: np.ndarray) -> np.ndarray:
        """Mark the best pairs of each customer."""
        low, high = self._scale
        behind = np.nan_to_num(high - rating, nan=high - low + 1)
        order = np.argsort(self._customer * (high - low + 2) + behind, kind="stable")
        best = np.zeros(len(rating), dtype=bool)
        best[order[np.arange(len(rating)) - self._first < N_BEST]] = True
        return best & np.isfinite(rating)

"""A day in the shop: who comes, what they see, click, buy, send back, and what they think of it afterwards."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from reclib.sources.storefront import catalogue, luck, response
from reclib.sources.storefront.policies import EMPTY, Policy, Slates
from reclib.sources.storefront.world import World

NEVER = 1_000_000
CHUNK = 2048
_HALF_LIVES = (4.0, 14.0)


@dataclass
class State:
    """What the world remembers from one day to the next; all of it is truth."""

    seen: np.ndarray
    bought: np.ndarray
    recent: np.ndarray
    satiation: np.ndarray
    irritation: np.ndarray
    goodwill: np.ndarray
    push_load: np.ndarray
    churn_day: np.ndarray
    opt_out_day: np.ndarray
    stock: np.ndarray
    n_slots: int = 0

    def copy(self) -> State:
        """An independent copy, to go on from the same evening twice."""
        return copy.deepcopy(self)


class Log:
    """What happened, as columns that grow day by day."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, np.ndarray]] = {}
        self._n: dict[str, int] = {}

    def add(self, name: str, **columns: np.ndarray) -> None:
        """Append one day's rows of a kind of event; whole numbers are kept in 32 bits."""
        table, n = self._columns.setdefault(name, {}), self._n.get(name, 0)
        self._n[name] = n + len(columns["customer"])
        for key, column in columns.items():
            if key not in table or len(table[key]) < self._n[name]:
                table[key] = _grown(table.get(key), n, self._n[name], column.dtype)
            table[key][n : self._n[name]] = column

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """All rows of a kind of event, in order of days; empty where there was no day."""
        return {key: column[: self._n[name]] for key, column in self._columns.get(name, {}).items()}


def _grown(column: np.ndarray | None, n: int, n_needed: int, dtype: np.dtype) -> np.ndarray:
    grown = np.empty(max(2 * n, n_needed, 1024), dtype=np.int32 if dtype == np.int64 else dtype)
    if column is not None:
        grown[:n] = column[:n]
    return grown


def morning(world: World) -> State:
    """The state before the first day."""
    n, m = world.config.n_customers, world.config.n_items
    return State(
        seen=np.zeros((n, m), dtype=np.uint8), bought=np.zeros((n, m), dtype=bool),
        recent=np.full((n, 4), EMPTY, dtype=np.int32), satiation=np.zeros((n, catalogue.N_CATEGORIES), dtype=np.float32),
        irritation=np.zeros(n), goodwill=np.zeros(n), push_load=np.zeros(n),
        churn_day=np.full(n, NEVER), opt_out_day=np.full(n, NEVER), stock=world.items.base_stock.copy(),
    )


def run(world: World, state: State, policy: Policy, *, first_day: int, n_days: int, chunk: int = CHUNK) -> Log:
    """Let the world go on for some days under a policy.

    Args:
        world: customers, items, prices.
        state: the state on the eve of `first_day`; it is moved on in place.
        policy: who is shown what.
        first_day, n_days: the days.
        chunk: visitors worked on at once; it changes speed and memory only.

    Returns:
        The log of these days.
    """
    log = Log()
    for day in range(first_day, first_day + n_days):
        step(world, state, policy, day, log, chunk)
    return log


def step(world: World, state: State, policy: Policy, day: int, log: Log, chunk: int = CHUNK) -> None:
    """Let one day pass."""
    pushed = _push(world, state, day)
    is_open = _open_items(world, state, day)
    visitors = _visitors(world, state, day, pushed)
    sessions = [
        _session(world, state, policy, day, visitors[low : low + chunk], is_open)
        for low in range(0, max(len(visitors), 1), chunk)
    ]
    session = _joined(sessions, chunk)
    lines = _sold(world, state, day, visitors, session["lines"])
    seen = _write(world, state, day, visitors, session, lines, log)
    _remember(world, state, day, visitors, session, lines)
    _part(world, state, day, visitors, session, pushed, is_open, seen, log)


def _open_items(world: World, state: State, day: int) -> np.ndarray:
    """Refill what is due today, and say which items can be sold."""
    if world.config.stock_on:
        due = world.items.refill_weekday == day % 7
        state.stock[due] = np.maximum(state.stock[due], world.items.base_stock[due])
    return world.on_sale(day) & ((state.stock > 0) | (not world.config.stock_on))


def _push(world: World, state: State, day: int) -> np.ndarray:
    """Whether each customer gets a push today."""
    config, people = world.config, world.customers
    if not config.push_every:
        return np.zeros(config.n_customers, dtype=bool)
    is_due = (day + np.arange(config.n_customers)) % config.push_every == 0
    return is_due & people.has_push & people.has_consent & (state.opt_out_day >= NEVER) & (state.churn_day >= NEVER)


def _visitors(world: World, state: State, day: int, pushed: np.ndarray) -> np.ndarray:
    """Who comes: P(visit) = 1 - exp(-rate x traffic x e^goodwill x e^(0.9 push))."""
    rate = world.customers.rate * world.traffic(day) * np.exp(state.goodwill + 0.9 * pushed)
    draw = luck.uniform(world.config.seed, "visit", day, np.arange(world.config.n_customers))
    return np.flatnonzero((draw < -np.expm1(-rate)) & (state.churn_day >= NEVER))


def _session(world: World, state: State, policy: Policy, day: int, visitors: np.ndarray, is_open: np.ndarray) -> dict:
    """What some visitors are shown, look at, click, dismiss and want."""
    slates = _hidden(policy(world, state, day, visitors, is_open), state.opt_out_day[visitors] < NEVER)
    items = np.maximum(slates.items, 0)
    is_shown = slates.items != EMPTY
    base = response.utility(world, day, visitors, items) + response.satiety(world, state, visitors, items)
    logit = base - response.fatigue(world, state, visitors, items)
    seed, width = world.config.seed, np.arange(items.shape[1])[None, :]
    looks = response.p_examine(world, state, visitors, items.shape[1])
    looks = luck.spread(luck.rows(seed, "examine", day, visitors)[:, None], width) < looks
    looks &= is_shown
    draw = luck.spread(luck.rows(seed, "click", day, visitors)[:, None], items)
    clicked = looks & (draw < response.p_click(world, logit))
    draw = luck.spread(luck.rows(seed, "dismiss", day, visitors)[:, None], items)
    dismissed = looks & ~clicked & (draw < response.sigmoid(world.config.dismiss_base - 0.8 * logit))
    browsed = _browse(world, state, day, visitors, is_open)
    lines = _wishes(world, state, day, visitors, items, clicked, base, browsed)
    return {"slates": slates, "clicked": clicked, "dismissed": dismissed, "browsed": browsed, "lines": lines}


def _hidden(slates: Slates, is_hidden: np.ndarray) -> Slates:
    """Show nothing to those who opted out."""
    return slates._replace(items=np.where(is_hidden[:, None], EMPTY, slates.items))


def _browse(world: World, state: State, day: int, visitors: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Items that visitors find by themselves: by category and popularity, the better liked of two, or a past purchase."""
    config = world.config
    slots = np.arange(config.n_browse)[None, :]
    hashes = luck.rows(config.seed, "browse", day, visitors)[:, None]
    draw = luck.spread(hashes, slots).astype(np.float32)
    category = (draw[:, :, None] > world.category_mass[visitors][:, None, :]).sum(axis=2)
    category = np.minimum(category, catalogue.N_CATEGORIES - 1)
    low, high = (world.item_mass[world.category_start[category + step]] for step in (0, 1))
    pair = []
    for number in (1, 2):
        at = low + (high - low) * luck.spread(hashes, slots + 1000 * number)
        place = np.searchsorted(world.item_mass, at, side="right") - 1
        pair.append(world.by_category[np.clip(place, 0, config.n_items - 1)])
    both = np.concatenate(pair, axis=1)
    liked = response.utility(world, day, visitors, both)
    found = np.where(liked[:, : config.n_browse] >= liked[:, config.n_browse :], pair[0], pair[1])
    recalls = luck.uniform(config.seed, "recall", day, visitors)
    recalled = state.recent[visitors, (recalls * 4000).astype(int) % 4]
    found[:, 0] = np.where((recalls < config.recall_share) & (recalled != EMPTY), recalled, found[:, 0])
    if config.browse_spread:
        depth = np.ceil(config.n_browse * luck.spread(hashes, np.array([5000])) ** config.browse_spread)
        found[slots >= depth] = EMPTY
    allowed = is_open[found] & (~world.items.is_restricted[found] | world.customers.is_adult[visitors][:, None])
    return np.where(allowed, _without_repeats(found), EMPTY)


def _without_repeats(found: np.ndarray) -> np.ndarray:
    """Blank the later copies of an item within a row."""
    for column in range(1, found.shape[1]):
        is_copy = (found[:, :column] == found[:, column : column + 1]).any(axis=1)
        found[is_copy, column] = EMPTY
    return found


def _wishes(world: World, state: State, day: int, visitors: np.ndarray, items: np.ndarray, clicked: np.ndarray,
            base: np.ndarray, browsed: np.ndarray) -> dict[str, np.ndarray]:
    """Clicked and browsed items, each held against the outside option of its category; at most one bought of each."""
    row, column = np.nonzero(clicked)
    is_twice = ((browsed[:, :, None] == items[:, None, :]) & clicked[:, None, :]).any(axis=2)
    own_row, own_column = np.nonzero((browsed != EMPTY) & ~is_twice)
    own_item = browsed[own_row, own_column]
    people, single = visitors[own_row], own_item[:, None]
    own_base = (response.utility(world, day, people, single) + response.satiety(world, state, people, single))[:, 0]
    rows = np.concatenate([row, own_row])
    item = np.concatenate([items[row, column], own_item])
    is_clicked = np.arange(len(rows)) < len(row)
    who, seed = visitors[rows], world.config.seed
    category = world.items.category[item]
    intent = luck.uniform(seed, "intent", day, who)
    want = response.buy_logit(world, intent, np.concatenate([base[row, column], own_base]), is_clicked)
    want = want + luck.gumbel(luck.spread(luck.rows(seed, "need", day, who), item))
    outside = luck.gumbel(luck.spread(luck.rows(seed, "outside", day, who), category))
    order = np.lexsort((item, -want, rows * catalogue.N_CATEGORIES + category))
    place = (rows * catalogue.N_CATEGORIES + category)[order]
    is_best = np.zeros(len(rows), dtype=bool)
    is_best[order[np.flatnonzero(np.diff(place, prepend=-1))]] = True
    return {
        "row": rows, "item": item, "column": np.where(is_clicked, np.concatenate([column, own_column]), EMPTY),
        "wants": is_best & (want > outside), "carts": want > outside - world.config.cart_slack,
    }


def _joined(sessions: list[dict], chunk: int) -> dict:
    """Put the chunks of a day together again."""
    joined: dict = {name: np.concatenate([part[name] for part in sessions]) for name in ("clicked", "dismissed", "browsed")}
    joined["slates"] = Slates(*(np.concatenate(columns) for columns in zip(*(part["slates"] for part in sessions))))
    for number, part in enumerate(sessions):
        part["lines"]["row"] = part["lines"]["row"] + number * chunk
    lines = {name: np.concatenate([part["lines"][name] for part in sessions]) for name in sessions[0]["lines"]}
    order = np.lexsort((lines["item"], lines["row"]))
    joined["lines"] = {name: column[order] for name, column in lines.items()}
    return joined


def _sold(world: World, state: State, day: int, visitors: np.ndarray, lines: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Serve the wishes in the order of the queue while stock lasts; price, delay and returns of what is sold."""
    config, seed = world.config, world.config.seed
    wanted = {name: column[lines["wants"]] for name, column in lines.items()}
    who, item = visitors[wanted["row"]], wanted["item"]
    draw = luck.spread(luck.rows(seed, "quantity", day, who), item)
    quantity = 1 + (draw > 0.80).astype(int) + (draw > 0.947)
    is_served = _served(state, day, seed, who, item, quantity) if config.stock_on else np.ones(len(who), dtype=bool)
    if config.stock_on:
        np.subtract.at(state.stock, item[is_served], quantity[is_served])
    price, is_promo = world.prices(day)
    delay = luck.spread(luck.rows(seed, "delay", day, who), item)
    is_late = (delay < config.delay_share) & (wanted["column"] != EMPTY)
    wait = np.where(is_late, np.ceil(-config.delay_days * np.log(np.maximum(delay / max(config.delay_share, 1e-9), 1e-9))), 0)
    back = luck.spread(luck.rows(seed, "return", day, who), np.stack([item, item + config.n_items]))
    liking = response.utility(world, day, who, item[:, None])[:, 0]
    p_back = response.sigmoid(config.return_base + world.items.return_logit[item] - 0.35 * liking)
    return wanted | {
        "customer": who, "quantity": quantity, "is_served": is_served, "price": price[item], "is_promo": is_promo[item],
        "order_day": day + wait.astype(int), "is_returned": back[0] < p_back,
        "return_day": day + wait.astype(int) + 3 + (back[1] * 11).astype(int),
    }


def _served(state: State, day: int, seed: int, who: np.ndarray, item: np.ndarray, quantity: np.ndarray) -> np.ndarray:
    """Which wishes the stock still covers when customers are served in the order of the day's queue."""
    order = np.lexsort((who, luck.uniform(seed, "queue", day, who), item))
    total = np.cumsum(quantity[order])
    starts = np.flatnonzero(np.diff(item[order], prepend=-1))
    before = np.repeat(total[starts] - quantity[order][starts], np.diff(np.append(starts, len(order))))
    is_served = np.zeros(len(who), dtype=bool)
    is_served[order] = total - before <= state.stock[item[order]]
    return is_served


def _write(world: World, state: State, day: int, visitors: np.ndarray, session: dict, lines: dict, log: Log) -> np.ndarray:
    """Log the day; returns the slot number of every place of every slate (-1 where empty)."""
    slates: Slates = session["slates"]
    clock = (28_800 + luck.uniform(world.config.seed, "clock", day, visitors) * 50_000).astype(np.int64)
    is_shown = slates.items != EMPTY
    number = np.where(is_shown, state.n_slots + np.cumsum(is_shown).reshape(is_shown.shape) - 1, EMPTY)
    state.n_slots += int(is_shown.sum())
    slot = np.where(slates.slot != EMPTY, slates.slot, number)
    log.add("session", customer=visitors, day=np.full(len(visitors), day), clock=clock)
    for name, mask in (("impression", is_shown), ("click", session["clicked"]), ("dismiss", session["dismissed"])):
        row, column = np.nonzero(mask)
        more = {}
        if name == "impression":
            more = {"p_shown": slates.p_shown[row, column], "n_eligible": slates.n_eligible[row]}
        log.add(name, customer=visitors[row], day=np.full(len(row), day), clock=clock[row], item=slates.items[row, column],
                position=column + 1, slot=slot[row, column], **more)
    row, column = np.nonzero(session["browsed"] != EMPTY)
    log.add("view", customer=visitors[row], day=np.full(len(row), day), clock=clock[row], item=session["browsed"][row, column])
    carted = {name: value[session["lines"]["carts"]] for name, value in session["lines"].items()}
    log.add("add_to_cart", customer=visitors[carted["row"]], day=np.full(len(carted["row"]), day), clock=clock[carted["row"]],
            item=carted["item"], slot=_slot_of(slot, carted))
    kept = {name: value[lines["is_served"]] for name, value in lines.items()}
    log.add("line", customer=kept["customer"], day=np.full(len(kept["row"]), day), clock=clock[kept["row"]],
            item=kept["item"], slot=_slot_of(slot, kept), **{name: kept[name] for name in (
                "quantity", "price", "is_promo", "order_day", "is_returned", "return_day")})
    return slot


def _slot_of(slot: np.ndarray, lines: dict[str, np.ndarray]) -> np.ndarray:
    return np.where(lines["column"] == EMPTY, EMPTY, slot[lines["row"], np.maximum(lines["column"], 0)])


def _remember(world: World, state: State, day: int, visitors: np.ndarray, session: dict, lines: dict) -> None:
    """Move memory on: what was seen and bought, satiation, irritation, goodwill."""
    slates, config = session["slates"], world.config
    half_life = np.where([d.is_storable for d in catalogue.DEPARTMENTS], _HALF_LIVES[1], _HALF_LIVES[0])
    state.satiation *= (0.5 ** (1 / half_life)).astype(np.float32)[None, :]
    row, column = np.nonzero(slates.items != EMPTY)
    who, item = visitors[row], slates.items[row, column]
    again = np.log1p(state.seen[who, item].astype(float)) * ~session["clicked"][row, column]
    again = np.round(np.bincount(row, weights=again, minlength=len(visitors)), 9)
    state.seen[who, item] = np.minimum(state.seen[who, item], 254) + 1
    if day % 14 == 13:
        state.seen //= 2
    sold = lines["is_served"]
    buyer, product = lines["customer"][sold], lines["item"][sold]
    state.bought[buyer, product] = True
    np.add.at(state.satiation, (buyer, world.items.category[product]), np.float32(1))
    state.recent[buyer, (day + product) % 4] = product
    missed = np.bincount(lines["row"][~sold], minlength=len(visitors))
    served = np.bincount(lines["row"][sold], minlength=len(visitors))
    if config.dynamic:
        hurt = 0.02 * again + 0.2 * session["dismissed"].sum(axis=1) + 0.2 * missed
        state.irritation *= 0.93
        state.irritation[visitors] += hurt / world.customers.tolerance[visitors]
        state.goodwill *= 0.97
        state.goodwill[visitors] += 0.012 * np.minimum(served, 3) - 0.02 * state.irritation[visitors] - 0.03 * missed


def _part(world: World, state: State, day: int, visitors: np.ndarray, session: dict, pushed: np.ndarray, is_open: np.ndarray,
          slot: np.ndarray, log: Log) -> None:
    """Opt-outs and complaints of those who were shown or pushed something, and churn of anybody."""
    config, seed, n = world.config, world.config.seed, world.config.n_customers
    everyone = np.arange(n)
    state.push_load *= 6 / 7
    state.push_load += pushed
    if config.dynamic:
        state.irritation += 0.1 * pushed * state.push_load / world.customers.tolerance
    items = session["slates"].items
    column = (items != EMPTY).argmax(axis=1)
    first, first_slot = np.full(n, EMPTY), np.full(n, EMPTY)
    first[pushed] = _pushed_item(world, is_open, everyone[pushed])
    has_slate = (items != EMPTY).any(axis=1)
    shown = visitors[has_slate]
    first[shown] = items[has_slate, column[has_slate]]
    first_slot[shown] = slot[has_slate, column[has_slate]]
    is_exposed = first != EMPTY
    restricted = np.zeros(n, dtype=bool)
    restricted[visitors] = (world.items.is_restricted[np.maximum(items, 0)] & (items != EMPTY)).any(axis=1)
    complains = config.complaint_base * np.exp(1.5 * state.irritation) + 0.02 * (restricted & ~world.customers.is_adult)
    for name, hazard in (("unsubscribe", config.opt_out_base * np.exp(1.3 * state.irritation)), ("complaint", complains)):
        stream = "opt_out" if name == "unsubscribe" else name
        may = is_exposed & ((state.opt_out_day >= NEVER) | (name == "complaint"))
        who = np.flatnonzero(may & (luck.uniform(seed, stream, day, everyone) < hazard))
        log.add(name, customer=who, day=np.full(len(who), day), item=first[who], slot=first_slot[who],
                clock=np.full(len(who), 79_200))
        if name == "unsubscribe":
            state.opt_out_day[who] = day
    if config.churn_on:
        leaves = luck.uniform(seed, "churn", day, everyone) < config.churn_base * np.exp(-3 * state.goodwill)
        state.churn_day[leaves & (state.churn_day >= NEVER)] = day


def _pushed_item(world: World, is_open: np.ndarray, customers: np.ndarray) -> np.ndarray:
    """The item a push shows: the best seller of the segment that can be sold to anybody."""
    fit = is_open & ~world.items.is_restricted
    tops = np.array([order[fit[order]][0] if fit.any() else EMPTY for order in world.best_sellers])
    return tops[world.customers.segment[customers]]

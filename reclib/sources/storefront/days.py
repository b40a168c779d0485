"""A day in the shop: who comes, what is sold while stock lasts, what comes back, and what is remembered."""

from __future__ import annotations

import numpy as np

from reclib.sources.storefront import catalogue, luck, response, visits
from reclib.sources.storefront.policies import EMPTY, Policy, Slates
from reclib.sources.storefront.state import NEVER, Log, State
from reclib.sources.storefront.world import World

CHUNK = 2048
_HALF_LIVES = (4.0, 14.0)


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
        visits.visit(world, state, policy, day, visitors[low : low + chunk], is_open)
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


def _joined(sessions: list[dict], chunk: int) -> dict:
    """Put the chunks of a day together again."""
    masks = ("clicked", "dismissed", "browsed")
    joined: dict = {name: np.concatenate([part[name] for part in sessions]) for name in masks}
    slates = zip(*(part["slates"] for part in sessions), strict=True)
    joined["slates"] = Slates(*(np.concatenate(columns) for columns in slates))
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
    rest = np.maximum(delay / max(config.delay_share, 1e-9), 1e-9)
    wait = np.where(is_late, np.ceil(-config.delay_days * np.log(rest)), 0)
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

    def write(name: str, row: np.ndarray, **columns: np.ndarray) -> None:
        log.add(name, customer=visitors[row], day=np.full(len(row), day), clock=clock[row], **columns)

    write("session", np.arange(len(visitors)))
    for name, mask in (("impression", is_shown), ("click", session["clicked"]), ("dismiss", session["dismissed"])):
        row, column = np.nonzero(mask)
        more = {"p_shown": slates.p_shown[row, column], "p_in_slate": slates.p_in_slate[row, column],
                "n_eligible": slates.n_eligible[row]} if name == "impression" else {}
        write(name, row, item=slates.items[row, column], position=column + 1, slot=slot[row, column], **more)
    row, column = np.nonzero(session["browsed"] != EMPTY)
    write("view", row, item=session["browsed"][row, column])
    carted = {name: value[session["lines"]["carts"]] for name, value in session["lines"].items()}
    write("add_to_cart", carted["row"], item=carted["item"], slot=_slot_of(slot, carted))
    kept = {name: value[lines["is_served"]] for name, value in lines.items()}
    told = ("item", "quantity", "price", "is_promo", "order_day", "is_returned", "return_day")
    write("line", kept["row"], slot=_slot_of(slot, kept), **{name: kept[name] for name in told})
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

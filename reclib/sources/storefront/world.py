"""The world before anything happens: customers, items, prices. Tastes and appeal are truth and stay in here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reclib.sources.storefront import catalogue, luck
from reclib.sources.storefront.config import Storefront

N_TASTES = 8
_DEPTHS = np.array([0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.50])
_DEPTH_CUTS = np.array([0.06, 0.18, 0.32, 0.50, 0.65, 0.78, 0.88, 0.96])
_DOW = np.array([0.966, 0.945, 0.917, 0.945, 0.945, 1.113, 1.169])


@dataclass(frozen=True)
class Customers:
    """One entry a customer; `taste`, `affinity`, `price_weight`, `tolerance` and `rate` are truth."""

    segment: np.ndarray
    region: np.ndarray
    is_adult: np.ndarray
    has_consent: np.ndarray
    has_push: np.ndarray
    uses_app: np.ndarray
    joined_day: np.ndarray
    taste: np.ndarray
    affinity: np.ndarray
    price_weight: np.ndarray
    tolerance: np.ndarray
    rate: np.ndarray


@dataclass(frozen=True)
class Items:
    """One entry an item; `taste`, `appeal` and `weight` are truth."""

    category: np.ndarray
    brand: np.ndarray
    supplier: np.ndarray
    list_price: np.ndarray
    unit_cost: np.ndarray
    is_restricted: np.ndarray
    is_storable: np.ndarray
    launch_day: np.ndarray
    retire_day: np.ndarray
    promo_rate: np.ndarray
    taste: np.ndarray
    appeal: np.ndarray
    weight: np.ndarray
    base_stock: np.ndarray
    refill_weekday: np.ndarray
    return_logit: np.ndarray


@dataclass(frozen=True)
class World:
    """Customers, items, and what follows from them alone."""

    config: Storefront
    customers: Customers
    items: Items
    by_category: np.ndarray
    category_start: np.ndarray
    category_mass: np.ndarray
    item_mass: np.ndarray
    best_sellers: np.ndarray
    price_factor: np.ndarray
    _weeks: dict = field(default_factory=dict, repr=False, compare=False)

    def prices(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit price of each item on a day, and whether it is on promotion; promotions last a week."""
        week = day // 7
        if week not in self._weeks:
            self._weeks[week] = _prices(self.config, self.items, week, self.price_factor)
        return self._weeks[week]

    def traffic(self, day: int) -> float:
        """How busy a day is: day of week and a slow yearly wave."""
        return float(_DOW[day % 7] * (1 + 0.3 * self.config.season * np.sin(2 * np.pi * day / 364)))

    def seasonal(self, day: int) -> np.ndarray:
        """Utility of each category on a day, a yearly wave with its own peak."""
        peak = luck.table(self.config.seed, "season", 1, catalogue.N_CATEGORIES)[0]
        return (self.config.season * np.sin(2 * np.pi * (day / 364 + peak))).astype(np.float32)

    def on_sale(self, day: int) -> np.ndarray:
        """Items launched and not yet retired."""
        return (self.items.launch_day <= day) & (day < self.items.retire_day)


def build(config: Storefront, *, price_factor: np.ndarray | None = None) -> World:
    """Make the world of a configuration.

    Args:
        config: all parameters.
        price_factor: one factor an item on its price, for what-if questions; 1 by default.
    """
    customers = _customers(config)
    items = _items(config)
    by_category = np.lexsort((np.arange(config.n_items), items.category))
    counts = np.bincount(items.category, minlength=catalogue.N_CATEGORIES)
    mass = np.concatenate([[0.0], np.cumsum(items.weight[by_category])])
    start = np.concatenate([[0], np.cumsum(counts)])
    category_mass = mass[start[1:]] - mass[start[:-1]]
    browsing = np.exp(0.8 * customers.affinity.astype(np.float64)) * np.sqrt(category_mass)
    browsing = np.cumsum(browsing, axis=1)
    factor = np.ones(config.n_items) if price_factor is None else np.asarray(price_factor, dtype=float)
    return World(
        config=config, customers=customers, items=items, by_category=by_category, category_start=start,
        category_mass=(browsing / browsing[:, -1:]).astype(np.float32), item_mass=mass,
        best_sellers=_best_sellers(config, customers, items), price_factor=factor,
    )


def _customers(config: Storefront) -> Customers:
    from scipy.special import gammaincinv

    n, seed = config.n_customers, config.seed
    person = luck.table(seed, "person", n, 9)
    segment = np.searchsorted(catalogue.SEGMENT_CUTS, person[:, 0])
    centre = luck.normal(luck.table(seed, "taste", len(catalogue.SEGMENTS), N_TASTES + catalogue.N_CATEGORIES))
    own = luck.normal(luck.table(seed, "affinity", n, N_TASTES + catalogue.N_CATEGORIES))
    mixed = 0.5 * centre[segment] + 0.87 * own
    rate = gammaincinv(config.visit_shape, luck.table(seed, "rate", n, 1)[:, 0]) / config.visit_shape
    weight = np.array(catalogue.SEGMENT_PRICE)[segment] * np.exp(0.35 * luck.normal(person[:, 1]))
    return Customers(
        segment=segment, region=(person[:, 2] * len(catalogue.REGIONS)).astype(int),
        is_adult=person[:, 3] >= config.minor_share, has_consent=person[:, 4] < config.consent_share,
        has_push=person[:, 5] < config.push_share, uses_app=person[:, 6] < 0.2 + 0.5 * (person[:, 5] < config.push_share),
        joined_day=-1 - (person[:, 7] ** 2 * 1400).astype(int),
        taste=(mixed[:, :N_TASTES] / np.sqrt(N_TASTES)).astype(np.float32),
        affinity=mixed[:, N_TASTES:].astype(np.float32), price_weight=weight.astype(np.float32),
        tolerance=np.exp(0.5 * luck.normal(person[:, 8])), rate=np.minimum(config.visit_rate * rate, 3.0),
    )


def _items(config: Storefront) -> Items:
    n, seed = config.n_items, config.seed
    draw = luck.table(seed, "item", n, 14)
    category = (draw[:, 0] * catalogue.N_CATEGORIES).astype(int)
    levels = np.array([(d.price, d.margin, d.return_logit) for d in catalogue.DEPARTMENTS])[category]
    place = np.argsort(np.argsort(draw[:, 1], kind="stable"), kind="stable")
    weight = (place + 3.0) ** -config.popularity_slope
    appeal = np.log(weight)
    appeal = (appeal - appeal.mean()) / max(appeal.std(), 1e-9)
    price = config.price_level * levels[:, 0] * np.exp(0.42 * luck.normal(draw[:, 2]) - 0.06 * appeal)
    margin = np.clip(levels[:, 1] + 0.13 * luck.normal(draw[:, 3]) - 0.03 * appeal, 0.03, 0.75)
    brand = np.where(draw[:, 4] < 0.34, 0, 1 + (draw[:, 5] * (len(catalogue.BRANDS) - 1)).astype(int))
    price = np.maximum(np.round(np.where(brand == 0, 0.85, 1.0) * price - 0.005, 1) - 0.01, 0.29)
    cost = np.round(price * (1 - np.where(brand == 0, np.minimum(margin + 0.08, 0.8), margin)), 2)
    launch = np.where(draw[:, 6] < config.launch_share, (draw[:, 7] * config.n_days).astype(int), -365)
    retire = np.where(draw[:, 8] < config.retire_share, 21 + (draw[:, 9] * (config.n_days + 28)).astype(int), 100_000)
    names = np.array([d.name for d in catalogue.DEPARTMENTS])
    return Items(
        category=category, brand=brand, supplier=(draw[:, 10] * len(catalogue.SUPPLIERS)).astype(int),
        list_price=np.round(price, 2), unit_cost=np.maximum(cost, 0.01),
        is_restricted=(names == catalogue.RESTRICTED)[category],
        is_storable=np.array([d.is_storable for d in catalogue.DEPARTMENTS])[category], launch_day=launch,
        retire_day=np.maximum(retire, launch + 14), promo_rate=np.clip(config.promo_share * 2 * draw[:, 11], 0, 1),
        taste=luck.normal(luck.table(seed, "policy", n, N_TASTES)).astype(np.float32), appeal=appeal.astype(np.float32),
        weight=weight / weight.sum(), base_stock=_base_stock(config, weight / weight.sum(), draw[:, 12]),
        refill_weekday=(draw[:, 13] * 7).astype(int), return_logit=levels[:, 2],
    )


def _base_stock(config: Storefront, weight: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Weekly stock level: cover times the demand that popularity alone foretells, never below three units."""
    weekly = config.n_customers * config.visit_rate * 7 * config.planned_lines
    share = weight ** 0.8 / (weight ** 0.8).sum()
    wanted = config.stock_cover * weekly * share * np.exp(0.7 * luck.normal(draw))
    return np.maximum(np.ceil(wanted + 2), 3).astype(np.int64)


def _best_sellers(config: Storefront, customers: Customers, items: Items) -> np.ndarray:
    """Last year's best sellers: one order of items a segment, and one of the whole shop in the last row."""
    noise = luck.normal(luck.table(config.seed, "assign", len(catalogue.SEGMENTS) + 1, config.n_items))
    lean = np.zeros((len(catalogue.SEGMENTS) + 1, config.n_items))
    for segment in range(len(catalogue.SEGMENTS)):
        members = customers.segment == segment
        if members.any():
            affinity = np.round(customers.affinity[members].astype(float).mean(axis=0), 4)
            taste = np.round(customers.taste[members].astype(float).mean(axis=0), 4)
            lean[segment] = 0.8 * affinity[items.category] + (items.taste.astype(float) * taste).sum(axis=1)
    score = np.round(items.appeal + lean + 0.25 * noise, 4)
    return np.argsort(-score, axis=1, kind="stable")


def _prices(config: Storefront, items: Items, week: int, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hashes = luck.rows(config.seed, "promo", week, np.arange(config.n_items))
    is_promo = luck.unit(hashes) < items.promo_rate
    depth = _DEPTHS[np.searchsorted(_DEPTH_CUTS, luck.spread(hashes, np.zeros(1, dtype=int)))]
    price = np.round(items.list_price * factor * np.where(is_promo, 1 - depth, 1.0), 2)
    return np.maximum(price, 0.05), is_promo

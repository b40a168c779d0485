"""Every parameter of the shop, in one frozen record, with presets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

FIRST_DAY = "2026-01-05"
_SHARES = (
    "epsilon", "personal_share", "recall_share", "promo_share", "delay_share", "minor_share", "consent_share", "push_share",
    "examine_base", "launch_share", "retire_share", "salvage",
)
_AT_LEAST = {
    "n_customers": 1, "n_items": 1, "n_days": 1, "seed": 0, "k": 1, "n_pool": 1, "n_browse": 1, "push_every": 0,
    "browse_spread": 0.0, "visit_rate": 0.0, "visit_shape": 0.01, "stock_cover": 0.0, "planned_lines": 0.0,
    "delay_days": 0.0, "fatigue": 0.0, "satiation": 0.0, "examine_decay": 0.0, "price_pull": 0.0, "season": 0.0,
    "price_level": 0.01, "popularity_slope": 0.0, "opt_out_base": 0.0, "complaint_base": 0.0, "churn_base": 0.0,
}


@dataclass(frozen=True)
class Storefront:
    """The parameters of a world; the same record makes the same world on every machine.

    Logits and pulls are on the utility scale, rates are a day, `*_share` are shares in [0, 1].

    Attributes:
        n_customers, n_items, n_days, seed: size of the world and its luck.
        k: slate length.
        personal_share: share of past visits that a personal draw served; the others saw best sellers.
        epsilon, n_pool: share of explored slates among those; items that exploration draws from.
        stock_on, dynamic, churn_on, age_gate: switches of stock, of memory (fatigue, satiation, habit, irritation,
            goodwill), of churn, and of the shop's own refusal to show restricted items to minors.
        n_browse, browse_spread: most items that a visitor finds alone; the share looked through is u^browse_spread.
        push_every: days between pushes to those who agreed; 0 sends none.
        stock_cover, planned_lines: weeks of planned demand that the weekly delivery fills up to; planned lines a visit.
        salvage: share of the unit cost recovered from a returned unit.
    """

    n_customers: int = 4000
    n_items: int = 500
    n_days: int = 84
    seed: int = 7
    k: int = 8
    personal_share: float = 0.6
    epsilon: float = 0.2
    n_pool: int = 40
    stock_on: bool = True
    dynamic: bool = True
    churn_on: bool = True
    age_gate: bool = True
    visit_rate: float = 0.2
    visit_shape: float = 0.8
    season: float = 0.25
    n_browse: int = 4
    browse_spread: float = 0.0
    recall_share: float = 0.45
    appeal_pull: float = 0.35
    taste_pull: float = 1.0
    category_pull: float = 0.6
    price_pull: float = 0.5
    promo_pull: float = 0.5
    examine_base: float = 0.85
    examine_decay: float = 0.6
    click_base: float = -3.2
    click_scale: float = 0.9
    buy_base: float = -3.9
    buy_intent: float = 1.6
    buy_click: float = 1.6
    buy_known: float = 1.3
    cart_slack: float = 0.8
    fatigue: float = 0.35
    satiation: float = 1.2
    dismiss_base: float = -4.6
    return_base: float = -3.2
    delay_share: float = 0.25
    delay_days: float = 4.0
    opt_out_base: float = 0.0008
    complaint_base: float = 0.0001
    churn_base: float = 0.0006
    promo_share: float = 0.42
    price_level: float = 3.0
    popularity_slope: float = 0.6
    stock_cover: float = 1.9
    planned_lines: float = 0.5
    push_every: int = 7
    minor_share: float = 0.04
    consent_share: float = 0.9
    push_share: float = 0.5
    launch_share: float = 0.06
    retire_share: float = 0.03
    salvage: float = 1.0

    def __post_init__(self) -> None:
        """Refuse bad parameters with the sentence that names them."""
        for field in fields(self):
            _check_kind(field.name, field.type, getattr(self, field.name))
        for name, low in _AT_LEAST.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} == {getattr(self, name)}, must be at least {low}.")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} == {getattr(self, name)}, must be a share in [0, 1].")
        if self.k > self.n_items:
            raise ValueError(f"k == {self.k}, must be at most n_items == {self.n_items}: more slots than items.")
        if self.k > self.n_pool:
            raise ValueError(f"k == {self.k}, must be at most n_pool == {self.n_pool}: more slots than items to draw.")


def _check_kind(name: str, kind: str, value: object) -> None:
    """Hold a parameter against its declared type: int, float or bool."""
    is_flag = isinstance(value, bool)
    if kind == "bool" and not is_flag:
        raise ValueError(f"{name} == {value!r}, must be True or False.")
    if kind == "int" and (is_flag or not isinstance(value, int)):
        raise ValueError(f"{name} == {value!r}, must be a whole number.")
    if kind == "float" and (is_flag or not isinstance(value, int | float) or not math.isfinite(value)):
        raise ValueError(f"{name} == {value!r}, must be a number.")


PRESETS: dict[str, dict] = {
    "default": {},
    "retail": {"buy_base": -6.9, "click_base": -6.4, "price_level": 8.0, "planned_lines": 0.05},
    "grocery": {"n_browse": 90, "browse_spread": 3.0, "buy_base": -0.6, "buy_intent": 3.0, "price_level": 1.0,
                "planned_lines": 8.0, "recall_share": 0.05, "popularity_slope": 0.45, "visit_rate": 0.2, "visit_shape": 0.55,
                "buy_known": 0.1, "click_base": -4.2, "stock_cover": 1.6,
                "opt_out_base": 0.0003},
}


def build(*, preset: str = "default", **options: object) -> Storefront:
    """Make the parameters of a preset, some of them overridden.

    Raises:
        ValueError: unknown preset or parameter, or a value out of range; the sentence names it.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset == {preset!r}, must be one of {sorted(PRESETS)}.")
    known = {field.name for field in fields(Storefront)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"unknown parameters {unknown}; known parameters: {sorted(known)}.")
    return Storefront(**(PRESETS[preset] | options))


def as_params(config: Storefront) -> dict:
    """Put the parameters into a record that JSON can hold; `build(**params)` makes them again."""
    return asdict(config)

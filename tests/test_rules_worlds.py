"""Random rule files over random catalogues, held against a slow reading of the same rules, row by row.

Each example is one rule file over many small shops that share no customer and no item; together they are 10,000 shops.
"""

import numpy as np
import pandas as pd
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reclib.rules import decide, funnel, outcomes, pairs, register
from reclib.rules.kinds import PRECEDENCE
from reclib.rules.plan import STATES

N_FILES, N_SHOPS = 100, 100
AS_OF = pd.Timestamp("2026-03-01", tz="UTC")
NEVER = 9_999
YES_NO, ORDERED = ("is_safe", "is_own", "is_adult"), ("price", "stock_on_hand", "n_seen_7d", "days_since_bought", "n_contacts_7d")
ALL = ("category", *YES_NO, *ORDERED)
OF_ITEMS = ("is_safe", "is_own", "category", "price", "stock_on_hand")
HOURS = {"Europe/Berlin": 1, "Asia/Tokyo": 9}  # what the clocks show at AS_OF
LEVERS = ("pin", "boost", "diversity", "slate_quota", "budget", "min_exposure")
COMPARE = {">=": lambda a, b: a >= b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, "<": lambda a, b: a < b,
           "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "in": lambda a, b: a in b, "not_in": lambda a, b: a not in b}


def one_test(rng: np.random.Generator, names: tuple[str, ...]) -> dict:
    name = str(rng.choice(names))
    if rng.random() < 0.1:
        return {"field": name, "op": "is_null", "value": bool(rng.random() < 0.5)}
    if name in YES_NO:
        return {"field": name, "op": str(rng.choice(["==", "!="])), "value": bool(rng.random() < 0.5)}
    if name == "category":
        return {"field": name, "op": str(rng.choice(["in", "not_in"])), "value": rng.choice(list("abc"), rng.integers(1, 3), replace=False).tolist()}
    return {"field": name, "op": str(rng.choice([">=", ">", "<=", "<"])), "value": int(rng.integers(0, 5))}


def condition(rng: np.random.Generator, names: tuple[str, ...] = ALL) -> dict:
    word, one = str(rng.choice(["", "all", "any", "not"])), one_test(rng, names)
    return {"": one, "not": {"not": one}}.get(word) or {word: [one, *(one_test(rng, names) for _ in range(rng.integers(0, 3)))]}


def rule_file(rng: np.random.Generator) -> list[dict]:
    """Two to nine rules of any kind, hard or soft, live or in shadow, in force or not, for all policies or one."""
    return [_rule(rng, str(kind), place) for place, kind in enumerate(rng.choice(PRECEDENCE, rng.integers(2, 10)))]


def _rule(rng: np.random.Generator, kind: str, place: int) -> dict:
    rare = int(rng.integers(0, 12))
    rule = {"id": f"{kind.upper()}_{place}", "kind": kind, "owner": "o", "reason": "r", "status": "shadow" if rare == 0 else "live",
            "is_hard": kind in ("budget", "slate_quota") or kind not in LEVERS and bool(rng.random() < 0.5),
            "yields": int(rng.integers(0, 4)), "on_missing": "allow" if rng.random() < 0.3 else "block"}
    rule |= {1: {"valid_to": "2026-02-01"}, 2: {"valid_from": "2026-03-02"}, 3: {"policies": ["value"]}}.get(rare, {})
    if kind == "stock":
        return rule | {"min": int(rng.integers(1, 3))} | [{}, {"placements_per_unit": 1}, {"placements_per_unit": 0.5}][rng.integers(0, 3)]
    of_items, of_all = condition(rng, OF_ITEMS), condition(rng)
    own = {
        "margin_floor": {"min": float(rng.choice([0.0, 0.3]))}, "frequency_cap": {"counter": "n_seen_7d", "max": int(rng.integers(1, 3))},
        "pin": {"item_id": f"i{rng.integers(0, 2 * N_SHOPS)}", "position": int(rng.integers(1, 4))},
        "slate_quota": {"field": "category", "max": int(rng.integers(1, 3)), "when": of_items},
        "diversity": {"method": "mmr", "fields": ["category"]}, "boost": {"times": float(rng.choice([0.5, 2.0])), "when": of_all},
        "budget": {"cost": "price", "max": int(rng.integers(0, 3 * N_SHOPS)), "per": "placement", "when": of_items},
        "min_exposure": {"share": 0.2, "when": of_items}, "block": {"when": of_all},
        "suppression": {"keep": condition(rng, ("n_contacts_7d", "is_adult"))},
        "quiet_hours": {"start": ["00:00", "08:00", "22:00"][rng.integers(0, 3)], "end": "02:00", "channels": ["home"]}}
    return rule | own.get(kind, {"keep": of_all} | ({"when": condition(rng)} if rng.random() < 0.5 else {}))


def shops(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, int]:
    """Many shops of 1 to 6 items and 1 to 4 customers, with gaps in what is known: items, customers, events, ranked, k."""
    n_items, n_customers = rng.integers(1, 7, N_SHOPS), rng.integers(1, 5, N_SHOPS)
    first = np.concatenate([[0], np.cumsum(n_items)])
    n, m = int(n_items.sum()), int(n_customers.sum())
    flag = lambda size, gap: pd.array(rng.choice([True, False, None], size, p=[0.6 - gap, 0.4, gap]), dtype="boolean")
    gaps = lambda values: np.where(rng.random(len(values)) < 0.15, np.nan, values)
    items = pd.DataFrame({
        "item_id": [f"i{number}" for number in range(n)], "is_safe": flag(n, 0.15), "is_own": flag(n, 0.05),
        "category": rng.choice(["a", "b", "c", None], n), "price": gaps(np.round(rng.uniform(1, 5, n), 2)),
        "unit_cost": np.round(rng.uniform(1, 4, n), 2), "stock_on_hand": gaps(rng.integers(0, 4, n).astype("float64"))})
    customers = pd.DataFrame({"customer_id": np.arange(m), "is_adult": flag(m, 0.2),
                              "timezone": rng.choice([*HOURS, None], m)})
    at_home = np.repeat(np.arange(N_SHOPS), n_customers)
    customer = np.repeat(np.arange(m), n_items[at_home])
    item = np.concatenate([np.arange(first[shop], first[shop + 1]) for shop in at_home])
    events = pd.DataFrame({"customer_id": np.repeat(customer, 2), "item_id": items["item_id"].to_numpy()[np.repeat(item, 2)],
                           "event_type": np.tile(["impression", "purchase"], len(item))})
    events = events[rng.random(len(events)) < 0.4].assign(days=lambda table: rng.integers(0, 12, len(table)))
    ranked = pd.concat([_ranking(policy, customer, items["item_id"].to_numpy()[item], rng) for policy in ("popular", "value")], ignore_index=True)
    return items, customers, events, ranked, int(rng.integers(1, 5))


def _ranking(policy: str, customer: np.ndarray, item: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    table = pd.DataFrame({"policy": policy, "customer_id": customer, "item_id": item, "p_response": np.round(rng.random(len(item)), 3),
                          "value": 1.0}).assign(priority=lambda table: table["p_response"])
    table = table[(rng.random(len(table)) < 0.8) | ~table["customer_id"].duplicated()]
    table = table.sort_values(["customer_id", "priority", "item_id"], ascending=[True, False, True], ignore_index=True)
    return table.assign(rank=table.groupby("customer_id").cumcount() + 1)


def known(pairs_of: pd.DataFrame, items: pd.DataFrame, customers: pd.DataFrame, events: pd.DataFrame) -> list[dict]:
    """What rules may know of each pair, worked out by counting; None where it is not known."""
    seen, bought = (events[events["event_type"] == name] for name in ("impression", "purchase"))
    week = seen[seen["days"] < 7]
    pair = ["customer_id", "item_id"]
    table = pairs_of.merge(items, on="item_id").merge(customers, on="customer_id")
    table = table.merge(week.groupby(pair).size().rename("n_seen_7d").reset_index(), on=pair, how="left")
    table = table.merge(bought.groupby(pair)["days"].min().rename("days_since_bought").reset_index(), on=pair, how="left")
    reached = week.drop_duplicates(["customer_id", "days"]).groupby("customer_id").size().rename("n_contacts_7d")
    table = table.merge(reached.reset_index(), on="customer_id", how="left")
    table = table.fillna({"n_seen_7d": 0, "n_contacts_7d": 0, "days_since_bought": NEVER})
    table["margin_rate"] = ((table["price"] - table["unit_cost"]) / table["price"]).round(6)
    blank = table.isna()
    return [{name: None if gap else value for (name, value), gap in zip(row.items(), gaps)}
            for row, gaps in zip(table.to_dict("records"), blank.to_numpy())]


def holds(condition: dict, row: dict) -> bool | None:
    """Read a condition as a person would: None where the answer is not known."""
    if "not" in condition:
        part = holds(condition["not"], row)
        return None if part is None else not part
    for word, decisive in (("all", False), ("any", True)):
        if word in condition:
            parts = [holds(part, row) for part in condition[word]]
            return decisive if decisive in parts else None if None in parts else not decisive
    value = row[condition["field"]]
    if condition["op"] == "is_null":
        return (value is None) == condition["value"]
    return None if value is None else bool(COMPARE[condition["op"]](value, condition["value"]))


def refuses(rule: dict, row: dict) -> bool:
    """Whether a row rule refuses a pair."""
    closed = rule["on_missing"] == "block"
    concerned = holds(rule["when"], row) if "when" in rule else True
    concerned = closed if concerned is None else concerned
    if rule["kind"] == "block":
        return concerned
    if rule["kind"] == "quiet_hours":
        start, end, hour = int(rule["start"][:2]), int(rule["end"][:2]), HOURS.get(row["timezone"])
        return closed if hour is None else start <= hour < end if start < end else hour >= start or hour < end
    asked = {"stock": ("stock_on_hand", ">=", rule.get("min")), "margin_floor": ("margin_rate", ">=", rule.get("min")),
             "frequency_cap": ("n_seen_7d", "<", rule.get("max"))}.get(rule["kind"])
    kept = holds(rule["keep"] if asked is None else dict(zip(("field", "op", "value"), asked)), row)
    return concerned and (closed if kept is None else not kept)


def in_force(rule: dict, policy: str) -> bool:
    return (rule["status"] == "live" and "valid_to" not in rule and "valid_from" not in rule
            and policy in rule.get("policies", [policy]))


def opened(rows: list[dict], live: list[dict]) -> list[tuple[list[str], list[str]]]:
    """For each pair the rules that refuse it, and those that still do once soft rules yielded to the starved."""
    by = [[rule["id"] for rule in live if refuses(rule, row)] for row in rows]
    soft = [rule["id"] for rule in sorted((rule for rule in live if not rule["is_hard"]), key=lambda rule: rule["yields"])]
    of_customer: dict = {}
    for place, row in enumerate(rows):
        of_customer.setdefault(row["customer_id"], []).append(place)
    left = list(by)
    for places in of_customer.values():
        for n in range(len(soft) + 1):
            for place in places:
                left[place] = [rule_id for rule_id in by[place] if rule_id not in soft[:n]]
            if not all(left[place] for place in places):
                break
    return list(zip(by, left))


def test_there_are_ten_thousand_shops():
    assert N_FILES * N_SHOPS >= 10_000


@settings(max_examples=N_FILES, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.integers(0, 2**32 - 1))
def test_no_slate_of_any_shop_breaks_a_hard_rule_and_every_reason_is_the_right_one(seed):
    rng = np.random.default_rng(seed)
    listed = rule_file(rng)
    items, customers, events, ranked, k = shops(rng)
    text = yaml.safe_dump({"rules": listed})
    at = pd.Series([AS_OF - pd.Timedelta(days=int(day), hours=1) for day in events["days"]], dtype="datetime64[us, UTC]", index=events.index)
    world = pairs.build(items, customers, events.assign(occurred_at=at), as_of=AS_OF, customer_ids=ranked["customer_id"],
                        event_types=["impression", "purchase"])
    case = decide.prepare(ranked, register.parse(text), world, k=k)
    plans = decide.decide(ranked, case)
    listed = sorted(listed, key=lambda rule: PRECEDENCE.index(rule["kind"]))
    for policy, plan in plans.items():
        table, live = outcomes.decisions(case, {policy: plan}), [rule for rule in listed if in_force(rule, policy)]
        rows = known(table[["customer_id", "item_id"]], items, customers, events)
        told = opened(rows, [rule for rule in live if rule["kind"] not in LEVERS])
        assert table["rule_id"].astype(object).where(table["rule_id"].notna(), None).tolist() == [next(iter(left), None) for _, left in told]
        assert table["is_allowed"].tolist() == [not left for _, left in told]
        said = outcomes.rule_outcomes(case, {policy: plan}).query("outcome == 'filtered'")
        assert sorted(zip(said["customer_id"], said["item_id"], said["rule_id"])) == sorted(
            (row["customer_id"], row["item_id"], rule_id) for row, (by, left) in zip(rows, told) if left for rule_id in by)
        _hold_slates(table, rows, live, k)
        steps = funnel.funnel(case, plan)
        assert funnel.reconcile(steps) and steps["n_pairs"].iloc[-1] == table["position"].notna().sum()
        assert set(table["state"]) <= set(STATES) and ((table["state"] == "filtered") == ~table["is_allowed"]).all()
        assert outcomes.reasons(case, plan)["n_first"].sum() == (table["state"] == "filtered").sum()


def _hold_slates(table: pd.DataFrame, rows: list[dict], live: list[dict], k: int) -> None:
    """Slates are whole, hold only allowed pairs, and keep every quota, every stock and every budget."""
    is_shown = table["position"].notna().to_numpy()
    shown = table[is_shown]
    assert shown["is_allowed"].all() and not shown.duplicated(["customer_id", "item_id"]).any()
    sizes = shown.groupby("customer_id")["position"].agg(["size", "max", "nunique"])
    assert (sizes["size"] <= k).all() and (sizes["size"] == sizes["max"]).all() and (sizes["size"] == sizes["nunique"]).all()
    mine = [row for row, is_mine in zip(rows, is_shown) if is_mine]
    for rule in live:
        concerned = [row for row in mine if _concerns(rule, row)]
        if rule["kind"] == "slate_quota":
            counts = pd.Series([(row["customer_id"], row["category"]) for row in concerned if row["category"] is not None], dtype=object)
            assert counts.value_counts().max() <= rule["max"] if len(counts) else True
        if rule["kind"] == "stock" and "placements_per_unit" in rule:
            bears = {row["item_id"]: np.floor(row["stock_on_hand"] * rule["placements_per_unit"]) for row in mine if row["stock_on_hand"] is not None}
            assert all(n <= bears.get(item, np.inf) for item, n in shown["item_id"].value_counts().items())
        if rule["kind"] == "budget":
            dearest = max((row["price"] for row in rows if row["price"] is not None), default=0.0)
            missing = dearest if rule["on_missing"] == "block" else 0.0
            assert sum(missing if row["price"] is None else row["price"] for row in concerned) <= rule["max"] + 1e-6
    if not {rule["kind"] for rule in live} & {"slate_quota", "budget", "min_exposure", "stock"}:
        full = table[table["is_allowed"]].groupby("customer_id").size().clip(upper=k)
        assert full.equals(shown.groupby("customer_id").size().reindex(full.index))


def _concerns(rule: dict, row: dict) -> bool:
    held = holds(rule["when"], row) if "when" in rule else True
    return rule["on_missing"] == "block" if held is None else held

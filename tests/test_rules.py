"""Rules: the vocabulary, three-valued conditions, precedence, pins, quotas, shared limits, the linter, overrides."""

import numpy as np
import pandas as pd
import pytest

from reclib import schema
from reclib.allocation.problem import InfeasibleError
from reclib.rules import (
    decide,
    funnel,
    lint,
    outcomes,
    overrides,
    pairs,
    prices,
    register,
    slates,
    tables,
)

AS_OF = pd.Timestamp("2026-03-01", tz="UTC")


def text_of(*rules: str) -> str:
    return "rules:\n" + "\n".join(f"  - {{owner: o, reason: r, {rule}}}" for rule in rules)


def items_of(n: int, **columns) -> pd.DataFrame:
    return pd.DataFrame({"item_id": [f"i{number}" for number in range(n)], **columns})


def ranked_of(scores: dict[int, list[float]], *, policy: str = "value") -> pd.DataFrame:
    """Each customer's scores of i0, i1, ...; None where the item is no candidate."""
    rows = []
    for customer, own in scores.items():
        offered = sorted((-score, f"i{number}") for number, score in enumerate(own) if score is not None)
        rows += [{"policy": policy, "customer_id": customer, "item_id": item, "p_response": min(-score, 1.0), "value": 1.0,
                  "priority": -score, "rank": place + 1} for place, (score, item) in enumerate(offered)]
    return pd.DataFrame(rows)


def events_of(*rows: tuple) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["customer_id", "item_id", "event_type", "days"])
    return made.assign(event_id=range(len(made)), value=0.0,
                       occurred_at=pd.Series([AS_OF - pd.Timedelta(days=day) for day in made["days"]], dtype="datetime64[us, UTC]"))


def decided(ranked: pd.DataFrame, items: pd.DataFrame, text: str, *, k: int = 2, customers: pd.DataFrame | None = None,
            events: pd.DataFrame | None = None, by_hand: pd.DataFrame | None = None):
    world = pairs.build(items, customers, events_of() if events is None else events, as_of=AS_OF,
                        customer_ids=ranked["customer_id"], item_ids=ranked["item_id"])
    rules = overrides.merge(register.parse(text), by_hand, as_of=AS_OF)
    case = decide.prepare(ranked, lint.require(rules, world), world, k=k)
    return case, decide.decide(ranked, case)


def shown(case, plan) -> dict:
    table = outcomes.decisions(case, {plan.policy: plan}).dropna(subset="position").sort_values(["customer_id", "position"])
    return table.groupby("customer_id")["item_id"].agg(list).to_dict()


def test_all_faults_of_a_file_are_named_at_once_with_their_lines():
    text = """rules:
  - {id: A, kind: policy, owner: legal, reasn: x, keep: {field: is_adult, op: "=>", value: true}}
  - {id: A, kind: stok, owner: o, reason: r}
  - {id: C, kind: boost, owner: o, owner: p, reason: r, times: 99, when: {all: [{field: x, op: in, value: 3}]}}
"""
    with pytest.raises(register.RuleError) as error:
        register.parse(text)
    said = str(error.value)
    for part in ("line 2: rule 'A': unknown key 'reasn'", "line 2: rule 'A': key 'reason' is missing", "got '=>'",
                 "line 3: rule 'A': unknown kind 'stok'", "line 3: id 'A' is repeated; it first stands in line 2",
                 "line 4: key 'owner' is repeated", "op 'in' needs a list", "less than or equal to 10, got 99"):
        assert part in said


@pytest.mark.parametrize(("given", "fault"), [
    ("valid_to: 20270101", "valid_to: must be a date or time such as 2026-03-01, got 20270101"),
    ("valid_to: now", "got 'now'"), ("valid_to: 2026-02-30", "a rule cannot be read: day is out of range for month"),
    ("min: .nan", "min: input should be a finite number, got nan"), ("[a]: b", "a rule cannot be read: found unhashable key")])
def test_what_would_be_misread_in_silence_is_refused_with_its_line(given, fault):
    with pytest.raises(register.RuleError) as error:
        register.parse(text_of(f"id: S, kind: stock, {given}"))
    assert str(error.value).startswith("rules, line 2: ") and fault in str(error.value)


@pytest.mark.parametrize("kind", sorted(schema.RULE_KINDS))
def test_every_kind_of_the_contract_has_its_place_in_the_precedence(kind):
    assert kind in register.PRECEDENCE


@pytest.mark.parametrize("name", ["rules.yaml", "grocer.yaml", "evening.yaml"])
def test_the_rule_files_of_the_project_are_sound_and_every_rule_has_an_owner_and_a_reason(name):
    rules = register.load(register.choose(name, {}))
    assert len(rules) > 5 and all(rule.owner and rule.reason[0].isupper() for rule in rules)


def test_registers_survive_a_round_trip_and_keep_their_version():
    rules = register.parse(text_of('id: A, kind: policy, keep: {not: {field: x, op: ">", value: 3}}',
                                   "id: B, kind: stock, valid_to: 2026-05-05", "id: C, kind: quiet_hours, start: 21:00, end: 08:00"))
    again = register.from_records(register.records(rules))
    assert again == rules and register.version(again) == register.version(rules)
    assert not len(schema.violations(register.table(rules), schema.TABLES["rules"]))


@pytest.mark.parametrize(("on_missing", "refused"), [("block", [False, True, True]), ("allow", [False, True, False])])
def test_missing_values_block_or_pass_as_the_rule_says(on_missing, refused):
    items = items_of(3, is_safe=pd.array([True, False, None], dtype="boolean"))
    case, _ = decided(ranked_of({1: [3, 2, 1]}), items, text_of(
        f'id: SAFE, kind: safety, on_missing: {on_missing}, keep: {{field: is_safe, op: "==", value: true}}'))
    assert case.refused["SAFE"].tolist() == refused


def test_a_missing_flag_in_when_fails_closed():
    items = items_of(2, is_restricted=pd.array([None, False], dtype="boolean"))
    customers = pd.DataFrame({"customer_id": [1], "is_adult": [False]})
    case, _ = decided(ranked_of({1: [2, 1]}), items, customers=customers, text=text_of(
        'id: AGE, kind: policy, when: {field: is_restricted, op: "==", value: true}, keep: {field: is_adult, op: "==", value: true}'))
    assert case.refused["AGE"].tolist() == [True, False]


@pytest.mark.parametrize("when", ['{field: item_id, op: in, value: ["10"]}', '{field: launched_at, op: "==", value: "2026-01-01"}',
                                  '{field: launched_at, op: "<", value: "2026-01-02"}'])
def test_conditions_compare_in_the_type_of_the_column(when):
    items = pd.DataFrame({"item_id": [10, 20], "launched_at": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True)})
    case, _ = decided(ranked_of({1: [2, 1]}).assign(item_id=[10, 20]), items, text_of(f"id: B, kind: block, when: {when}"))
    assert case.refused["B"].tolist() == [True, False]


def test_whether_a_stranger_opted_out_or_is_on_sale_is_not_known():
    never = pd.to_datetime([None], utc=True)
    customers, items = pd.DataFrame({"customer_id": [1], "opted_out_at": never}), items_of(1, valid_to=never)
    case, _ = decided(ranked_of({1: [2, 1], 2: [2, 1]}), items, customers=customers, text=text_of(
        'id: OUT, kind: suppression, keep: {field: is_opted_out, op: "==", value: false}',
        'id: SALE, kind: eligibility, keep: {field: is_on_sale, op: "==", value: true}'))
    assert case.refused["OUT"].tolist() == [False, False, True, True] and case.refused["SALE"].tolist() == [False, True] * 2


def test_a_ranked_item_that_the_world_lacks_is_named():
    world = pairs.build(items_of(1), None, events_of(), as_of=AS_OF, customer_ids=pd.Series([1]))
    with pytest.raises(ValueError, match="item_id 'i1' is ranked, but the world was built without it"):
        decide.prepare(ranked_of({1: [2, 1]}), [], world, k=1)


def test_any_is_true_although_a_part_is_unknown():
    items = items_of(1, a=[np.nan], b=[5.0])
    case, _ = decided(ranked_of({1: [1]}), items, text_of(
        'id: E, kind: eligibility, keep: {any: [{field: a, op: ">", value: 0}, {field: b, op: ">", value: 0}]}'))
    assert case.refused["E"].tolist() == [False]


def test_a_rule_whose_column_the_source_lacks_is_left_out_with_the_reason():
    case, plans = decided(ranked_of({1: [2, 1]}), items_of(2), text_of("id: STOCK, kind: stock"))
    assert case.skipped == {"STOCK": "not applicable: no column stock_on_hand"}
    assert shown(case, plans["value"]) == {1: ["i0", "i1"]}


def test_a_safety_rule_fails_closed_where_the_source_lacks_the_column():
    text = 'id: S, kind: safety, when: {field: is_wine, op: "==", value: true}, keep: {field: has_consent, op: "==", value: true}'
    case, plans = decided(ranked_of({1: [2, 1]}), items_of(2, is_wine=[True, False]), text_of(text))
    assert shown(case, plans["value"]) == {1: ["i1"]} and not case.skipped
    assert outcomes.rule_outcomes(case, plans)["detail"].tolist() == ["has_consent = missing, is_wine = True"]


def test_missing_stock_blocks_where_the_column_is_there():
    case, plans = decided(ranked_of({1: [2, 1]}), items_of(2, stock_on_hand=[np.nan, 4.0]), text_of("id: STOCK, kind: stock"))
    assert shown(case, plans["value"]) == {1: ["i1"]}


def test_misspelt_fields_are_refused_with_what_was_meant():
    with pytest.raises(register.RuleError, match="unknown field 'stok_on_hand'; did you mean stock_on_hand"):
        decided(ranked_of({1: [1]}), items_of(1, stock_on_hand=[3.0]), text_of("id: S, kind: stock, field: stok_on_hand"))


def test_what_makes_items_alike_must_be_of_items():
    customers = pd.DataFrame({"customer_id": [1], "segment": ["a"]})
    with pytest.raises(register.RuleError, match="field 'segment' belongs to customers or pairs; diversity needs fields of items"):
        decided(ranked_of({1: [1]}), items_of(1), text_of("id: D, kind: diversity, fields: [segment]"), customers=customers)


def test_every_reason_is_kept_and_the_first_follows_precedence_not_the_file():
    items = items_of(2, stock_on_hand=[0.0, 9.0], is_safe=[False, True])
    case, plans = decided(ranked_of({1: [2, 1]}), items, text_of(
        "id: STOCK, kind: stock", 'id: SAFE, kind: safety, keep: {field: is_safe, op: "==", value: true}'))
    table = outcomes.decisions(case, plans).set_index("item_id")
    reasons = outcomes.rule_outcomes(case, plans)
    assert table.at["i0", "rule_id"] == "SAFE"
    assert reasons[["rule_id", "detail"]].to_records(index=False).tolist() == [
        ("SAFE", "is_safe = False"), ("STOCK", "stock_on_hand = 0")]


def test_a_pin_takes_its_slot_and_never_resurrects_a_filtered_item():
    items = items_of(4, stock_on_hand=[5.0, 5.0, 5.0, 0.0])
    ranked = ranked_of({1: [3, 2, 1, None], 2: [3, 2, 1, 4]})
    case, plans = decided(ranked, items, text_of("id: STOCK, kind: stock", "id: P, kind: pin, item_id: i2, position: 1",
                                                 "id: Q, kind: pin, item_id: i3, position: 2"))
    assert shown(case, plans["value"]) == {1: ["i2", "i0"], 2: ["i2", "i0"]}


def test_of_two_pins_of_a_slot_the_first_of_the_file_gets_it():
    case, plans = decided(ranked_of({1: [3, 2, 1]}), items_of(3), text_of(
        "id: P, kind: pin, item_id: i2", "id: Q, kind: pin, item_id: i1"), k=3)
    assert shown(case, plans["value"]) == {1: ["i2", "i1", "i0"]}


def test_a_pinned_item_that_no_source_offered_is_shown_and_counted_as_added():
    case, plans = decided(ranked_of({1: [3, 2, None]}), items_of(3), text_of("id: P, kind: pin, item_id: i2, position: 2"))
    assert shown(case, plans["value"]) == {1: ["i0", "i2"]}
    steps = funnel.funnel(case, plans["value"]).set_index("layer")
    assert steps.loc[["ranked", "pinned added"], "n_pairs"].tolist() == [2, 3]


def test_a_quota_leaves_the_best_of_each_group():
    items = items_of(4, category=["a", "a", "b", None])
    case, plans = decided(ranked_of({1: [4, 3, 2, 1]}), items, text_of("id: Q, kind: slate_quota, field: category, max: 1"), k=3)
    assert shown(case, plans["value"]) == {1: ["i0", "i2", "i3"]}
    assert plans["value"].state.tolist() == ["shown", "capped", "shown", "shown"]


def test_shared_stock_goes_to_those_to_whom_it_is_worth_most():
    items = items_of(2, stock_on_hand=[1.0, 9.0])
    ranked = ranked_of({1: [0.9, 0.1], 2: [0.5, 0.4], 3: [0.4, 0.2]})
    case, plans = decided(ranked, items, text_of("id: S, kind: stock, placements_per_unit: 1"), k=1)
    assert shown(case, plans["value"]) == {1: ["i0"], 2: ["i1"], 3: ["i1"]}
    assert plans["value"].state[case.pairs.item == 0].tolist() == ["shown", "lost_to_allocation", "lost_to_allocation"]


def test_a_budget_is_never_exceeded():
    items = items_of(2, price=[10.0, 1.0], is_promoted=[True, False])
    ranked = ranked_of({customer: [0.5, 0.3] for customer in range(6)})
    case, plans = decided(ranked, items, k=1, text=text_of(
        'id: B, kind: budget, cost: price, max: 10, when: {field: is_promoted, op: "==", value: true}'))
    assert plans["value"].position[case.pairs.item == 0].sum() == 2  # 2 x 0.5 x 10 = 10


def test_sales_of_unknown_price_weigh_as_the_dearest_where_missing_data_blocks():
    items = items_of(2, price=[np.nan, 1.0], margin_rate=[0.1, 0.5])
    text = text_of("id: M, kind: margin_floor, over: all, min: 0.3, on_missing: block")
    shows = [shown(*_one(decided(ranked_of({1: [0.9, 0.1]}), items, text.replace("block", word)))) for word in ("block", "allow")]
    assert shows == [{1: ["i1"]}, {1: ["i0", "i1"]}]  # 0.9 x 1.0 x (0.3 - 0.1) > 0.1 x 1.0 x (0.5 - 0.3)


@pytest.mark.parametrize(("columns", "why"), [({"margin_rate": 0.1}, "no column price"),
                                              ({"margin_rate": 0.1, "price": np.nan}, "no item has a known price")])
def test_a_shared_limit_of_which_nothing_is_known_does_not_apply(columns, why):
    case, _ = decided(ranked_of({1: [0.9]}), items_of(1, **columns), text_of("id: M, kind: margin_floor, over: all, min: 0.3"))
    assert case.skipped == {"M": f"not applicable: {why}"}


@pytest.mark.parametrize(("times", "factors"), [(2, [2, 1, 1]), (0.5, [0.5, 0.5, 1])])
def test_where_the_condition_is_not_known_a_boost_buries_but_never_lifts(times, factors):
    case, _ = decided(ranked_of({1: [3, 2, 1]}), items_of(3, a=[5.0, np.nan, 0.0]), text_of(
        f'id: B, kind: boost, times: {times}, on_missing: block, when: {{field: a, op: ">", value: 3}}'))
    assert case.levers["B"].tolist() == factors


@pytest.mark.parametrize(("of", "said"), [("shown", "F (of what is shown)"), ("slots", "F (of all slots)")])
def test_a_share_that_binds_says_what_it_is_a_share_of(of, said):
    case, plans = decided(ranked_of({1: [0.1, 0.5], 2: [0.1, 0.4]}), items_of(2, own=[True, False]), k=1, text=text_of(
        f'id: F, kind: min_exposure, share: 0.5, of: {of}, when: {{field: own, op: "==", value: true}}'))
    assert tables.shared_limits(case, plans)[["fill_rate", "binding_rules"]].to_numpy().tolist() == [[1.0, said]]


def test_a_boost_lifts_a_pair_past_another_and_says_so():
    items = items_of(2, is_new=[False, True])
    case, plans = decided(ranked_of({1: [0.5, 0.3]}), items, text_of(
        'id: B, kind: boost, times: 2, when: {field: is_new, op: "==", value: true}'), k=1)
    assert shown(case, plans["value"]) == {1: ["i1"]}
    assert outcomes.rule_outcomes(case, plans)[["item_id", "outcome"]].to_records(index=False).tolist() == [("i1", "boosted")]


def test_diversity_prefers_what_differs_at_the_stated_price():
    items = items_of(3, category=["a", "a", "b"])
    text = "id: D, kind: diversity, fields: [category], weight: "
    close, far = ranked_of({1: [1.0, 0.9, 0.8]}), ranked_of({1: [1.0, 0.9, 0.2]})
    assert shown(*_one(decided(close, items, text_of(text + "0.2")))) == {1: ["i0", "i2"]}  # 0.9 x 0.8 < 0.8
    assert shown(*_one(decided(far, items, text_of(text + "0.2")))) == {1: ["i0", "i1"]}


def test_novelty_and_repetition_take_their_share_of_the_score():
    items = items_of(3)
    events = events_of((1, "i0", "purchase", 3), (2, "i0", "purchase", 3), (3, "i0", "purchase", 3), (1, "i1", "impression", 2))
    ranked = ranked_of({1: [0.8, 0.7, 0.6], 2: [0.8, 0.7, 0.6], 3: [0.8, 0.7, 0.6]})
    text = text_of("id: N, kind: diversity, method: novelty, weight: 0.5", "id: R, kind: diversity, method: repetition, weight: 0.5")
    case, plans = decided(ranked, items, text, events=events, k=1)
    plan, first = plans["value"], case.pairs.customer == 0
    # 3 of 3 bought i0: (3 + 1) / (3 + 1), no surprise at all; nobody bought i1 and i2: 1/4, the greatest surprise
    assert plan.taken["N"][first].tolist() == pytest.approx([0.4, 0, 0], abs=1e-5)
    assert plan.taken["R"][first].tolist() == pytest.approx([0, 0.35, 0], abs=1e-5)
    assert shown(case, plan) == {1: ["i2"], 2: ["i1"], 3: ["i1"]}
    assert [case.rules[place].id for place in plan.blame[first][:2]] == ["N", "R"] and (plan.state[first][:2] == "capped").all()


@pytest.mark.parametrize("given", ["method: novelty, fields: [category]", "method: mmr", "method: max_similar"])
def test_fields_tell_what_is_alike_and_nothing_else(given):
    with pytest.raises(register.RuleError, match="line 2: rule 'D': 'fields' must name what makes items alike"):
        register.parse(text_of(f"id: D, kind: diversity, {given}"))


def _one(made):
    return made[0], made[1]["value"]


def test_pair_state_counts_windows_up_to_the_moment():
    events = events_of((1, "i0", "impression", 1), (1, "i0", "impression", 6), (1, "i0", "impression", 8),
                       (1, "i1", "purchase", 3), (1, "i1", "purchase", -2))
    case, plans = decided(ranked_of({1: [3, 2, 1]}), items_of(3), events=events, k=3, text=text_of(
        "id: F, kind: frequency_cap, counter: n_seen_7d, max: 2",
        'id: B, kind: suitability, keep: {field: days_since_bought, op: ">=", value: 5}'))
    assert case.pairs.column("n_seen_7d").tolist() == [2, 0, 0]
    assert case.pairs.column("days_since_bought").tolist() == [9999, 3, 9999]
    assert shown(case, plans["value"]) == {1: ["i2"]}


def test_soft_rules_yield_in_declared_order_and_only_for_the_starved():
    items = items_of(2, a=[0, 1], b=[0, 0])
    text = text_of('id: A, kind: suitability, is_hard: false, yields: 2, keep: {field: a, op: "==", value: 1}',
                   'id: B, kind: suitability, is_hard: false, yields: 1, keep: {field: b, op: "==", value: 1}')
    case, plans = decided(ranked_of({1: [2, 1], 2: [2, None]}), items, text)
    assert plans["value"].relaxed == {"B": 2, "A": 1}
    assert shown(case, plans["value"]) == {1: ["i1"], 2: ["i0"]}


def test_hard_rules_never_yield():
    case, plans = decided(ranked_of({1: [2]}), items_of(1, a=[0]), text_of('id: A, kind: safety, keep: {field: a, op: "==", value: 1}'))
    assert shown(case, plans["value"]) == {} and not plans["value"].relaxed


def test_hard_shared_rules_that_cannot_hold_are_named():
    items = items_of(2, own=[True, False], stock_on_hand=[1.0, 9.0])
    text = text_of("id: S, kind: stock, placements_per_unit: 1",
                   'id: F, kind: min_exposure, placements: 3, when: {field: own, op: "==", value: true}')
    ranked = ranked_of({customer: [0.5, 0.4] for customer in range(4)})
    with pytest.raises(InfeasibleError, match="F misses its limit by 2 placements.*cannot hold together: S, F"):
        decided(ranked, items, text, k=1)
    _, plans = decided(ranked, items, text.replace("placements: 3", "placements: 3, is_hard: false"), k=1)
    assert plans["value"].found.relaxed == ("F",) and (plans["value"].position > 0).sum() == 4


FLOOR = 'id: F, kind: min_exposure, placements: 1, when: {field: own, op: "==", value: true}'


def test_filters_that_leave_a_floor_no_room_are_named_and_soft_ones_yield():
    items = items_of(2, own=[True, False], a=[0, 1], category="x")
    text = text_of('id: A, kind: suitability, keep: {field: a, op: "==", value: 1}',
                   'id: B, kind: eligibility, is_hard: false, keep: {field: own, op: "==", value: false}', FLOOR)
    with pytest.raises(InfeasibleError, match="F misses its limit by 1 placements; these cannot hold together: A, F"):
        decided(ranked_of({1: [2, 1], 2: [2, 1]}), items, text)
    case, plans = decided(ranked_of({1: [2, 1], 2: [2, 1]}), items, text.replace("suitability", "suitability, is_hard: false"))
    assert plans["value"].relaxed == {"B": 2, "A": 2} and shown(case, plans["value"]) == {1: ["i0", "i1"], 2: ["i0", "i1"]}


def test_a_soft_quota_yields_where_a_hard_floor_asks_for_more():
    text = text_of(FLOOR.replace("1, when", "2, when"), "id: Q, kind: slate_quota, field: own, max: 1, is_hard: false")
    case, plans = decided(ranked_of({1: [2, 1]}), items_of(2, own=True), text)
    assert plans["value"].relaxed == {"Q": 1} and shown(case, plans["value"]) == {1: ["i0", "i1"]}


@pytest.mark.parametrize("name", ["stock", "slate"])
def test_rules_may_be_called_what_they_are(name):
    items = items_of(2, own=[True, False], stock_on_hand=[1.0, 9.0])
    text = text_of("id: S, kind: stock, placements_per_unit: 1", FLOOR.replace("id: F", f"id: {name}"))
    case, plans = decided(ranked_of({1: [0.9, 0.1], 2: [0.5, 0.4]}), items, text, k=1)
    assert shown(case, plans["value"]) == {1: ["i0"], 2: ["i1"]} and plans["value"].found.row_prices == {name: 0}


def test_stock_that_customers_share_has_a_price_though_nothing_is_out_of_stock():
    ranked = ranked_of({1: [0.9, 0.1], 2: [0.5, 0.4], 3: [0.4, 0.2]})
    case, plans = decided(ranked, items_of(2, stock_on_hand=[1.0, 9.0]), text_of("id: S, kind: stock, placements_per_unit: 1"), k=1)
    found = prices.price_rules(ranked, case, plans["value"]).table
    assert found[["drop_one_value", "first_in_value"]].to_numpy().tolist() == [[pytest.approx(1.8 - 1.5)] * 2]


def test_a_floor_that_yields_has_the_price_of_what_is_left_of_it():
    ranked = ranked_of({customer: [0.4, 0.5] for customer in range(6)})
    text = text_of("id: S, kind: stock, placements_per_unit: 1", FLOOR.replace("1, when", "3, is_hard: false, when"))
    case, plans = decided(ranked, items_of(2, own=[True, False], stock_on_hand=[1.0, 9.0]), text, k=1)
    found = prices.price_rules(ranked, case, plans["value"]).table.set_index("rule_id")["drop_one_value"]
    assert found.to_dict() == pytest.approx({"S": 2.7 - 2.9, "F": 3.0 - 2.9}, abs=1e-3)


def test_a_soft_stock_rule_that_yields_and_then_holds_by_its_units_has_one_outcome_a_pair():
    case, plans = decided(ranked_of({1: [0.9]}), items_of(1, stock_on_hand=[0.0]), text_of(
        "id: S, kind: stock, placements_per_unit: 1, is_hard: false"))
    assert outcomes.rule_outcomes(case, plans)["outcome"].tolist() == ["not_allocated"]


def test_shadow_rules_are_counted_and_refuse_nothing():
    case, plans = decided(ranked_of({1: [2, 1]}), items_of(2, a=[0, 1]), text_of(
        'id: A, kind: safety, status: shadow, keep: {field: a, op: "==", value: 1}'))
    assert shown(case, plans["value"]) == {1: ["i0", "i1"]} and case.refused["A"].sum() == 1


@pytest.mark.parametrize(("rule", "said"), [
    ("kind: block, item_id: i0", "refuse 2 pairs"), ("kind: diversity, method: max_similar, fields: [own]", "refuse 2 pairs"),
    ('kind: boost, times: 2, when: {field: own, op: "==", value: true}', "lift 6 pairs"), ("kind: pin, item_id: i2", "pin 2 pairs"),
    ("kind: budget, max: 1, per: placement", "ask tonight's slates for 3 money"), ("kind: budget, max: 4, per: placement", "hold as things are"),
    ('kind: min_exposure, placements: 6, when: {field: own, op: "==", value: true}', "ask tonight's slates for 2 placements"),
    ("kind: diversity, fields: [own]", "bend scores")])
def test_a_rule_in_shadow_says_what_it_would_do(rule, said):
    case, plans = decided(ranked_of({1: [3, 2, 1], 2: [3, 2, 1]}), items_of(3, own=True), text_of(f"id: T, status: shadow, {rule}"))
    assert tables.shadows(case, plans["value"])["would"].tolist() == [said]


def test_expired_rules_are_not_in_force_and_are_named():
    text = text_of("id: S, kind: stock, valid_to: 2026-01-01", "id: T, kind: stock, valid_from: 2026-02-01, valid_to: 2026-01-15")
    case, _ = decided(ranked_of({1: [1]}), items_of(1, stock_on_hand=[0.0]), text)
    faults = lint.contradictions(register.parse(text), case).set_index("rule_id")
    assert case.skipped["S"] == "expired: valid to 2026-01-01"
    assert faults["weight"].to_dict() == {"T": "contradiction", "S": "expired"}


def test_the_linter_names_floors_above_one_idle_pins_and_redundant_rules():
    items = items_of(3, own=[True, False, False], new=[False, True, False], stock_on_hand=[5.0, 5.0, 0.0])
    text = text_of('id: F, kind: min_exposure, share: 0.6, is_hard: false, when: {field: own, op: "==", value: true}',
                   'id: G, kind: min_exposure, share: 0.6, is_hard: false, when: {field: new, op: "==", value: true}',
                   "id: STOCK, kind: stock", "id: P, kind: pin, item_id: i2", "id: GONE, kind: pin, item_id: i9",
                   'id: AGAIN, kind: eligibility, keep: {field: stock_on_hand, op: ">", value: 0}')
    case = _case(ranked_of({1: [3, 2, 1]}), items, text)
    faults = lint.contradictions(register.parse(text), case).set_index("rule_id")["fault"]
    assert "add up to 1.20" in faults["F"] and "no customer may see" in faults["P"]
    assert "not in the catalogue" in faults["GONE"] and "refuses tonight only what AGAIN" in faults["STOCK"]


ITEMS = {"own": [True, False, False], "new": [False, True, False], "stock_on_hand": [5.0, 5.0, 0.0], "category": "a"}
OWN, NEW, GONE = ('when: {field: own, op: "==", value: true}', 'when: {field: new, op: "==", value: true}',
                  "when: {field: stock_on_hand, op: '==', value: 0}")


@pytest.mark.parametrize(("rules", "who", "fault", "weight"), [
    (["id: WIDE, kind: slate_quota, field: category, max: 2"], "WIDE", "allows 2 of a category, but a slate has 2 slots", "idle"),
    (["id: WIDE, kind: slate_quota, field: category, max: 2", "id: TIGHT, kind: slate_quota, field: category, max: 1"], "WIDE",
     "is implied by TIGHT, which allows 1", "redundant"),
    (['id: B, kind: boost, times: 2, when: {field: category, op: "==", value: z}'], "B", "boosts no pair: its condition holds for none",
     "idle"),
    ([f"id: B, kind: boost, times: 2, {GONE}", "id: S, kind: stock"], "B", "boosts only pairs that filters refuse", "idle"),
    ([f"id: B, kind: boost, times: 2, {OWN}", f"id: C, kind: boost, times: 3, {OWN}"], "B", "boosts only pairs that C boosts more",
     "redundant"),
    (["id: P, kind: pin, item_id: i0, position: 1", "id: R, kind: pin, item_id: i1, position: 1"], "R",
     "wants slot 1, which P has for the same customers", "contradiction"),
    (["id: M, kind: margin_floor, min: 0.9"], "M", "refuses every pair (margin_rate = 0.5)", "contradiction"),
    ([f"id: F, kind: min_exposure, placements: 2, {GONE}", "id: S, kind: stock"], "F",
     "asks for 2 placements, but no customer may see any of its members", "contradiction"),
    ([f"id: F, kind: min_exposure, share: 0.7, {OWN}", f"id: G, kind: min_exposure, share: 0.6, {NEW}",
      "id: H, kind: min_exposure, share: 0.1, when: {field: category, op: '==', value: a}"], "F",
     "the floors of F, G concern different items and add up to 1.30 of all shown, more than one", "contradiction"),
    ([f"id: F, kind: min_exposure, share: 0.6, {OWN}", f"id: G, kind: min_exposure, share: 0.6, {NEW}",
      "id: H, kind: min_exposure, share: 0.7, when: {field: stock_on_hand, op: '==', value: 5}"], "F",
     "the floors of F, G concern different items and add up to 1.20 of all shown, more than one", "contradiction"),
    (["id: B, kind: budget, max: 5", f"id: C, kind: budget, max: 6, {OWN}"], "C", "holds wherever B does", "redundant"),
    ([f"id: F, kind: min_exposure, share: 0.2, is_hard: false, {OWN}", f"id: G, kind: min_exposure, share: 0.3, {OWN}"], "F",
     "holds wherever G does", "redundant"),
    ([f"id: B, kind: block, {OWN}, policies: [valeu]"], "B", "holds for policies ['valeu'], of which none is ranked (value)", "idle"),
    (["id: P, kind: pin, item_id: i0", "id: R, kind: pin, item_id: i0, position: 2"], "R",
     "pins item 'i0', which P pins for the same customers", "redundant")])
def test_the_linter_names_what_contradicts_never_acts_or_is_done_anyway(rules, who, fault, weight):
    case = _case(ranked_of({1: [3, 2, 1]}), items_of(3, price=2.0, unit_cost=1.0, **ITEMS), text_of(*rules))
    found = lint.contradictions(register.parse(text_of(*rules)), case)
    assert (who, fault, weight) in found.to_records(index=False).tolist()


@pytest.mark.parametrize("rules", [
    ["id: P, kind: pin, item_id: i0, position: 1", "id: R, kind: pin, item_id: i1, position: 2"],
    ["id: P, kind: pin, item_id: i0, policies: [value]", "id: R, kind: pin, item_id: i1, policies: [popular]"],
    ["id: P, kind: pin, item_id: i0, when: {field: customer_id, op: '==', value: 1}",
     "id: R, kind: pin, item_id: i1, when: {field: customer_id, op: '==', value: 2}"],
    [f"id: B, kind: boost, times: 3, {OWN}", f"id: C, kind: boost, times: 2, {NEW}", "id: S, kind: stock"],
    [f"id: F, kind: min_exposure, share: 0.6, {OWN}", f"id: G, kind: min_exposure, share: 0.4, {NEW}"],
    ["id: P, kind: pin, item_id: i0, policies: [value]", "id: B, kind: block, item_id: i0, policies: [popular]"],
    [f"id: F, kind: min_exposure, share: 0.2, {OWN}", f"id: G, kind: min_exposure, share: 0.3, is_hard: false, {OWN}"]])
def test_the_linter_leaves_rules_in_peace_that_can_hold_together(rules):
    scores = {1: [3, 2, 1], 2: [3, 2, 1]}
    ranked = pd.concat([ranked_of(scores), ranked_of(scores, policy="popular")], ignore_index=True)
    case = _case(ranked, items_of(3, **ITEMS), text_of(*rules))
    assert not len(lint.contradictions(register.parse(text_of(*rules)), case))


@pytest.mark.parametrize(("rule", "who"), [
    ('kind: suppression, keep: {field: n_contacts_7d, op: "<", value: 2}', [2, 3]),  # a contact budget a week
    ('kind: suppression, keep: {field: days_since_contact, op: ">=", value: 3}', [1, 3]),  # quiet time
    ("kind: frequency_cap, counter: n_contacts_28d, max: 2", [2, 3])])
def test_contact_policy_holds_per_customer_over_its_window(rule, who):
    events = events_of((1, "i0", "impression", 4), (1, "i1", "impression", 5), (2, "i1", "impression", 1))
    ranked = ranked_of({1: [2, 1], 2: [2, 1], 3: [2, 1]})
    case, plans = decided(ranked, items_of(2), text_of(f"id: C, {rule}"), events=events)
    assert sorted(shown(case, plans["value"])) == who


QUIET = 'id: Q, kind: quiet_hours, start: "21:00", end: "08:00"'
CLOCKS = pd.DataFrame({  # at 20:30 UTC it is 21:30, 20:30, 10:30 and 12:30; the last two clocks are not known
    "customer_id": range(1, 7), "region": ["north", "north", "south", "south", "south", None],
    "timezone": ["Europe/Berlin", "Europe/Lisbon", "Pacific/Kiritimati", "America/Los_Angeles", None, "Atlantis"]})


@pytest.mark.parametrize(("rule", "who"), [
    (QUIET, [2, 3, 4]),
    (QUIET + ", on_missing: allow", [2, 3, 4, 5, 6]),
    ("id: Q, kind: quiet_hours, start: 12:00, end: 21:00", [1, 3]),  # bare times are minutes to YAML
    ('id: Q, kind: quiet_hours, start: "21:30", end: "10:30"', [2, 3, 4]),  # the start is quiet, the end no longer
    ('id: Q, kind: quiet_hours, start: "21:31", end: "10:31"', [1, 2, 4]),
    (QUIET + ", field: region, zones: {north: Europe/Lisbon}", [1, 2]),
    (QUIET + ", channels: [mail]", [1, 2, 3, 4, 5, 6])])
def test_nobody_is_disturbed_in_quiet_hours_of_their_own_clock_nor_where_it_is_not_known(rule, who):
    case, plans = _pushed(CLOCKS, rule)
    assert sorted(shown(case, plans["value"])) == who


def test_quiet_hours_fail_closed_where_the_source_has_no_clocks_and_the_linter_says_so():
    case, plans = _pushed(CLOCKS[["customer_id"]], QUIET)
    assert shown(case, plans["value"]) == {} and not case.skipped
    assert lint.contradictions(case.rules, case)["fault"].tolist() == ["refuses every pair (local time = missing)"]
    assert _pushed(CLOCKS[["customer_id"]], QUIET + ", on_missing: allow")[0].skipped == {"Q": "not applicable: no column timezone"}


@pytest.mark.parametrize(("given", "fault"), [
    ('start: "25:00", end: "08:00"', "start: must be a time of day such as \"21:00\", got '25:00'"),
    ('start: "08:00", end: "08:00"', "'start' and 'end' are both 08:00"),
    ('start: "21:00", end: "08:00", zones: {north: Europe/Berln}', "zones.north: must be a time zone such as Europe/Berlin, got 'Europe/Berln'"),
    ('start: "21:00", end: "08:00", channels: []', "channels: list should have at least 1 item"),
    ('start: "21:00"', "key 'end' is missing")])
def test_quiet_hours_that_make_no_sense_are_refused_with_their_line(given, fault):
    with pytest.raises(register.RuleError) as error:
        register.parse(text_of(f"id: Q, kind: quiet_hours, {given}"))
    assert f"line 2: rule 'Q': {fault}" in str(error.value)


def _pushed(customers, rule):
    ranked = ranked_of({customer: [1] for customer in customers["customer_id"]})
    world = pairs.build(items_of(1), customers, events_of(), as_of=AS_OF, customer_ids=ranked["customer_id"], channel="push",
                        delivered_at="2026-03-02 20:30")
    case = decide.prepare(ranked, lint.require(register.parse(text_of(rule)), world), world, k=1)
    return case, decide.decide(ranked, case)


def _case(ranked, items, text):
    world = pairs.build(items, None, events_of(), as_of=AS_OF, customer_ids=ranked["customer_id"])
    return decide.prepare(ranked, register.parse(text), world, k=2)


def test_overrides_are_rules_with_owner_and_expiry_and_have_a_cost():
    by_hand = pd.DataFrame({
        "override_id": ["o1", "o2"], "customer_id": pd.array([None, None], dtype="Int64"), "segment": ["a", "a"],
        "item_id": ["i1", "i0"], "action": ["pin", "block"], "owner": "Ada", "reason": "launch",
        "made_at": AS_OF - pd.Timedelta(days=1),
        "expires_at": pd.Series([AS_OF + pd.Timedelta(days=1), AS_OF - pd.Timedelta(hours=1)])})
    customers = pd.DataFrame({"customer_id": [1, 2], "segment": ["a", "b"]})
    ranked = ranked_of({1: [0.5, 0.2], 2: [0.5, 0.2]})
    case, plans = decided(ranked, items_of(2), text_of("id: P, kind: block, item_id: i9"), k=1, customers=customers, by_hand=by_hand)
    assert shown(case, plans["value"]) == {1: ["i1"], 2: ["i0"]}
    cost = overrides.costs(ranked, case, plans["value"], by_hand)
    assert cost[["override_id", "n_pairs", "opportunity_cost"]].to_records(index=False).tolist() == [("o1", 1, pytest.approx(0.3))]


def test_pins_keep_the_order_of_the_rest():
    position, wanted = np.array([[1, 2, 3, 0]]), np.array([[0, 0, 1, 2]])
    assert slates.place_pins(position, wanted, np.zeros_like(wanted)).tolist() == [[2, 3, 1, 0]]


def test_ids_may_be_whole_numbers():
    ranked = ranked_of({1: [3, 2]}).assign(item_id=[10, 20])
    items = pd.DataFrame({"item_id": [10, 20], "stock_on_hand": [0, 4]})
    case, plans = decided(ranked, items, text_of("id: S, kind: stock", 'id: B, kind: block, item_id: "20"'))
    assert outcomes.decisions(case, plans)["rule_id"].tolist() == ["S", "B"]


SEVERAL_KINDS = text_of(
    'id: SAFE, kind: safety, keep: {field: is_safe, op: "==", value: true}',
    "id: STOCK, kind: stock, placements_per_unit: 1", "id: QUOTA, kind: slate_quota, field: category, max: 1",
    "id: BUDGET, kind: budget, cost: price, max: 3, per: placement, when: {field: is_own, op: '==', value: true}",
    "id: PIN, kind: pin, item_id: i0, position: 2", "id: NEW, kind: boost, times: 2, when: {field: is_own, op: '==', value: true}")


def test_decisions_and_outcomes_hold_their_contracts():
    case, plans = decided(ranked_of({1: [3, 2, 1]}), items_of(3, stock_on_hand=[0.0, 2.0, 2.0], is_safe=True, is_own=False,
                                                              price=1.0, category="a"), SEVERAL_KINDS)
    made = {"decisions": outcomes.decisions(case, plans), "rule_outcomes": outcomes.rule_outcomes(case, plans),
            "funnel": funnel.funnel(case, plans["value"])}
    for name, frame in made.items():
        assert not len(schema.violations(frame, schema.TABLES[name])), name

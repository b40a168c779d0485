"""Rules: why and why not, what each rule costs, what changes between two decisions, controls and explorers."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from reclib import cli, explorers, schema, store
from reclib.candidates import generate, ranks
from reclib.rules import (
    changes,
    decide,
    diff,
    explore,
    lint,
    outcomes,
    pairs,
    pricelist,
    prices,
    register,
    say,
    tables,
    trace,
    tradeoffs,
)

RULES = """rules:
  - {id: SAFE, kind: safety, owner: o, reason: r, keep: {field: is_safe, op: "==", value: true}}
  - {id: STOCK, kind: stock, owner: o, reason: r, min: 2, placements_per_unit: 1}
  - {id: QUOTA, kind: slate_quota, owner: o, reason: r, field: category, max: 1}
"""
AS_OF = "2026-03-01"


def world_of(seed: int = 3, n: int = 30, n_items: int = 12, *, whole_ids: bool = False, stock_of_others: float = 50.0,
             categories: str = "abcabcabcabc"):
    """A small shop: i0 is unsafe, i1 is out of stock, i2 has two units, i11 is never offered."""
    rng = np.random.default_rng(seed)
    stock = np.full(n_items, stock_of_others)
    stock[1:3] = 0, 2
    names = list(range(100, 100 + n_items)) if whole_ids else [f"i{number:02d}" for number in range(n_items)]
    items = pd.DataFrame({"item_id": names, "stock_on_hand": stock, "is_safe": [False] + [True] * (n_items - 1),
                          "category": list(categories)[:n_items], "price": 2.0, "unit_cost": 1.0})
    customer = np.repeat(np.arange(n), n_items - 1)
    item = np.tile(np.arange(n_items - 1), n)
    p = np.round(0.9 - 0.05 * item + rng.uniform(-0.03, 0.03, len(item)), 3)
    parts = []
    for policy, priority in (("popular", np.round(0.05 * item, 6)), ("value", p)):
        frame = pd.DataFrame({"policy": policy, "customer_id": customer, "item_id": np.array(names)[item], "p_response": p,
                              "value": 1.0, "priority": priority})
        frame = frame.sort_values(["customer_id", "priority", "item_id"], ascending=[True, False, True], ignore_index=True)
        parts.append(frame.assign(rank=frame.groupby("customer_id").cumcount() + 1))
    ranked = pd.concat(parts, ignore_index=True)
    offered = ranked[ranked["policy"] == "value"]
    candidates = offered[["customer_id", "item_id"]].assign(source="near", source_rank=offered["rank"], source_score=offered["p_response"],
                                                            is_known_customer=True, is_known_item=True)
    events = pd.DataFrame({"event_id": [1, 2], "occurred_at": pd.to_datetime(["2026-02-27", "2026-02-28"], utc=True).astype("datetime64[us, UTC]"),
                           "customer_id": [0, 0], "item_id": [names[3], names[4]], "event_type": ["purchase", "impression"], "value": 0.0})
    return items, ranked, candidates.reset_index(drop=True), events


def decided(items, ranked, candidates, events, text: str = RULES, k: int = 2, customers: pd.DataFrame | None = None):
    world = pairs.build(items, customers, events, as_of=schema.end_of_day(AS_OF), customer_ids=ranked["customer_id"],
                        item_ids=ranked["item_id"], candidates=candidates)
    rules = lint.require(register.parse(text), world)
    case = decide.prepare(ranked, rules, world, k=k)
    return case, decide.decide(ranked, case)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("RECLIB_REPORTS", str(tmp_path))
    monkeypatch.setenv("RECLIB_RUN", "night")

    def make(text: str = RULES, **options):
        items, ranked, candidates, events = world_of(**options)
        case, plans = decided(items, ranked, candidates, events, text)
        priced = prices.price_rules(ranked, case, plans["value"], n_sample=30)
        facts = {"name": "shop", "as_of": AS_OF, "currency": "EUR"}
        for name, frame in {"items": items, "ranked": ranked, "candidates": candidates, "events": events,
                            "decisions": outcomes.decisions(case, plans)}.items():
            store.write(name, frame)
        store.write_facts("source", facts)
        store.write_facts("rules", tables.facts(case, plans, priced, facts, tables.units({"basis": "margin"}, facts)))
        return case, plans
    return make


def test_every_pair_ends_in_one_state_and_the_trace_agrees_with_the_decision(run):
    case, plans = run()
    table = outcomes.decisions(case, {"value": plans["value"]})
    for row in table[table["customer_id"].isin([0, 7])].itertuples():
        told = trace.why(row.customer_id, row.item_id)
        assert told.state == row.state and told.is_reproduced
        assert told.state in trace.STATES and json.dumps(told.as_record())


def test_a_customer_is_decided_again_to_the_slot_also_where_units_are_whole_and_prices_are_not(run):
    _, plans = run(stock_of_others=3.0)
    desks = desks_of_all()
    assert np.concatenate([desk.decide()[1].position for desk in desks]).tolist() == plans["value"].position.tolist()
    assert any(desk._edge.any() for desk in desks)


def test_a_rule_that_yielded_for_everybody_refuses_nobody_in_a_trace(run):
    _, plans = run(RULES + """  - {id: SOFT, kind: suitability, is_hard: false, owner: o, reason: r, keep: {field: category, op: "!=", value: a}}
  - {id: FLOOR, kind: min_exposure, owner: o, reason: r, placements: 3, when: {field: category, op: "==", value: a}}
""")
    assert plans["value"].lifted == ("SOFT",)
    assert np.concatenate([desk.decide()[1].position for desk in desks_of_all()]).tolist() == plans["value"].position.tolist()
    assert [one["rule_id"] for one in trace.why(0, "i00").layers["rules"]] == ["SAFE"]


def desks_of_all() -> list[trace.Desk]:
    items, facts = store.read("items"), store.read_facts("rules")
    return [trace.open_desk(customer, run="latest", policy="value", items=items, facts=facts) for customer in range(30)]


def test_a_slate_that_loses_more_than_the_gap_is_not_reproduced(run):
    run()
    facts, decisions = store.read_facts("rules"), store.read("decisions")
    is_mine = decisions["customer_id"].eq(0) & decisions["policy"].eq("value")
    worst = is_mine & decisions["rank"].eq(decisions.loc[is_mine & decisions["is_allowed"], "rank"].max())
    store.write("decisions", decisions.assign(position=decisions["position"].mask(is_mine).mask(worst, 1)))
    assert facts["prices"]["value"]["gap"] < 0.01 and not trace.why(0, "i03").is_reproduced


@pytest.mark.parametrize("whole_ids", [False, True])
def test_the_command_line_tells_every_state(run, whole_ids):
    case, plans = run(whole_ids=whole_ids, categories="aaabbbcccabc")
    ids = case.world.items["item_id"].tolist()
    first = outcomes.decisions(case, {"value": plans["value"]}).drop_duplicates("state")
    pairs_of = dict(zip(first["state"], zip(first["customer_id"], first["item_id"])))
    pairs_of |= {"not_retrieved": (0, ids[11]), "not_in_catalogue": (0, "none"), "unknown_customer": (30, ids[3])}
    told = {state: json.loads(call("why", *pair, "--json").stdout)["state"] for state, pair in pairs_of.items()}
    assert told == {state: state for state in trace.STATES}


@pytest.mark.parametrize(("words", "said"), [
    (["--policy", "best"], "Refused: policy == 'best', must be one of ['popular', 'value'].\n"),
    (["--run", "day"], "Refused: run == 'day', must be one of those in {reports}: none yet.\n"),
])
def test_a_policy_or_run_that_is_not_there_is_refused_in_one_sentence(run, words, said):
    run()
    done = call("why", 0, "i03", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", said.format(reports=store.reports()))


def test_a_run_that_did_not_keep_what_its_sources_learnt_says_so_and_says_the_same(run):
    case, _ = run()
    old = call("why", 0, "i11")
    ranks.keep(generate.generate(store.read("events"), store.read("items"), case.world.customers[["customer_id"]],
                                 as_of=schema.end_of_day(AS_OF), seed=7))
    new = call("why", 0, "i11")
    assert "they learn again" in old.stderr and not new.stderr and old.stdout == new.stdout
    assert "it ranks best, 11, at content_neighbours" in new.stdout


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def test_a_change_counts_only_if_deciding_again_shows_the_item(run):
    run()
    out_of_stock, unsafe, never = (trace.why(0, item) for item in ("i01", "i00", "i11"))
    assert out_of_stock.state == "filtered" and out_of_stock.rule_id == "STOCK"
    assert out_of_stock.change["sentence"] == "stock_on_hand were at least 2 (now 0)" and out_of_stock.change["is_verified"]
    assert unsafe.rule_id == "SAFE" and unsafe.tried[-1] == {"kind": "pin", "sentence": "item i00 were pinned", "size": 1, "is_verified": False}
    assert never.state == "not_retrieved" and "ends at rank 11" in never.sentence and never.change["kind"] == "pin"


def test_the_smallest_boost_shows_the_item_and_a_smaller_one_does_not(run):
    case, plans = run()
    row = outcomes.decisions(case, {"value": plans["value"]}).query("state == 'below_cut'").sort_values(["rank", "customer_id"]).iloc[0]
    told = trace.why(row["customer_id"], row["item_id"])
    boost = next(one for one in told.tried if one["kind"] == "boost")
    desk = trace.open_desk(row["customer_id"], run="latest", policy="value", items=store.read("items"), facts=store.read_facts("rules"))
    code = int(desk.world.code_items(pd.Series([row["item_id"]]))[0])
    assert boost["is_verified"] and not changes.shows(changes.boosted(desk, row["item_id"], boost["size"] - 0.02), code)


def test_a_trace_weighs_novelty_and_repetition_as_the_night_did(run):
    text = RULES + """  - {id: NEW, kind: diversity, owner: o, reason: r, method: novelty, weight: 0.9}
  - {id: AGAIN, kind: diversity, owner: o, reason: r, method: repetition, weight: 0.9}
"""
    case, plans = run(text)
    assert set(plans["value"].taken) == {"NEW", "AGAIN"}
    assert plans["value"].taken["NEW"].max() > 0 < plans["value"].taken["AGAIN"].max()
    for item in ("i03", "i04", "i05"):
        told = trace.why(0, item)
        assert told.is_reproduced and told.state == outcomes.decisions(case, plans).query(
            "policy == 'value' and customer_id == 0 and item_id == @item")["state"].iloc[0]


@pytest.mark.parametrize(("rank", "said"), [(40, "whose offers end at rank 11"), (3, "but lost its place to items that more sources offer")])
def test_a_pair_that_no_source_offered_names_the_source_that_ranks_it_best(run, rank, said):
    run()
    asked = []
    ranks = lambda *pair: asked.append(pair) or [{"source": "near", "source_rank": rank, "source_score": 0.5}]
    told = trace.why(0, "i11", ranks=ranks)
    assert told.sentence.startswith(f"No source offered item i11 to customer 0; it ranks best, {rank}, at near, {said}.")
    assert trace.why(0, "i11", ranks=lambda *_: []).because.startswith("No source offered item i11 to customer 0, and none ranks it: ")
    assert trace.why(0, "i05", ranks=ranks).state != "not_retrieved" and asked == [(0, "i11", "latest")]


def test_a_pair_refused_in_quiet_hours_is_told_what_the_clock_showed_and_when_it_would_be_sent(run):
    run(RULES + '  - {id: QUIET, kind: quiet_hours, owner: o, reason: r, start: "21:00", end: "08:00", channels: [home]}\n')
    told = trace.why(0, "i04")
    assert told.rule_id == "QUIET" and told.is_reproduced and "QUIET (local time = missing)" in told.sentence
    assert told.change["sentence"] == "the slates went out between 08:00 and 21:00 of the customer's clock (now missing)"


def test_ids_given_as_text_match_whole_numbers(run):
    run(whole_ids=True)
    assert trace.why("3", "101").rule_id == "STOCK"
    assert trace.why("3", "i01").state == "not_in_catalogue" and trace.why("x", "101").state == "unknown_customer"


def test_prices_are_what_lifting_a_rule_alone_would_gain():
    items, ranked, candidates, events = world_of()
    case, plans = decided(items, ranked, candidates, events)
    priced = prices.price_rules(ranked, case, plans["value"], n_sample=30)
    table = priced.table.set_index("rule_id")
    worth = plans["value"].value
    for rule_id in ("SAFE", "QUOTA"):
        text = "\n".join(line for line in RULES.splitlines() if f"id: {rule_id}" not in line)
        without = decided(items, ranked, candidates, events, text)[1]["value"].value
        assert table.at[rule_id, "drop_one_value"] == pytest.approx(without - worth, abs=2 * table.at[rule_id, "resolution"] + 0.01 * worth)
    assert priced.total == pytest.approx(table["drop_one_value"].sum() + priced.interaction)
    made = pricelist.rule_prices(case, plans, priced={"value": priced}, unit={"value": "EUR"})
    assert not len(schema.violations(made, schema.TABLES["rule_prices"]))
    assert made.query("policy == 'value'").set_index("rule_id")["is_for_sale"].to_dict() == {"SAFE": False, "STOCK": True, "QUOTA": True}


def test_redundant_rules_cost_nothing_last_in_and_something_first_in():
    items, ranked, candidates, events = world_of()
    text = """rules:
  - {id: A, kind: safety, owner: o, reason: r, keep: {field: is_safe, op: "==", value: true}}
  - {id: B, kind: safety, owner: o, reason: r, keep: {field: is_safe, op: "!=", value: false}}
"""
    case, plans = decided(items, ranked, candidates, events, text)
    table = prices.price_rules(ranked, case, plans["value"], n_sample=30).table
    assert table["drop_one_value"].tolist() == [0, 0] and (table["first_in_value"] > 0).all()


def test_lifted_slates_are_those_decided_without_the_rule_and_an_idle_rule_leaves_the_plan_as_it_is():
    items, ranked, candidates, events = world_of()
    text = RULES + '  - {id: IDLE, kind: block, owner: o, reason: r, item_id: nowhere}\n'
    case, plans = decided(items, ranked, candidates, events, text)
    found = prices.lifted(ranked, case, plans["value"], n_least=1)
    assert list(found) == ["SAFE", "IDLE", "STOCK", "QUOTA", prices.ALL_LIFTED]
    for rule_id in ("SAFE", "QUOTA"):
        without = "\n".join(line for line in text.splitlines() if f"id: {rule_id}" not in line)
        other, again = decided(items, ranked, candidates, events, without)
        worth, exact = (_worth(slates, ranked) for slates in (found[rule_id], outcomes.slates(other, again["value"])))
        assert worth == pytest.approx(exact, rel=0.01)
    assert found["IDLE"].equals(outcomes.slates(case, plans["value"]))
    assert _worth(found[prices.ALL_LIFTED], ranked) == ranked.query("policy == 'value' and rank <= 2")["priority"].sum().round(6)


def _worth(slates: pd.DataFrame, ranked: pd.DataFrame) -> float:
    own = ranked[ranked["policy"] == "value"]
    return round(slates.merge(own, on=["customer_id", "item_id"], validate="one_to_one")["priority"].sum(), 6)


def test_true_prices_stand_in_the_price_list_of_the_priced_policy_alone():
    items, ranked, candidates, events = world_of()
    case, plans = decided(items, ranked, candidates, events)
    priced = prices.price_rules(ranked, case, plans["value"], n_sample=30)
    lived = pd.DataFrame({"rule_id": ["STOCK", prices.ALL_LIFTED], "true_value": [-5.0, 1.0], "true_low": [-9.0, 0.0],
                          "true_high": [-1.0, 2.0]})
    made = pricelist.rule_prices(case, plans, priced={"value": priced}, unit={"value": "EUR"}, lived=lived)
    assert not len(schema.violations(made, schema.TABLES["rule_prices"]))
    assert made.dropna(subset="true_value")[["policy", "rule_id", "true_value"]].to_numpy().tolist() == [["value", "STOCK", -5.0]]
    said = say.true_prices(made.query("policy == 'value'"), lived, "EUR", n_customers=30, n_days=7, n_lucks=2)
    assert "+1 EUR [+0, +2]; 6.00 EUR of it belong to no single rule" in said and "STOCK, which" in said and "[1, 9]" in said
    assert "not known" in say.true_prices(made, lived.head(0), "EUR", n_customers=30, n_days=7, n_lucks=2)


def test_a_diff_names_the_first_layer_that_differs():
    items, ranked, candidates, events = world_of()
    case, plans = decided(items, ranked, candidates, events)
    same = diff.decision_diff((case, plans["value"]), (case, plans["value"]))
    assert diff.sentence(same) == "All 30 customers see the same."
    policies = diff.decision_diff((case, plans["popular"]), (case, plans["value"]))
    assert policies.layers.set_index("layer")["n_customers"]["ranking"] == len(policies.customers) > 0
    other = decided(items, ranked, candidates, events, RULES.replace("min: 2", "min: 60"))
    files = diff.decision_diff((case, plans["value"]), (other[0], other[1]["value"]))
    assert files.layers.set_index("layer")["n_customers"]["filters"] == 30
    assert files.measures.set_index("measure").at["slots filled", "after"] == 0


def test_controls_start_at_full_value_and_never_gain_by_turning():
    items, ranked, candidates, events = world_of()
    case, plans = decided(items, ranked, candidates, events, RULES.replace("  - {id: QUOTA", "  - {id: Q, kind: slate_quota, owner: o, reason: r, field: stock_on_hand, max: 2}\n  - {id: QUOTA, status: shadow"))
    table = tradeoffs.curves(case, plans["value"])
    assert table.groupby("control")["value_share"].first().eq(1).all() and (table["value_share"] <= 1 + 1e-9).all()
    varied = table[table["control"] == "diversity"]["measure"]
    assert varied.is_monotonic_increasing


def test_contact_days_are_held_against_opt_outs_of_the_week_that_follows():
    items, ranked, candidates, events = world_of()
    days = pd.to_datetime(["2026-02-20", "2026-02-21", "2026-02-28"], utc=True).astype("datetime64[us, UTC]")
    events = pd.DataFrame({"event_id": range(3), "occurred_at": days, "customer_id": [0, 0, 1],
                           "item_id": items["item_id"].iloc[3], "event_type": "impression", "value": 0.0})
    out = pd.Series([pd.Timestamp("2026-02-24", tz="UTC")] + [pd.NaT] * 29, dtype="datetime64[us, UTC]")
    customers = pd.DataFrame({"customer_id": range(30), "opted_out_at": out})
    case, plans = decided(items, ranked, candidates, events, customers=customers)
    table = tradeoffs.contacts(case, plans["value"]).set_index("n_contacts")
    assert table["n_customers"].to_dict() == {0: 29, 1: 1} | dict.fromkeys(range(2, 8), 0)  # customer 1 on the 28th
    assert table.loc[2, ["n_weeks", "p_optout"]].tolist() == [1, 1]  # customer 0, two days before leaving
    assert table.at[0, "n_weeks"] == 29 * 8 + 7 and table.at[0, "p_optout"] == 0


def test_the_explorer_draws_once_in_batch_and_builds_no_widget(monkeypatch):
    case, plans = decided(*world_of())
    desk = explore.Desk(case, plans["value"])
    fig, alt = desk.draw(**{name: start for name, (_, _, _, start) in desk.controls.items()})
    assert "value 100.0 %" in alt and not explorers.available()
    import matplotlib.pyplot as plt
    plt.close(fig)


def test_facts_can_be_written_as_json_and_hold_what_a_trace_needs(run):
    run()
    facts = store.read_facts("rules")
    assert {"register", "prices", "k", "interaction", "gap", "bound", "fill_rate", "unit"} <= set(facts)
    assert facts["unit"] == "EUR of margin"

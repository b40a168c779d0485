"""Source files: what people bring is read as it is, or refused with every fault named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reclib.sources import catalog
from reclib.sources.source import SourceError

EVENTS = pd.DataFrame({
    "event_id": [1, 2, 3, 4],
    "occurred_at": ["2024-05-01T10:00:00Z", "2024-05-02", "2024-05-03T12:00:00+02:00", "2024-05-04 08:30:00"],
    "customer_id": ["c1", "c1", "c2", "c3"],
    "item_id": ["007", "8A", "007", "9"],
    "event_type": ["purchase", "view", "purchase", "click"],
    "value": [2.5, 0, 5, 0],
})
ITEMS = pd.DataFrame({"item_id": ["007", "8A", "9"], "title": ["Pen", "Ink", "NA"], "price": [2.5, 3, 4]})
PLAIN = "name: shop\ncurrency: EUR\ntables:\n  events: {path: events.csv}\n  items: {path: items.csv}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A sound source in a folder of its own."""
    return _write(tmp_path)


def _write(folder: Path, *, events: pd.DataFrame = EVENTS, items: pd.DataFrame = ITEMS, text: str = PLAIN) -> Path:
    events.to_csv(folder / "events.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    (folder / "shop.yaml").write_text(text)
    return folder / "shop.yaml"


def _faults(path: Path, **options: str) -> set[tuple[str, str]]:
    found = catalog.check(str(path), **options)
    return set(zip(found["table"], found["column"]))


def _problem(path: Path, column: str, **options: str) -> pd.Series:
    return catalog.check(str(path), **options).set_index("column").loc[column]


def test_ids_stay_as_the_source_gave_them(shop):
    tables = catalog.load(str(shop)).tables
    assert tables["items"]["item_id"].tolist() == ["007", "8A", "9"]
    assert tables["events"]["item_id"].tolist() == ["007", "8A", "007", "9"]
    assert tables["items"]["title"].tolist() == ["Pen", "Ink", "NA"]


def test_whole_numbers_become_numbers_in_all_tables_or_in_none(tmp_path):
    events, items = EVENTS.assign(item_id=["7", "8", "7", "9"]), ITEMS.assign(item_id=["7", "8", "9"])
    assert catalog.load(str(_write(tmp_path, events=events, items=items))).tables["events"]["item_id"].tolist() == [7, 8, 7, 9]
    items = items.assign(item_id=["7", "8", "9"]).iloc[[0, 1, 2, 2]].assign(item_id=["7", "8", "9", "x1"])
    assert catalog.load(str(_write(tmp_path, events=events, items=items))).tables["events"]["item_id"].tolist() == ["7", "8", "7", "9"]


def test_times_of_every_zone_become_utc(shop):
    times = catalog.load(str(shop)).tables["events"]["occurred_at"]
    assert times.astype("str").tolist() == ["2024-05-01 10:00:00+00:00", "2024-05-02 00:00:00+00:00",
                                            "2024-05-03 10:00:00+00:00", "2024-05-04 08:30:00+00:00"]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_unix_times_are_read_in_their_unit(tmp_path, unit, factor):
    events = EVENTS.assign(occurred_at=[1_714_557_600 * factor] * 4)
    path = _write(tmp_path, events=events, text=PLAIN.replace("events.csv}", f"events.csv, time_unit: {unit}}}"))
    assert str(catalog.load(str(path)).tables["events"]["occurred_at"].iloc[0]) == "2024-05-01 10:00:00+00:00"


def test_a_number_without_a_unit_is_no_time(tmp_path):
    path = _write(tmp_path, events=EVENTS.assign(occurred_at=1_714_557_600))
    assert "name its time_unit" in _problem(path, "occurred_at")["problem"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_every_kind_of_file_reads_the_same(tmp_path, suffix):
    path, file = _write(tmp_path), tmp_path / f"other{suffix}"
    if suffix == ".parquet":
        EVENTS.to_parquet(file)
    else:
        text = EVENTS.to_csv(index=False, sep="\t" if suffix == ".tsv" else ",")
        file.write_bytes(gzip.compress(text.encode()) if suffix == ".csv.gz" else text.encode("utf-8-sig"))
    expected = catalog.load(str(path)).tables["events"]
    path.write_text(PLAIN.replace("events.csv", file.name))
    pd.testing.assert_frame_equal(catalog.load(str(path)).tables["events"], expected)


def test_a_file_without_header_and_with_a_long_separator_is_read(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n2::661::3::978302109\n")
    (tmp_path / "shop.yaml").write_text(
        "name: films\ntables:\n  events:\n    path: ratings.dat\n    time_unit: s\n"
        "    read: {sep: '::', header: null, names: [user, film, stars, at], engine: python}\n"
        "    columns: {customer_id: user, item_id: film, value: stars, occurred_at: at}\n"
        "    constants: {event_type: rating}\n")
    events = catalog.load(str(tmp_path / "shop.yaml")).tables["events"]
    assert events[["customer_id", "item_id", "value"]].to_numpy().tolist() == [[1, 1193, 5], [2, 661, 3]]


def test_columns_constants_and_words_are_translated(tmp_path):
    raw = pd.DataFrame({"userId": [1, 2], "movieId": [5, 6], "timestamp": [1e9, 1e9 + 5], "what": ["buy", "look"]})
    raw.to_csv(tmp_path / "log.txt", index=False, sep="|")
    (tmp_path / "s.yaml").write_text(
        "name: s\ntables:\n  events:\n    path: log.txt\n    read: {sep: '|'}\n    time_unit: s\n    constants: {value: 1}\n"
        "    columns: {customer_id: userId, item_id: movieId, occurred_at: timestamp, event_type: what}\n"
        "    words: {event_type: {buy: purchase, look: view}}\n")
    loaded = catalog.load(str(tmp_path / "s.yaml"))
    assert loaded.tables["events"]["event_type"].tolist() == ["purchase", "view"]
    assert loaded.tables["events"]["value"].tolist() == [1, 1]
    assert loaded.tables["items"]["item_id"].tolist() == [5, 6]
    assert any("items: the 2 items" in sentence for sentence in loaded.facts["assumptions"])


def test_what_is_assumed_is_said(tmp_path):
    events = EVENTS.drop(columns=["event_id", "value"]).assign(price=[2.5, 3, 2.5, 4], quantity=[2, 1, 1, 1])
    loaded = catalog.load(str(_write(tmp_path, events=events)))
    assert loaded.tables["events"]["value"].tolist() == [2.5 * 2, 0, 2.5 * 1, 0]
    assert loaded.tables["events"]["event_id"].tolist() == [1, 2, 3, 4]
    assert [sentence.split(":")[0] for sentence in loaded.facts["assumptions"]] == ["events.event_id", "events.value"]


def test_events_on_items_outside_the_catalogue_are_kept_and_counted(tmp_path):
    loaded = catalog.load(str(_write(tmp_path, items=ITEMS.iloc[:2])))
    assert len(loaded.tables["events"]) == 4
    assert "1 events name 1 item that the table items lacks" in loaded.facts["assumptions"][-1]


def test_holdout_pairs_that_stand_in_events_are_counted(tmp_path):
    path = _write(tmp_path, text=PLAIN + "  holdout: {path: test.csv}\n")
    pd.DataFrame({"customer_id": ["c1", "c2"], "item_id": ["007", "9"]}).to_csv(tmp_path / "test.csv", index=False)
    assert "1 of 2 holdout pairs stand in events too" in catalog.load(str(path)).facts["assumptions"][-1]


FAULTS = {
    "negative price": ("items", "price", lambda e, i: (e, i.assign(price=[2.5, -1, 4]))),
    "item twice": ("items", "item_id", lambda e, i: (e, i.assign(item_id=["007", "8A", "8A"]))),
    "event twice": ("events", "event_id", lambda e, i: (e.assign(event_id=[1, 2, 3, 3]), i)),
    "unknown word": ("events", "event_type", lambda e, i: (e.assign(event_type=["purchase", "buy", "view", "click"]), i)),
    "no customer": ("events", "customer_id", lambda e, i: (e.assign(customer_id=["c1", None, "c2", "c3"]), i)),
    "no time": ("events", "occurred_at", lambda e, i: (e.assign(occurred_at=["2024-05-01", "soon", "2024-05-01", ""]), i)),
    "future": ("events", "occurred_at", lambda e, i: (e.assign(occurred_at=["2024-05-01", "2199-01-01"] * 2), i)),
    "paid less than nothing": ("events", "value", lambda e, i: (e.assign(value=[-2.5, 0, 5, 0]), i)),
    "words for money": ("events", "value", lambda e, i: (e.assign(value=["2,50", "0", "5", "0"]), i)),
    "other writing": ("events", "item_id", lambda e, i: (e.assign(item_id=["7", "8A", "7", "9"]), i)),
    "customers gone": ("events", "customer_id", lambda e, i: (e.drop(columns="customer_id"), i)),
    "items gone": ("items", "item_id", lambda e, i: (e, i.drop(columns="item_id"))),
    "empty": ("items", "", lambda e, i: (e, i.iloc[:0])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_table_and_column(tmp_path, fault):
    table, column, broken = FAULTS[fault]
    events, items = broken(EVENTS, ITEMS)
    assert (table, column) in _faults(_write(tmp_path, events=events, items=items))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from(sorted(set(FAULTS) - {"empty", "items gone", "customers gone"})), min_size=1))
def test_all_faults_are_named_in_one_go_and_nothing_is_written(tmp_path, monkeypatch, faults):
    monkeypatch.setenv("RECLIB_REPORTS", str(tmp_path / "reports"))
    events, items = EVENTS, ITEMS
    for fault in sorted(faults):
        broken_events, broken_items = FAULTS[fault][2](EVENTS, ITEMS)
        events = events.assign(**{column: broken_events[column] for column in EVENTS if not broken_events[column].equals(EVENTS[column])})
        items = items.assign(**{column: broken_items[column] for column in ITEMS if not broken_items[column].equals(ITEMS[column])})
    named = _faults(_write(tmp_path, events=events, items=items))
    assert {FAULTS[fault][:2] for fault in faults} <= named
    assert not (tmp_path / "reports").exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet="01 29.aZ\"',;é-", min_size=1, max_size=6).filter(lambda text: text.strip()),
                min_size=1, max_size=6, unique=True))
def test_any_id_survives_the_reading(tmp_path, ids):
    items = pd.DataFrame({"item_id": pd.Series(ids, dtype="str")})
    items.to_csv(tmp_path / "items.csv", index=False)
    (tmp_path / "s.yaml").write_text("name: s\ntables: {items: {path: items.csv}}\n")
    try:
        read = catalog.load(str(tmp_path / "s.yaml")).tables["items"]["item_id"]
    except SourceError as error:
        assert "separator is wrong" in str(error)
        return
    assert [str(value) for value in read] == ids


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(alphabet="a,;1\n\"\t:{}[]-é", max_size=80).map(str.encode))
def test_no_file_breaks_the_reader(tmp_path, content):
    path = _write(tmp_path)
    (tmp_path / "events.csv").write_bytes(content)
    assert "events" in set(catalog.check(str(path))["table"])
    path.write_bytes(content)
    assert len(catalog.check(str(path)))


def test_a_fault_tells_count_and_first_rows(tmp_path):
    fault = _problem(_write(tmp_path, items=ITEMS.assign(price=[-1, 3, -2])), "price")
    assert (fault["problem"], fault["n_rows"], fault["first_rows"]) == ("is below 0", 2, "row 0: -1.0; row 2: -2.0")


def test_times_after_the_run_date_are_refused(shop):
    fault = _problem(shop, "occurred_at", as_of="2024-05-02")
    assert fault["problem"] == "is after the run date 2024-05-02"
    assert fault["n_rows"] == 2


def test_ids_that_differ_only_in_type_are_refused(tmp_path):
    path = _write(tmp_path, text=PLAIN.replace("items.csv", "items.parquet").replace("events.csv", "events.parquet"))
    ITEMS.assign(item_id=[7, 8, 9]).to_parquet(tmp_path / "items.parquet")
    EVENTS.assign(item_id=["7", "8", "7", "9"], occurred_at=pd.Timestamp("2024-05-01")).to_parquet(tmp_path / "events.parquet")
    assert "holds texts such as '7', items.item_id holds whole numbers such as 7" in _problem(path, "item_id")["problem"]


def test_a_wrong_separator_is_guessed(tmp_path):
    path = _write(tmp_path)
    EVENTS.to_csv(tmp_path / "events.csv", index=False, sep=";")
    assert "write read: {sep: ';'}" in catalog.check(str(path)).loc[0, "problem"]


@pytest.mark.parametrize(("content", "word"), [
    (b"event_id,item_id,item_id\n1,a,b\n", "its header names 'item_id' twice"),
    (b"event_id,item_id\n1,a,b,c\n2,b\n", "more fields than its header|perhaps the separator"),
    ("event_id,item_id\n1,K\u00e4se\n".encode("latin-1"), "name its encoding"),
    (b"", "it is empty"),
    (b"event_id,item_id\n", "has no rows"),
])
def test_a_file_that_cannot_be_trusted_is_refused(tmp_path, content, word):
    path = _write(tmp_path)
    (tmp_path / "events.csv").write_bytes(content)
    with pytest.raises(SourceError, match=word):
        catalog.load(str(path))


def test_a_missing_file_is_named_beside_other_faults(tmp_path):
    path = _write(tmp_path, items=ITEMS.assign(price=-1))
    (tmp_path / "events.csv").unlink()
    assert _faults(path) == {("events", ""), ("items", "price")}


BAD_YAML = """\
name: bad
currency: EUR
currency: USD
colour: red
tables:
  events: {path: a.csv, time_unit: h, read: {memory_map: true}}
  things: {path: x.csv}
experiment:
  experiment_id: e
  control: no
  expected_shares: {a: 0.5, b: 0.7}
  metrics: {m: {role: succes, kind: mean}, r: {role: success, kind: ratio}}
"""


def test_every_mistake_of_the_source_file_is_named_with_its_line(tmp_path):
    (tmp_path / "bad.yaml").write_text(BAD_YAML)
    found = catalog.check(str(tmp_path / "bad.yaml"))
    words = [("line 3", "currency"), ("line 4", "colour"), ("line 6", "time_unit"), ("line 6", "memory_map"), ("line 7", "things"),
             ("line 11", "expected_shares"), ("line 12", "role"), ("line 12", "numerator")]
    assert [any(row.column == line and word in row.problem for row in found.itertuples()) for line, word in words] == [True] * 8


UNITS = pd.DataFrame({"userid": [1, 2, 3, 4], "version": ["on", "off", "on", "off"], "kept": [True, False, True, True],
                      "spend": [1.0, 0, 2, 3], "visit": [1, 0, 1, 1]})
TRIAL = """\
name: trial
tables: {units: {path: ab.csv, columns: {customer_id: userid, arm: version}}}
experiment:
  experiment_id: gate
  control: off
  expected_shares: {on: 0.5, off: 0.5}
  metrics:
    kept: {role: success, kind: proportion}
    per_visit: {role: exploratory, kind: ratio, numerator: spend, denominator: visit}
"""


def _trial(folder: Path, units: pd.DataFrame = UNITS, text: str = TRIAL) -> str:
    units.to_csv(folder / "ab.csv", index=False)
    (folder / "trial.yaml").write_text(text)
    return str(folder / "trial.yaml")


def test_units_get_the_id_of_the_plan_and_truth_counts_as_one(tmp_path):
    loaded = catalog.load(_trial(tmp_path))
    assert loaded.tables["units"]["experiment_id"].unique().tolist() == ["gate"]
    assert loaded.tables["units"]["kept"].tolist() == [1, 0, 1, 1]
    assert loaded.tables["units"]["arm"].tolist() == ["on", "off", "on", "off"]
    assert loaded.facts["experiment"]["control"] == "off"
    assert loaded.facts["experiment"]["alpha"] == 0.05


def test_ids_in_the_index_of_a_parquet_file_are_a_column(tmp_path):
    path = _trial(tmp_path, text=TRIAL.replace("ab.csv", "ab.parquet"))
    UNITS.set_index("userid").to_parquet(tmp_path / "ab.parquet")
    assert catalog.load(path).tables["units"]["customer_id"].tolist() == [1, 2, 3, 4]


def test_other_experiments_of_the_file_are_left_alone_and_words_for_truth_count(tmp_path):
    both = pd.concat([UNITS.assign(experiment_id="gate", kept=["yes", "no", "Yes", None]), UNITS.assign(experiment_id="other", version="A")])
    units = catalog.load(_trial(tmp_path, both)).tables["units"]
    assert units["kept"].tolist()[:3] == [1, 0, 1] and units["kept"].isna().sum() == 1 and len(units) == 8


@pytest.mark.parametrize(("units", "column", "word"), [
    (UNITS.assign(userid=[1, 2, 3, 3]), "customer_id", "two arms or more"),
    (UNITS.assign(experiment_id="other"), "experiment_id", "names no customer of gate"),
    (UNITS.drop(columns="visit"), "visit", "named by the plan"),
    (UNITS.assign(kept=[1, 2, 0, 1]), "kept", "neither 0 nor 1"),
    (UNITS.assign(version=["on", "off", "on", "of"]), "arm", "none of the plan's arms"),
    (UNITS.assign(version="on"), "arm", "has no customer in off"),
    (UNITS.assign(userid=[1, 2, 3, 3]), "experiment_id+customer_id", "repeated"),
    (UNITS.assign(spend=["a", "b", "c", "d"]), "spend", "not a number"),
])
def test_units_that_do_not_fit_the_plan_are_refused(tmp_path, units, column, word):
    assert word in _problem(Path(_trial(tmp_path, units)), column)["problem"]


def test_policy_and_rules_are_found_beside_the_source_file(tmp_path):
    path = _write(tmp_path, text=PLAIN + "policy: {path: policy.csv}\nrules: rules.yaml\n")
    assert {("policy", ""), ("rules", "")} == _faults(path)
    pd.DataFrame({"item_id": ["007", "8A"], "p_target": [0.6, 0.6]}).to_csv(tmp_path / "policy.csv", index=False)
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    assert "sums to 1.2" in _problem(path, "p_target")["problem"]
    pd.DataFrame({"item_id": ["007", "8A"], "p_target": [0.6, 0.4]}).to_csv(tmp_path / "policy.csv", index=False)
    facts = catalog.load(str(path)).facts
    assert (facts["policy_path"], facts["rules_path"]) == (str(tmp_path / "policy.csv"), str(tmp_path / "rules.yaml"))


def test_one_log_file_feeds_slots_and_answers(tmp_path):
    log = pd.DataFrame({"timestamp": ["2024-05-01", "2024-05-01", "2024-05-02"], "item_id": [3, 4, 3], "click": [0, 1, 1],
                        "propensity_score": [0.5, 0.5, 0.5]})
    log.to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "log.yaml").write_text(
        "name: log\ntables:\n"
        "  logged_deliveries: {path: log.csv, columns: {delivered_at: timestamp, p_shown: propensity_score}, "
        "constants: {policy: random}}\n"
        "  logged_outcomes: {path: log.csv, columns: {value: click}, constants: {outcome_type: click}}\n")
    tables = catalog.load(str(tmp_path / "log.yaml")).tables
    assert tables["logged_deliveries"]["decision_id"].tolist() == [1, 2, 3]
    assert tables["logged_outcomes"]["decision_id"].tolist() == [2, 3]


def test_flags_of_items_become_truth_values(tmp_path):
    items = ITEMS.assign(is_vegan=["yes", "no", None], is_old=[0, 1, 1], has_words=["maybe", "no", "yes"])
    read = catalog.load(str(_write(tmp_path, items=items))).tables["items"]
    assert read["is_vegan"].tolist() == [True, False, pd.NA]
    assert read["is_old"].tolist() == [False, True, True]
    assert read["has_words"].tolist() == ["maybe", "no", "yes"]


def test_a_wrong_plan_or_path_never_reads_a_table(tmp_path):
    path = _write(tmp_path, text="name: shop\ntables: {events: {path: 7}}\nexperiment: nothing\n")
    assert catalog.check(str(path))["column"].tolist() == ["line 3"]


def test_one_time_for_all_events_is_said_to_be_none(shop):
    assert catalog.describe(str(shop))["times"]
    shop.write_text("name: shop\ntables: {events: {path: events.csv, constants: {event_type: rating, occurred_at: 2024-05-01}}}\n")
    found = catalog.describe(str(shop))
    assert not found["times"] and found["lacks"]["times"].startswith("shop gives all events one time, so nothing comes after")


def test_describe_reads_no_table(shop):
    (shop.parent / "events.csv").unlink()
    found = catalog.describe(str(shop))
    assert found["tables"] == ["events", "items"]
    assert not found["is_here"]
    assert found["lacks"]["units"] == "shop has no units, so there is no finished experiment to read out."

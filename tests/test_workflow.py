"""The runner: plan, parameters, failure, staleness, publication."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from reclib.workflow import parameters, plan, prepare, publish, refresh, resume, runner
from reclib.workflow.plan import PlanError


def run(chain: Path, reports: Path, *names: str, **options: object) -> tuple[int, dict]:
    request = prepare.Request(names=names, notebooks=chain, reports=reports, **{"jobs": 2, "run_id": "one", **options})
    prepared = prepare.prepare(request)
    code = runner.run(prepared, lambda line: None)
    return code, publish.read_json(prepared.folder / "run.json")


def statuses(record: dict) -> dict[str, str]:
    return {each["name"]: "kept" if each.get("is_kept") else each["status"] for each in record["notebooks"]}


def spoil(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("name", ["07", "experiments", "07_experiments", "07_experiments.ipynb"])
def test_a_notebook_goes_by_its_number_its_word_and_its_name(chain, name):
    assert plan.find(name, plan.discover(chain)).name == "07_experiments"


def test_proofs_go_by_their_names_too(chain):
    assert plan.find("calibration", plan.discover(chain)).name == "proofs/calibration"
    assert plan.find("proofs/calibration", plan.discover(chain)).name == "proofs/calibration"


def test_an_unknown_notebook_is_refused_with_the_nearest_name(chain):
    with pytest.raises(PlanError, match="unknown notebook 'experimets'; did you mean experiments"):
        plan.find("experimets", plan.discover(chain))


def test_a_named_notebook_brings_what_it_needs(chain):
    known = plan.discover(chain)
    assert [each.name for each in plan.select(["signals"], known, has=set())] == ["00_data", "01_signals"]


def test_a_notebook_waits_for_those_before_it_that_write_what_it_reads(chain):
    chosen = plan.select([], plan.discover(chain), has=set())
    assert plan.graph(chosen, has=set()) == {
        "00_data": [], "01_signals": ["00_data"], "02_candidates": ["00_data"], "07_experiments": [],
    }


def test_a_table_of_the_source_is_not_waited_for_elsewhere(make_notebook, tmp_path):
    k = "k: int = 8  # slots"
    make_notebook(tmp_path / "00_data.ipynb", "Reads nothing · Writes `units`", k)
    make_notebook(tmp_path / "06_feedback.ipynb", "Reads `answers` · Writes `units`", k)
    make_notebook(tmp_path / "07_experiments.ipynb", "Reads `units` · Writes nothing", k)
    known = plan.discover(tmp_path)
    assert plan.sources_of(known["07_experiments"], known, has={"units"}) == ["00_data"]
    assert plan.sources_of(known["07_experiments"], known, has=set()) == ["00_data", "06_feedback"]


def test_a_record_that_the_code_reads_is_waited_for(make_notebook, tmp_path):
    k = "k: int = 8  # slots"
    make_notebook(tmp_path / "00_data.ipynb", "Reads nothing · Writes nothing", k, "store.write_facts('source', {})")
    make_notebook(tmp_path / "01_signals.ipynb", "Reads nothing · Writes nothing", k, "store.read_facts('source')")
    known = plan.discover(tmp_path)
    assert plan.sources_of(known["01_signals"], known, has=set()) == ["00_data"]


def test_all_faults_of_a_request_are_named_at_once_before_any_cell_runs(chain, tmp_path):
    asked = ("sede=3", "n_events=many", "half_life_days=abc")
    with pytest.raises(PlanError) as refused:
        run(chain, tmp_path / "reports", assignments=asked)
    assert str(refused.value).splitlines() == [
        "unknown parameter 'sede' of any notebook of this run; did you mean seed?",
        "parameter n_events == 'many', must be int (as 3 is).",
        "parameter half_life_days == 'abc', must be float (as 30.0 is).",
    ]
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(("kind", "text", "value"), [
    ("int", "3", 3), ("float", "3", 3.0), ("float", "1e-3", 0.001), ("bool", "false", False), ("str", "07", "07"),
    ("int | None", "null", None), ("list", "[1, 2]", [1, 2]), ("dict", "{a: 1}", {"a": 1}),
])
def test_a_value_is_read_as_the_declared_type(kind, text, value):
    found = parameters.cast(text, parameters.Parameter("x", kind, None, ""))
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(("kind", "text"), [
    ("int", "3.5"), ("int", "true"), ("float", "abc"), ("bool", "1"), ("int", ""), ("int", "[")
])
def test_a_value_of_another_type_is_refused(kind, text):
    with pytest.raises(ValueError, match=r".+"):
        parameters.cast(text, parameters.Parameter("x", kind, None, ""))


def test_a_scenario_gives_parameters_to_all_and_to_single_notebooks(chain, tmp_path):
    (tmp_path / "s.yaml").write_text("parameters: {seed: 9}\nnotebooks: {signals: {half_life_days: 7}}\n")
    prepared = prepare.prepare(prepare.Request(scenario=tmp_path / "s.yaml", notebooks=chain, assignments=("seed=8",)))
    assert prepared.values["00_data"] == {"seed": 8}
    assert prepared.values["01_signals"] == {"half_life_days": 7.0}


def test_a_scenario_may_name_a_notebook_that_is_not_in_the_run_but_not_misspell_its_parameters(chain, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text("notebooks: {signals: {half_life_days: 7}}")
    request = prepare.Request(names=("00",), scenario=tmp_path / "s.yaml", notebooks=chain)
    assert prepare.prepare(request).values == {"00_data": {}}
    assert capsys.readouterr().out == "Left aside: 01_signals is not in this run, so half_life_days of it is not used.\n"
    (tmp_path / "s.yaml").write_text("notebooks: {signals: {half_life: 7}}")
    with pytest.raises(PlanError, match="unknown parameter 'half_life' of 01_signals; did you mean half_life_days"):
        prepare.prepare(request)


def test_a_scenario_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "s.yaml").write_text("params: {seed: 9}\n")
    with pytest.raises(PlanError, match="unknown keys params; allowed: source, parameters, notebooks"):
        parameters.read_scenario(tmp_path / "s.yaml")


def test_a_run_is_published_with_its_records(finished):
    record, verdict = (publish.read_json(finished / "latest" / name) for name in ("run.json", "verdict.json"))
    assert (finished / "latest").resolve().name == "first"
    assert (record["status"], record["exit_code"], record["seed"]) == ("published", 0, 7)
    assert statuses(record) == {
        "00_data": "done", "01_signals": "done", "02_candidates": "done", "07_experiments": "skipped",
    }
    assert record["tables"]["events"]["rows"] == 3
    assert record["notebooks"][1]["takeaway"] == "3 ratings at 30.0 days."
    assert {"python", "reclib", "pandas"} <= set(record["versions"])
    assert verdict["verdict"] == "HOLD"
    assert "07_experiments was not run: needs `units`" in verdict["reasons"][0]


def test_the_same_request_makes_the_same_bytes_whatever_the_jobs(chain, tmp_path, finished):
    _, alone = run(chain, tmp_path / "alone", jobs=1, run_id="first")
    assert alone["tables"] == publish.read_json(finished / "first" / "run.json")["tables"]


def test_the_same_request_gets_the_same_run_id_in_another_folder_and_a_number_in_the_same(chain, tmp_path):
    first = prepare.prepare(prepare.Request(notebooks=chain, reports=tmp_path / "a"))
    first.folder.mkdir(parents=True)
    again = prepare.prepare(prepare.Request(notebooks=chain, reports=tmp_path / "a"))
    other = prepare.prepare(prepare.Request(notebooks=chain, reports=tmp_path / "b"))
    assert (again.run_id, other.run_id) == (f"{first.run_id}-2", first.run_id)


def test_a_failed_notebook_is_named_with_cell_and_error_and_the_last_good_run_stays(chain, tmp_path):
    assert run(chain, tmp_path, "00", run_id="good")[0] == runner.PUBLISHED
    spoil(chain / "01_signals.ipynb", "ratings = events", "ratings = event")
    code, record = run(chain, tmp_path, run_id="bad")
    error = record["notebooks"][1]["error"]
    assert (code, record["status"], publish.latest(tmp_path)) == (runner.FAILED, "failed", "good")
    assert (error["cell"], error["error"]) == (3, "NameError: name 'event' is not defined")
    page = (tmp_path / "bad" / "01_signals.html").read_text()
    assert "01_signals failed in cell 3" in page
    assert "name 'event' is not defined" in page
    assert statuses(record)["02_candidates"] == "done"


def test_what_needs_a_failed_notebook_is_not_run(chain, tmp_path):
    spoil(chain / "00_data.ipynb", "store.write(", "store.wrote(")
    code, record = run(chain, tmp_path)
    assert code == runner.FAILED
    assert statuses(record)["01_signals"] == "not run"
    assert record["notebooks"][1]["reason"] == "not run, because 00_data failed or was not run."


def test_a_cell_that_takes_too_long_is_stopped_and_named(make_notebook, tmp_path):
    from reclib.workflow import execute

    made = make_notebook(tmp_path / "slow.ipynb", "Reads nothing · Writes nothing", "k: int = 1  # slots",
                         "import time", "time.sleep(60)")
    failure = execute.execute(made, tmp_path / "out.ipynb", parameters={}, environment={}, folder=tmp_path, timeout=2)
    assert failure.cell == 4
    assert failure.source == "time.sleep(60)"
    assert failure.error.startswith("CellTimeoutError")


def test_resume_keeps_what_stands_and_runs_what_a_changed_cell_makes_stale(earlier):
    chain, reports = earlier
    spoil(chain / "01_signals.ipynb", "ratings at", "graded pairs at")
    code, record = run(chain, reports, run_id="first", resume=True)
    assert code == runner.PUBLISHED
    assert statuses(record) == {
        "00_data": "kept", "01_signals": "done", "02_candidates": "kept", "07_experiments": "skipped",
    }


def test_resume_runs_what_a_changed_parameter_or_table_makes_stale(earlier):
    chain, reports = earlier
    _, record = run(chain, reports, run_id="first", resume=True, assignments=("half_life_days=5",))
    assert [name for name, status in statuses(record).items() if status == "done"] == ["01_signals"]
    (reports / "first" / "tables" / "events.parquet").unlink()
    _, record = run(chain, reports, run_id="first", resume=True, assignments=("half_life_days=5",))
    assert [name for name, status in statuses(record).items() if status == "done"] == ["00_data"]


def test_a_run_that_is_there_is_not_overwritten(chain, tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(PlanError, match="run 'one' is already in"):
        run(chain, tmp_path)


@pytest.mark.parametrize("run_id", ["latest", "lab", "../up", "a/b", ".hidden", "", "x" * 101])
def test_a_run_id_must_name_a_folder_of_its_own(run_id):
    with pytest.raises(PlanError, match="run id"):
        publish.check_run_id(run_id)


def test_two_processes_never_make_the_same_run(chain, tmp_path):
    prepared = prepare.prepare(prepare.Request(notebooks=chain, reports=tmp_path, run_id="one"))
    with publish.locked(tmp_path, "one"), pytest.raises(PlanError, match="is being made by another process"):
        runner.run(prepared, lambda line: None)
    assert not (tmp_path / "one").exists()


def test_failed_checks_refuse_to_publish_whatever_the_verdict(chain, make_notebook, tmp_path):
    make_notebook(chain / "08_monitoring.ipynb", "Reads nothing · Writes `checks`", "k: int = 8  # slots", """
import pandas as pd
from reclib import store
row = {"check_id": "shares", "layer": "delivery", "status": "fail", "observed": "0.6", "allowed": "0.5",
       "detail": "The arms do not have their shares."}
store.write("checks", pd.DataFrame([row]))
store.write_facts("verdict", {"verdict": "SHIP", "reasons": []})
""")
    code, record = run(chain, tmp_path)
    verdict = publish.read_json(tmp_path / "one" / "verdict.json")
    assert (code, record["status"], verdict["verdict"]) == (runner.INVALID, "refused", "INVALID")
    assert verdict["reasons"] == ["Check shares failed: The arms do not have their shares."]
    assert not (tmp_path / "latest").exists()
    assert (tmp_path / "one" / "index.html").exists()


def test_latest_moves_in_one_step_and_never_dangles(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        publish.make_latest(tmp_path, name)
        assert publish.latest(tmp_path) == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_a_run_killed_in_the_middle_leaves_latest_and_is_resumed(chain, make_notebook, tmp_path):
    run(chain, tmp_path, "00", run_id="good")
    slow = "import time\nfrom pathlib import Path\nwhile Path('wait').exists():\n    time.sleep(0.1)"
    make_notebook(chain / "03_ranking.ipynb", "Reads `ratings` · Writes nothing", "k: int = 8  # slots", slow)
    (chain / "wait").touch()
    made = tmp_path / "one" / "run.json"
    code = ("import sys; from pathlib import Path; from reclib.workflow import prepare, runner; "
            "runner.run(prepare.prepare(prepare.Request(notebooks=Path(sys.argv[1]), reports=Path(sys.argv[2]), "
            "run_id='one', jobs=1)), print)")
    killed = subprocess.Popen([sys.executable, "-c", code, str(chain), str(tmp_path)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while statuses(publish.read_json(made) or {"notebooks": []}).get("02_candidates") != "done":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    (chain / "wait").unlink()
    assert publish.latest(tmp_path) == "good"
    code, record = run(chain, tmp_path, resume=True)
    assert (code, publish.latest(tmp_path)) == (runner.PUBLISHED, "one")
    assert statuses(record) == {
        "00_data": "kept", "01_signals": "kept", "02_candidates": "kept", "03_ranking": "done",
        "07_experiments": "skipped",
    }


def test_a_proof_alone_does_not_take_the_place_of_the_last_run(chain, tmp_path):
    run(chain, tmp_path, "00", run_id="good")
    code, record = run(chain, tmp_path, "calibration", run_id="proof")
    assert (code, publish.latest(tmp_path)) == (runner.PUBLISHED, "good")
    assert (tmp_path / "proof" / "proofs" / "calibration.html").exists()
    assert record["notebooks"][0]["takeaway"] == "Proven."


def test_a_source_decides_what_runs_and_says_what_it_lacks(chain, make_notebook, tmp_path, monkeypatch):
    from reclib.sources import catalog

    make_notebook(chain / "00_data.ipynb", "Reads nothing · Writes `events`", 'source: str = "shop"  # source',
                  "from reclib import store", "store.write_facts('source', {'name': source})")
    told = {"name": "shop", "tables": [], "answers": False, "lacks": {"units": "It has no finished experiment."}}
    monkeypatch.setattr(catalog, "describe", lambda name: told)
    monkeypatch.setattr(catalog, "check", lambda name, **options: pd.DataFrame())
    _, record = run(chain, tmp_path)
    assert record["source"]["name"] == "shop"
    assert record["skipped"]["07_experiments"].endswith("provides any of them. It has no finished experiment.")


def test_the_code_that_a_notebook_imports_is_part_of_its_fingerprint(make_notebook, tmp_path, monkeypatch):
    made = make_notebook(tmp_path / "a.ipynb", "Reads nothing · Writes nothing", "k: int = 1  # slots",
                         "from reclib import report")
    first = resume.code(made)
    monkeypatch.setattr(resume, "digest", lambda path: "other")
    assert resume.code(made) != first


def test_executed_notebooks_keep_their_outputs_and_parameters(finished):
    cells = nbformat.read(finished / "first" / "01_signals.ipynb", as_version=4).cells
    assert cells[-1].outputs


def test_a_refreshed_notebook_holds_outputs_and_nothing_of_the_run(chain, finished):
    text = refresh.refreshed(chain / "01_signals.ipynb", finished / "first" / "01_signals.ipynb")
    again = nbformat.reads(text, as_version=4)
    assert [cell.execution_count for cell in again.cells if cell.cell_type == "code"] == [1, 2]
    assert "3 ratings at 30.0 days." in text
    assert set(again.metadata) == {"kernelspec", "language_info"}
    assert [dict(cell.metadata) for cell in again.cells] == [{}, {"tags": ["parameters"]}, {}]


def test_a_notebook_that_was_changed_after_its_run_is_not_refreshed(chain, finished):
    spoil(chain / "01_signals.ipynb", "ratings at", "pairs at")
    with pytest.raises(ValueError, match="its cells are not those of"):
        refresh.refreshed(chain / "01_signals.ipynb", finished / "first" / "01_signals.ipynb")

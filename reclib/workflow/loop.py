"""The closed loop of the storefront: each night decides for its date and publishes, the shop answers the next day.

A night is one notebook, executed on what the shop knows that evening; the answers of the day before are in it. Its
slates are published in one atomic step: `nights/latest` moves on. A night that fails, or that its checks refuse, leaves
the last good slates where they are, and the loop goes on.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from reclib import schema, store
from reclib.sources.storefront import config, lived, tables
from reclib.workflow import pages, parameters, publish, runner
from reclib.workflow.plan import Notebook, PlanError, folder

NIGHT, PAGE, NIGHTS = "night", "loop", "nights"
WORLD = ("n_customers", "n_items", "n_days", "seed")
NOT_HERE = ("source", "as_of", "run")
DELIVERIES, FORECASTS, EVENTS = "deliveries", "forecasts", "events"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What was asked for, as typed.

    Attributes:
        days: nights, and days that the shop answers.
        assignments: `name=value` texts, for the world and for the notebooks of the loop.
        run_id: name of the loop; empty means one made of the parameters.
        reports: folder of the runs; None means `store.reports()`.
        notebooks: folder of the notebooks; None means the project's.
    """

    days: int
    assignments: tuple[str, ...] = ()
    run_id: str = ""
    reports: Path | None = None
    notebooks: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What will be lived: `world` are the parameters of the shop, `values` those to inject by notebook."""

    run_id: str
    reports: Path
    notebooks: Path
    days: int
    world: dict[str, object]
    values: dict[str, dict[str, object]]
    asked: dict[str, object]

    @property
    def folder(self) -> Path:
        """The folder of the loop."""
        return self.reports / self.run_id

    def given(self, notebook: str, name: str) -> object:
        """The value of a parameter of a notebook of the loop, its default where none was asked for."""
        return self.values[notebook].get(name, parameters.declared(self.path(notebook))[name].default)

    def path(self, notebook: str) -> Path:
        """The file of a notebook of the loop."""
        return self.notebooks / "loop" / f"{notebook}.ipynb"


@dataclass
class _Loop:
    """A loop while it is lived: worlds, records of the notebooks, and one record a night."""

    plan: Plan
    say: Say
    started: datetime.datetime
    worlds: lived.Worlds
    nights: list[dict] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)


def prepare(request: Request) -> Plan:
    """Make the plan of a loop.

    Raises:
        PlanError: unknown or unfit parameters, a run id that is taken, or no days.
        ValueError: the world's parameters are out of range.
    """
    if request.days < 1:
        raise PlanError(f"days == {request.days}, must be at least 1.")
    notebooks = (request.notebooks or folder()).resolve()
    asked = parameters.split(request.assignments)
    for name in NOT_HERE:
        if name in asked:
            raise PlanError(f"-p {name}: a loop lives the storefront from the end of its history on; it cannot be given.")
    chosen = [_notebook("00_data", notebooks / "00_data.ipynb"),
              *(_notebook(name, notebooks / "loop" / f"{name}.ipynb") for name in (NIGHT, PAGE))]
    values = parameters.assign(chosen, asked)
    data = {name: each.default for name, each in parameters.declared(chosen[0].path).items()} | values.pop("00_data")
    night = parameters.declared(chosen[1].path)
    world = {name: data[name] for name in WORLD if name in data} | {"k": values[NIGHT].get("k", night["k"].default)}
    config.build(**world)
    reports = (request.reports or store.reports()).resolve()
    told = json.dumps([request.days, world, values], sort_keys=True, default=str)
    run_id = _place(reports, request.run_id, f"loop-{hashlib.sha256(told.encode()).hexdigest()[:6]}")
    return Plan(run_id, reports, notebooks, request.days, world, values, asked)


def _notebook(name: str, path: Path) -> Notebook:
    if not path.is_file():
        raise PlanError(f"notebook {path}: not there; a loop needs it.")
    line = store.handover(path)
    return Notebook(name, path, tuple(map(tuple, line.reads)), tuple(line.may_read), tuple(line.writes))


def _place(reports: Path, asked: str, short: str) -> str:
    if asked:
        if (reports / publish.check_run_id(asked)).exists():
            raise PlanError(f"run {asked!r} is already in {reports}; choose another --run-id.")
        return asked
    names = [short, *(f"{short}-{n}" for n in range(2, len(list(reports.glob(f"{short}*"))) + 3))]
    return next(name for name in names if not (reports / name).exists())


def run(plan: Plan, say: Say) -> int:
    """Live the loop and write its page.

    Returns:
        The exit code: 0 every night published, 1 a night or the page failed, 3 the checks of a night refused it.
    """
    with publish.locked(plan.reports, plan.run_id):
        loop = _Loop(plan, say, _now(), lived.Worlds(config.as_params(config.build(**plan.world))))
        try:
            for _ in range(plan.days):
                _night(loop)
                _day(loop)
        except BaseException:
            _stop_kernels()
            _write_record(loop, "interrupted")
            raise
        return _finish(loop)


def _stop_kernels() -> None:
    from reclib.workflow import execute

    execute.stop_all()


def _night(loop: _Loop) -> None:
    """Decide for one date and publish, or keep what was published last."""
    plan, clock = loop.plan, time.monotonic()
    date = loop.worlds.shop.as_of.date().isoformat()
    place = plan.folder / NIGHTS / date
    _hand_in(loop, place)
    record = _execute(plan, NIGHT, f"{NIGHTS}/{date}/{NIGHT}", {"RECLIB_REPORTS": str(place.parent), "RECLIB_RUN": date})
    reason, status = record["reason"], "failed" if record["status"] == runner.BROKEN else "published"
    if status == "published":
        reason = _why_refused(place, date)
        status = "refused" if reason else status
    if status == "published":
        publish.make_latest(place.parent, date)
        for path in (place / "tables").glob("events.parquet"):
            path.unlink()
    loop.records.append(record | {"reason": reason})
    shown = publish.latest(place.parent)
    loop.nights.append({
        "date": date, "status": status, "reason": reason, "slates_of": shown, "n_slots": len(_published(plan, shown)),
        "seconds": round(time.monotonic() - clock, 2), **_facts(place),
    })
    told = record["takeaway"] if status == "published" else f"{reason} Shown tomorrow: {shown or 'nothing'}."
    loop.say(f"{date}: {status} in {loop.nights[-1]['seconds']:.1f} s. {told}".rstrip())


def _hand_in(loop: _Loop, place: Path) -> None:
    """Put down what the shop knows this evening."""
    shop = loop.worlds.shop
    facts = tables.facts(config.build(**loop.plan.world)) | {
        "name": "storefront", "as_of": shop.as_of.date().isoformat(), "n_days": shop.n_days, "experiment": None}
    (place / "tables").mkdir(parents=True, exist_ok=True)
    for name, frame in shop.evening(n_days=int(loop.plan.given(NIGHT, "history_days"))).items():
        schema.require(frame, schema.TABLES[name]).to_parquet(place / "tables" / f"{name}.parquet", index=False)
    publish.write_json(place / "source.json", facts)
    _hand_on_forecasts(loop.plan, place)


def _hand_on_forecasts(plan: Plan, place: Path) -> None:
    """Put the ledger of the last night that published where the next reader looks for it."""
    last = publish.latest(plan.folder / NIGHTS)
    path = plan.folder / NIGHTS / last / "tables" / f"{FORECASTS}.parquet"
    if last and path.exists():
        shutil.copy(path, place / "tables" / path.name)


def _execute(plan: Plan, notebook: str, name: str, environment: dict[str, str]) -> dict:
    """Execute a notebook of the loop, write its page, and return its record."""
    from reclib.workflow import execute

    clock, target = time.monotonic(), plan.folder / f"{name}.ipynb"
    failure = execute.execute(plan.path(notebook), target, parameters=plan.values[notebook], folder=plan.notebooks,
                              environment=environment)
    record = {
        "name": name, "title": pages.title_of(plan.path(notebook)), "page": f"{name}.html", "parameters": plan.values[notebook],
        "status": runner.BROKEN if failure else runner.DONE, "seconds": round(time.monotonic() - clock, 2),
        "takeaway": runner._takeaway(target), "reason": f"Cell {failure.cell}: {failure.error}" if failure else "", "outputs": {},
    }
    record |= {"error": asdict(failure)} if failure else {}
    pages.write_notebook(plan.folder, record, [name])
    return record


def _why_refused(place: Path, date: str) -> str:
    """Why tonight's slates may not go out; empty where they may."""
    path = place / "tables" / f"{DELIVERIES}.parquet"
    if not path.exists():
        return "The night wrote no slates."
    failed = [f"Check {row['check_id']} failed: {row['detail'] or row['observed']}" for row in publish.failed_checks(place)]
    if failed:
        return " ".join(failed)
    when = pd.read_parquet(path, columns=["delivered_at"])["delivered_at"]
    days = sorted({day.date().isoformat() for day in when})
    return "" if days == [date] else f"The slates are of {', '.join(days) or 'no night'}, must be of {date}."


def _facts(place: Path) -> dict:
    told = publish.read_json(place / f"{NIGHT}.json")
    return {name: told[name] for name in ("as_of", "n_events", "n_answers") if name in told}


def _published(plan: Plan, date: str) -> pd.DataFrame:
    """The slates of a night; none where no night has published."""
    if not date:
        return pd.DataFrame()
    return pd.read_parquet(plan.folder / NIGHTS / date / "tables" / f"{DELIVERIES}.parquet")


def _day(loop: _Loop) -> None:
    """Let the shop answer what is published, and write down what came of it."""
    shown = publish.latest(loop.plan.folder / NIGHTS)
    loop.worlds.next_day(_published(loop.plan, shown) if shown else None)
    _write_record(loop, "running")


def _finish(loop: _Loop) -> int:
    """Write the page of the loop, its index and its record."""
    plan, statuses = loop.plan, [night["status"] for night in loop.nights]
    publish.write_json(plan.folder / "source.json", tables.facts(config.build(**plan.world)) | {
        "name": "storefront, closed loop", "about": "The storefront, lived night after night.", "experiment": None})
    _hand_in_answers(loop)
    record = _execute(plan, PAGE, PAGE, {"RECLIB_REPORTS": str(plan.reports), "RECLIB_RUN": plan.run_id})
    loop.records.insert(0, record)
    loop.say(f"{PAGE}: {record['status']}. {record['takeaway'] or record['reason']}")
    for night in loop.nights:
        if night["status"] != "published":
            loop.say(f"{night['date']}: {night['status']}. {night['reason']}")
    is_broken = "failed" in statuses or record["status"] == runner.BROKEN
    code = runner.FAILED if is_broken else runner.INVALID if "refused" in statuses else runner.PUBLISHED
    verdict = publish.settle_verdict(plan.folder, why_none="A closed loop is lived, not judged: it has no experiment.")
    status = {runner.FAILED: "failed", runner.INVALID: "refused"}.get(code, "published")
    _write_record(loop, status, verdict=verdict["verdict"], exit_code=code)
    pages.write_index(plan.folder, publish.read_json(plan.folder / "run.json"), verdict, before="")
    pages.write_overview(plan.reports)
    return code


def _hand_in_answers(loop: _Loop) -> None:
    """Put down what the page of the loop scores the last forecasts by: the ledger, and what came since the last night that published."""
    place, last, shop = loop.plan.folder, publish.latest(loop.plan.folder / NIGHTS), loop.worlds.shop
    (place / "tables").mkdir(exist_ok=True)
    _hand_on_forecasts(loop.plan, place)
    n_days = (shop.as_of.date() - datetime.date.fromisoformat(last)).days if last else 1
    events = shop.evening(n_days=n_days)[EVENTS]
    schema.require(events, schema.TABLES[EVENTS]).to_parquet(place / "tables" / f"{EVENTS}.parquet", index=False)


def _write_record(loop: _Loop, status: str, **extra: object) -> None:
    plan, ended = loop.plan, _now()
    publish.write_json(plan.folder / "loop.json", {
        "currency": tables.CURRENCY, "n_days": plan.days, "history_days": plan.given(NIGHT, "history_days"),
        "world": plan.world, "nights": loop.nights, "days": loop.worlds.rows,
    })
    publish.write_json(plan.folder / "run.json", {
        "run_id": plan.run_id, "status": status, **extra, "source": {"name": "storefront, closed loop"},
        "seed": plan.world.get("seed"), "parameters": plan.asked | {"days": plan.days}, "jobs": 1,
        "started_at": loop.started.isoformat(), "ended_at": None if status == "running" else ended.isoformat(),
        "seconds": round((ended - loop.started).total_seconds(), 2), "planned": [PAGE], "notebooks": loop.records,
        "skipped": {}, "tables": {}, "versions": publish.versions(), "git": publish.revision(),
    })


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)

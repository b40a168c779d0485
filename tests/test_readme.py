"""The lines of the README that others will copy are run, each with its paths made those of this project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from reclib import store

ROOT = store.project()
README = (ROOT / "README.md").read_text()
SERVICE = "/srv/reclib"


def block(start: str) -> str:
    """The code block of the README that begins with these words."""
    return next(text for text in re.findall(r"```[a-z]*\n(.*?)```", README, re.DOTALL) if text.startswith(start))


def here(text: str) -> str:
    """The same lines for this project, and a command that ends at once."""
    return text.replace(SERVICE, str(ROOT)).replace("reclib run --source shop.yaml", "reclib sources")


def run(command: str) -> subprocess.CompletedProcess:
    """As cron runs it: `sh -c`, and nothing in the environment but a short path."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "SHELL": "/bin/sh"}
    return subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", capture_output=True, text=True, timeout=120,
                          check=False)


needs_venv = pytest.mark.skipif(not (ROOT / ".venv/bin/reclib").exists(), reason="no .venv here; `make test` makes one")


@needs_venv
def test_the_line_for_cron_runs_with_cron_s_environment():
    fields = block("# cron").splitlines()[1].split(maxsplit=5)
    done = run(here(fields[5]))
    assert (fields[:5], done.returncode, done.stderr) == (["0", "3", "*", "*", "*"], 0, "")
    assert "storefront" in done.stdout


@needs_venv
def test_two_nights_at_once_are_one(tmp_path):
    line = here(block("# cron").splitlines()[1].split(maxsplit=5)[5]).replace(".venv/night.lock", str(tmp_path / "night.lock"))
    assert run(f"exec 9> {tmp_path}/night.lock; flock 9; {line}").returncode == 1


def test_the_units_for_systemd_are_sound(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here")
    units = [tmp_path / "reclib.service", tmp_path / "reclib.timer"]
    for unit in units:
        unit.write_text(here(block(f"# systemd: {unit.name}")))
    done = subprocess.run(["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_airflow_is_given_the_same_command_and_the_brief():
    text = block("# Airflow")
    compile(text, "dag.py", "exec")
    command = re.search(r'bash_command="cd /srv/reclib && (.*?)"', text)[1]
    assert command in block("# cron") and f"{SERVICE}/{command}" in block("# systemd")
    notebook = re.search(r'input_nb="/srv/reclib/(.*?)"', text)[1]
    assert (ROOT / notebook).exists()


def test_every_file_that_the_readme_names_is_there():
    named = re.findall(r"\]\(([^):]+)\)|`((?:notebooks|data|reports)/[\w./-]+)`", README)
    assert [path for pair in named for path in pair if path and not (ROOT / path).exists() and "latest" not in path] == []

"""The three files that name the environment agree, and the package installs what it needs."""

from __future__ import annotations

import itertools
import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reclib import store

PROJECT = tomllib.loads((store.project() / "pyproject.toml").read_text())["project"]
LOCK = (store.project() / "requirements.lock").read_text()
BLOCKS = [block for block in re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip()) if not block.startswith("#")]


def ranges(lines: list[str]) -> dict[str, object]:
    return {canonicalize_name(each.name): each.specifier for each in map(Requirement, lines)}


def pins() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for block in BLOCKS:
        each = Requirement(block.split(" \\")[0].strip())
        found.setdefault(canonicalize_name(each.name), []).append(next(iter(each.specifier)).version)
    return found


def test_conda_users_get_the_same_ranges():
    listed = yaml.safe_load((store.project() / "environment.yml").read_text())["dependencies"]
    found = ranges([each for each in listed if isinstance(each, str)])
    assert str(found.pop("python")) == PROJECT["requires-python"]
    found.pop("pip")
    assert found == ranges(PROJECT["dependencies"])


def test_every_pin_lies_in_its_range():
    wanted = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    locked = pins()
    outside = [(name, version) for name, allowed in ranges(wanted).items() for version in locked.get(name, ["none"])
               if version == "none" or not allowed.contains(version)]
    assert outside == []


def test_the_lock_has_a_hash_for_every_file_and_no_address():
    assert "://" not in LOCK
    assert [block.split("\n")[0] for block in BLOCKS if "--hash=sha256:" not in block] == []

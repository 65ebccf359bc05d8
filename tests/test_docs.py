"""The documents promise what is there: links, commands, options, files and verbs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from xmcompat import __version__
from xmcompat.backends.settings import Settings
from xmcompat.tool.main import program
from xmcompat.xm.verbs import HELP, VERBS

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENTS = [CHECKOUT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    (CHECKOUT / "docs").glob("*.md")
)
WORKING = {verb.name for verb in (*VERBS.values(), HELP) if verb.run}

PATH = re.compile(r"(?<![\w/.])((?:\.setup|xmcompat|backends|network|storage|tests|docs|benchmarks)/[\w./-]*)")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code(text: str) -> list[str]:
    """What is set as code: the lines of blocks, and spans."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for block in blocks for line in block.splitlines()] + spans


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        assert "://" not in target, f"{target} cannot be checked"
        assert (document.parent / target.partition("#")[0]).exists(), target


@each_document
def test_files_that_are_named_are_there(document: Path) -> None:
    for word in code(document.read_text()):
        for path in PATH.findall(word):
            assert (CHECKOUT / path).exists(), path


@each_document
def test_a_verb_that_is_typed_is_a_verb_that_works(document: Path) -> None:
    for line in code(document.read_text()):
        for verb in re.findall(r"(?:^|# |bin/)xm ([a-z][a-z0-9-]*)", line):
            assert verb in WORKING, line


@each_document
def test_a_command_of_xmcompat_that_is_typed_is_there(document: Path) -> None:
    for line in code(document.read_text()):
        for command in re.findall(r"(?:^|bin/)xmcompat ([a-z]+)", line):
            assert command in program.commands, line


@each_document
def test_programs_of_the_checkout_can_be_run_with_these_options(document: Path) -> None:
    usage = subprocess.run([CHECKOUT / "tour", "--help"], capture_output=True, text=True, check=True, timeout=10).stdout
    for line in code(document.read_text()):
        for name, option in re.findall(r"(?:^|\s)\./(\w+)(?: (--?\w+))?", line):
            assert os.access(CHECKOUT / name, os.X_OK), name
            assert not option or (name == "tour" and option in usage), line


def test_all_verbs_work_as_the_readme_says() -> None:
    assert "- `xm` with all of its verbs, and `xentop`." in (CHECKOUT / "README.md").read_text()
    assert sorted(set(VERBS) - WORKING) == []


def test_the_table_of_keys_is_the_programs_own() -> None:
    from xmcompat.config.keys import KEYS
    from xmcompat.tool.keys import markdown_table, named

    text = (CHECKOUT / "docs/reference-keys.md").read_text()
    assert text.endswith("\n\n" + markdown_table(named(KEYS, ())) + "\n"), "run xmcompat keys --markdown"


def test_every_fact_of_a_host_is_documented() -> None:
    from xmcompat.tool.convert_facts import FIELDS

    text = (CHECKOUT / "docs/reference-convert.md").read_text()
    assert [name for name in FIELDS if f"`{name}`" not in text] == []


def test_every_fate_and_form_is_documented() -> None:
    from xmcompat.notes import Fate
    from xmcompat.tool.convert import SUFFIXES

    text = (CHECKOUT / "docs/reference-convert.md").read_text()
    assert [fate.value for fate in Fate if f"| {fate.value} |" not in text] == []
    assert [form for form in SUFFIXES if f"`{form}`" not in text] == []


def test_the_change_log_begins_with_this_version() -> None:
    found = re.search(r"^## (\S+)", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__


def test_every_setting_is_in_the_tutorial() -> None:
    text = (CHECKOUT / "docs/tutorial.md").read_text()
    assert [name for name in Settings._fields if f"`{name} = " not in text] == []
    used = set()
    for folder in ("xmcompat", "backends"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            used |= set(re.findall(r"[\"'](XMCOMPAT_[A-Z]+)[\"']", path.read_text()))
    assert [name for name in sorted(used) if f"`{name}" not in text] == []


@pytest.mark.parametrize("name", ["tour", "check", ".ci/run", ".setup/host.sh"])
def test_the_shell_programs_are_well_formed(name: str) -> None:
    done = subprocess.run(["bash", "-n", CHECKOUT / name], capture_output=True, text=True, check=False, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")


def test_ci_runs_the_readmes_test_command() -> None:
    assert (CHECKOUT / ".ci/run").read_text().splitlines()[-1].endswith('/../check"')
    assert os.access(CHECKOUT / ".ci/run", os.X_OK)

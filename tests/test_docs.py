"""Every command that the documentation shows can be given as it stands there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from ndtool.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def shown(page: Path) -> list[str]:
    """The ndtool command lines in the shell blocks of a page."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if re.match(r"(\$ )?(\S*/)?ndtool\s", line)]


COMMANDS = [pytest.param(line, id=f"{page.name}: {line}") for page in PAGES for line in shown(page)]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_in_the_docs_is_one(line: str):
    _, *words = shlex.split(line.removeprefix("$ "))
    command = cli.commands[words[0]]
    for parameter in command.params:  # files of the examples are not there
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    command.make_context(words[0], words[1:])


def test_the_readme_mentions_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in cli.commands if f"ndtool {name}" not in text and f"make {name}" not in text] == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"

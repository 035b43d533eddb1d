"""The documentation is true: commands exist, links lead somewhere, the README opens with the two commands."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from c4_assets.command import COMMANDS, app
from c4_assets.operations.alerts.records import Event
from resources.records import ImageState
from testing.import_graph import module_arrows, room_arrows

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_shows_exists(page: Path) -> None:
    shown = re.findall(r"(?:^|[`( ]|bin/)(?<!-u )c4 ((?:[a-z-]+)(?:[^`\n#)]*))", page.read_text(), re.MULTILINE)
    for text in shown:
        words = text.split()
        command: Any = typer.main.get_command(app)
        while words and not words[0].startswith("-") and hasattr(command, "commands"):
            name = words.pop(0)
            assert name in command.commands, f"{page.name}: c4 {text}"
            command = command.get_command(None, name)
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, f"{page.name}: c4 {text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


HEADINGS = ["What you see", "What it means", "What to do", "How to know that it is well again"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "handbook").glob("[!R]*.md")), ids=lambda page: page.stem)
def test_a_page_of_the_handbook_says_what_is_seen_what_it_means_and_what_to_do(page: Path) -> None:
    sections = re.split(r"^## (.+)\n", page.read_text(), flags=re.MULTILINE)
    assert sections[1::2] == HEADINGS
    assert all(len(section.split()) >= 3 for section in sections[2::2])
    assert f"({page.name})" in page.with_name("README.md").read_text()


@pytest.mark.parametrize("event", Event)
def test_every_event_that_operators_hear_of_has_its_page(event: Event) -> None:
    page = (ROOT / "docs" / "handbook" / f"{event}.md").read_text()
    if event not in (Event.DIGEST, Event.CRYSTALS_FOUND, Event.TEST):
        assert re.search(r"^1\. ", page, re.MULTILINE), "what to do is a list of steps"
        assert "```sh" in page, "commands to copy"


def test_every_event_is_in_the_table_of_those_that_are_received_in_a_test() -> None:
    table = (
        (ROOT / "docs" / "faults.md").read_text().partition("## Events, from cause to channel")[2].partition("##")[0]
    )
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [str(event) for event in Event]


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text()[:400]
    assert opening.index("make demo") < opening.index("make test")


def test_the_states_of_an_image_are_the_same_in_code_table_and_diagram() -> None:
    states = (ROOT / "docs" / "words.md").read_text().partition("## The states of an image")[2]
    table, _, diagram = states.partition("```mermaid")
    rows = re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)
    assert rows == ["state", *ImageState]
    aliases = {alias: title for title, alias in re.findall(r'state "(.+)" as (\w+)', diagram)}
    arrows = re.findall(r"^ +(\w+|\[\*\]) --> (\w+):", diagram, re.MULTILINE)
    ends = {aliases.get(end, end) for arrow in arrows for end in arrow}
    assert ends - {"[*]"} == set(ImageState)


def test_every_room_imports_only_from_rooms_below_it_in_the_table_of_rooms() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Rooms")[2].partition("**Never**")[0]
    rooms = re.findall(r"^\| `([\w/]+)` \|", table, re.MULTILINE)
    for room, others in room_arrows(module_arrows()).items():
        assert others <= set(rooms[rooms.index(room) + 1 :]), room
    for room in rooms:
        folder = ROOT / (room if (ROOT / room).is_dir() or "/" in room else f"c4_assets/{room}")
        assert folder.is_dir() or folder.with_suffix(".py").is_file(), room


def test_the_list_of_commands_says_of_each_what_it_says_itself() -> None:
    group: Any = typer.main.get_command(app)
    for name, (_, summary) in COMMANDS.items():
        assert group.get_command(None, name).help.startswith(summary.rstrip(".")), name


def test_every_fault_in_the_table_of_faults_is_held_by_a_test_that_exists() -> None:
    table = (ROOT / "docs" / "faults.md").read_text()
    rows = [line for line in table.splitlines() if re.match(r"\| (?!fault \||---)", line)]
    assert len(rows) >= 80
    for row in rows:
        named = re.findall(r"(tests/[\w/]+\.py)(?:::([\w:]+))?", row)
        assert named, row
        for file, name in named:
            test = name.rpartition("::")[2] or r"test_\w+"
            assert re.search(rf"def {test}\(", (ROOT / file).read_text()), f"{file}::{name}"

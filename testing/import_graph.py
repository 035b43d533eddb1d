"""The import graph of C4's rooms, as floors. ``make graph`` prints it; ``tests/test_layout.py`` holds its rules.

A room is a package that holds one part of C4, or a module that stands alone between packages. An arrow goes from the
room that imports to the room that is imported, whether the import stands at the top of a module or in a function.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("c4_assets", "resources", "sensors")

SEVERAL_ROOMS = {"c4_assets", "resources"}
"""Packages whose parts are rooms. Modules directly in ``c4_assets`` are rooms of their own. Those directly in
``resources`` are one room, on which all else stands."""

Arrows = dict[str, set[str]]


def modules(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """The dotted name and the file of every module of C4."""
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            *folders, name = file.relative_to(root).with_suffix("").parts
            if name != "__init__" or len(folders) > 1:  # the outermost packages are empty
                yield ".".join(folders if name == "__init__" else (*folders, name)), file


def imported(file: Path) -> set[str]:
    """The dotted names of all that a file imports, at its top or in a function: ``package.module.name``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(module: str) -> str:
    """The room that a module of C4 lies in: ``scoring``, ``resources/archive``, ``definitions`` …"""
    package, *rest = module.split(".")
    if package not in SEVERAL_ROOMS or not rest:
        return package
    if package == "c4_assets":
        return rest[0]
    return f"resources/{rest[0]}" if len(rest) > 1 or (ROOT / "resources" / rest[0]).is_dir() else "resources"


def module_arrows(root: Path = ROOT) -> Arrows:
    """Which modules of C4 each module imports."""
    files = dict(modules(root))

    def module_of(name: str) -> str:
        return name if name in files else name.rpartition(".")[0]

    return {
        name: {module_of(other) for other in imported(file)} & files.keys() - {name} for name, file in files.items()
    }


def room_arrows(arrows: Arrows) -> Arrows:
    """Which rooms each room imports from."""
    rooms: Arrows = {}
    for module, others in arrows.items():
        room = room_of(module)
        rooms.setdefault(room, set()).update({room_of(other) for other in others} - {room})
    return rooms


def floors(arrows: Arrows) -> list[list[str]]:
    """The rooms from the ground up: each stands above all that it imports.

    Raises:
        ValueError: some import each other in a circle; the message names them.
    """
    left: Arrows = dict(arrows)
    found: list[list[str]] = []
    while left:
        floor = sorted(room for room, others in left.items() if not others & left.keys())
        if not floor:
            raise ValueError(f"these import each other: {', '.join(sorted(_in_circles(left)))}")
        found.append(floor)
        left = {room: others for room, others in left.items() if room not in floor}
    return found


def _in_circles(arrows: Arrows) -> Iterable[str]:
    """What remains when everything is taken away that nobody of the rest imports."""
    while ends := arrows.keys() - set[str]().union(*arrows.values()):
        arrows = {room: others for room, others in arrows.items() if room not in ends}
    return arrows


def main() -> None:
    """Prints the floors, the highest first, with what each room imports."""
    arrows = room_arrows(module_arrows())
    storeys = floors(arrows)
    for number, floor in reversed(list(enumerate(storeys))):
        for room in floor:
            print(f"{number}  {room:28} {', '.join(sorted(arrows[room])) or '–'}")
    print(f"{len(arrows)} rooms on {len(storeys)} floors, {sum(map(len, arrows.values()))} arrows, no circle")


if __name__ == "__main__":
    main()

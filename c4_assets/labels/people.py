"""What people are called where others read it: their names, or numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from c4_assets.checks.check import Tables
from resources.archive.label_archive import ArchivedLabel
from resources.archive.people import numbers_of
from resources.settings import Settings


class People:
    """Names on pages, in Data Docs and in metadata. The archive and the database keep who it was."""

    def __init__(self, settings: Settings) -> None:
        self._file = None if settings.ui.show_names else settings.data / "people.json"

    def called(self, names: Iterable[str]) -> Mapping[str, str]:
        """What each of these people is called: «person 3» today and in ten years, or the name.

        Raises:
            OSError: somebody is new, and the file of numbers cannot be written.
        """
        names = set(names)
        if self._file is None:
            return {name: name for name in names}
        numbers = numbers_of(self._file, {name for name in names if name.strip()})
        return {name: f"person {numbers[name]}" if name in numbers else name for name in names}

    def in_tables(self, tables: Tables) -> Tables:
        """The tables of a check, with people called so."""
        named = {name: table for name, table in tables.items() if "human" in table}
        called = self.called(person for table in named.values() for person in table["human"])
        return {**tables, **{name: table.assign(human=table["human"].map(called)) for name, table in named.items()}}

    def in_labels(self, weeks: Mapping[date, Sequence[ArchivedLabel]]) -> dict[date, list[ArchivedLabel]]:
        """The labels of weeks, with people called so."""
        called = self.called(each.label.human for labels in weeks.values() for each in labels)
        return {
            week: [replace(each, label=replace(each.label, human=called[each.label.human])) for each in labels]
            for week, labels in weeks.items()
        }

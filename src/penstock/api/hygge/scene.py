"""What the parts of one flow's import share: where notes go, which connections there are, and which table it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.api.hygge.ends import Connections, tidy
from penstock.api.hygge.notes import Notes


@dataclass(frozen=True)
class Scene:
    """One table of one flow. `databases` maps the old names of connections to the new ones; `from_folder` leads from the
    new project file to the old project; `entity` is "" where the flow itself is the table."""

    notes: Notes
    connections: Connections
    databases: Mapping[str, str]
    from_folder: str
    flow: str
    entity: str

    @property
    def about(self) -> str:
        return f"jobs.{tidy(self.flow, 'flow')}"

    @property
    def name(self) -> str:
        return self.entity or self.flow

    def filled(self, text: str) -> str:
        """`text` with the entity's name in it."""
        return text.replace("{entity}", self.entity) if self.entity else text

    def tell(self, kind: str, option: str, text: str, place: str) -> None:
        self.notes.add(kind, option, text, place, self.about)

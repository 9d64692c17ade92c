"""The files of an installation, as the control plane takes them in and the jobs program reads them."""

from __future__ import annotations

from openmaas.core.clock import Clock
from openmaas.files.depot import Depot
from openmaas.files.face import Files
from openmaas.house.layout import Layout
from openmaas.house.settings import Settings
from openmaas.store.database import Database


def open_files(settings: Settings, layout: Layout, clock: Clock, database: Database) -> Files:
    """The depot that the settings name, and the book of what lies in it."""
    depot = Depot(layout.files(settings.files_folder))
    return Files(database, depot, clock, project_bytes_max=settings.files_bytes_per_project)

"""A policy file from elsewhere: read, reported and checked before anything is saved."""

from __future__ import annotations

import msgspec

from app.errors import ValidationFailed
from app.policies.schemas import ImportNote, ImportView, ProblemView
from app.policies.service import PolicyService
from rules.importers.importing import import_policy
from rules.importers.report import Imported, ImportRefused
from rules.packs import Problem


async def import_text(
    policies: PolicyService, content: str, name: str, *, save_as: str = ""
) -> tuple[Imported, list[Problem], list[Problem]]:
    """(what the file brings, what must be corrected before it can be published, remarks on what has no effect).

    Raises ValidationFailed and PolicyTooSlow.

    `name` is the file's name, for a policy that names itself nowhere; `save_as` takes the place of its own name.
    """
    if not content.strip():
        raise ValidationFailed("The file is empty.", fields={"content": "The file is empty."})
    data = content.encode("utf-8", "replace")
    stem = name.rpartition("/")[2].rpartition(".")[0] or name
    try:
        found = await policies.workbench.run(lambda: import_policy(data, name=stem))
    except ImportRefused as error:
        raise ValidationFailed(str(error), fields={"content": str(error)}) from error
    if save_as:
        found = msgspec.structs.replace(found, document={**found.document, "name": save_as})
    _, problems, notes = await policies.check(found.document)
    return found, problems, notes


def import_view(found: Imported, problems: list[Problem], *, saved: bool) -> ImportView:
    """The outcome as the API shows it."""
    return ImportView(
        dialect=found.dialect,
        policy=found.document,
        notes=[ImportNote(kind=note.kind, pointer=note.pointer, reason=note.reason) for note in found.notes],
        problems=[ProblemView(pointer=problem.pointer, reason=problem.reason) for problem in problems],
        saved=saved,
    )

"""What can be wrong with the list of programs."""

from __future__ import annotations

from app.errors import Conflict, NotFound


class LaunchProgramNotFound(NotFound):
    code = "launch_program_not_found"
    default_message = "There is no such entry in the list of programs."
    default_remediation = "List the entries with GET /api/v1/launch-programs."


class LaunchProgramListed(Conflict):
    code = "launch_program_listed"
    default_message = "This program with these first arguments is on the list already."
    default_remediation = "Use the entry that is there."


class TooManyLaunchPrograms(Conflict):
    code = "too_many_launch_programs"
    default_remediation = "Remove entries that no proxy needs."

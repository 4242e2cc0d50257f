"""JSON endpoints of the list of programs that may be started."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.http.envelope import Envelope, Listing
from app.launch.schemas import AllowProgram, LaunchProgramView
from app.launch.service import LaunchService
from app.security.permissions import Actor

ADMIN = {"role": "admin"}
TAGS = ["launch-programs"]


@get("/api/v1/launch-programs", opt=ADMIN, tags=TAGS)
async def list_launch_programs(
    actor: NamedDependency[Actor], launch: NamedDependency[LaunchService]
) -> Envelope[Listing[LaunchProgramView]]:
    """The programs that proxies may start as MCP servers."""
    found = await launch.all(actor)
    return Envelope(Listing(found, len(found), len(found), 0))


@post("/api/v1/launch-programs", opt=ADMIN, tags=TAGS)
async def allow_launch_program(
    data: JSONBody[AllowProgram], actor: NamedDependency[Actor], launch: NamedDependency[LaunchService]
) -> Envelope[LaunchProgramView]:
    """Put a program on the list."""
    return Envelope(await launch.allow(actor, data), message="Proxies may start this program.")


@delete("/api/v1/launch-programs/{program_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def remove_launch_program(
    program_id: FromPath[str], actor: NamedDependency[Actor], launch: NamedDependency[LaunchService]
) -> Envelope[None]:
    """Take a program off the list: proxies whose command needs it fail, and their processes end.

    Ten seconds long it can be restored.
    """
    await launch.remove(actor, program_id)
    return Envelope(None, message="The program is off the list.")


@post("/api/v1/launch-programs/{program_id:str}/restore", opt=ADMIN, status_code=200, tags=TAGS)
async def restore_launch_program(
    program_id: FromPath[str], actor: NamedDependency[Actor], launch: NamedDependency[LaunchService]
) -> Envelope[None]:
    """Put a program that was taken off back on the list, within ten seconds."""
    await launch.restore(actor, program_id)
    return Envelope(None, message="The program is on the list again.")


routes = [list_launch_programs, allow_launch_program, remove_launch_program, restore_launch_program]

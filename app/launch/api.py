"""JSON endpoints of the list of programs that may be started."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of, part_of
from app.http.filters import search_text
from app.launch.schemas import AllowProgram, LaunchProgramView
from app.launch.service import SORTS, LaunchService
from app.security.permissions import Actor

ADMIN = {"role": "admin"}
TAGS = ["launch-programs"]


@get("/api/v1/launch-programs", opt=ADMIN, tags=TAGS)
async def list_launch_programs(
    actor: NamedDependency[Actor],
    launch: NamedDependency[LaunchService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[LaunchProgramView]]:
    """The programs that proxies may start as MCP servers; `search` is found in commands, notes, proxies and creators."""
    found = await launch.all(actor, search=search_text(search), sort=SORTS.asked(sort))
    return Envelope(part_of(found, *page_of(limit, offset)))


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

"""The console's requests: a body of JSON that cannot be read is refused in words, whatever is wrong with it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from litestar import Request

from app.errors import BadRequest

_READ_ON_LOOP_BYTES: Final = 64 * 1024


class ConsoleRequest(Request[Any, Any, Any]):
    """Litestar's request, which knows of broken JSON and of nothing else that a body may be."""

    async def json(self) -> Any:
        """The value of the body; raises BadRequest for one that nests too deeply, is no text, or names a key twice."""
        try:
            value = await super().json()
            body = await self.body()
            if len(body) <= _READ_ON_LOOP_BYTES:
                _check_keys(body)
            else:
                await asyncio.to_thread(_check_keys, body)
        except RecursionError:
            raise BadRequest("The JSON of the request is nested too deeply.") from None
        except UnicodeDecodeError:
            raise BadRequest("The request is not UTF-8 text.") from None
        return value


def _check_keys(body: bytes) -> None:
    """Refuse an object that names a key twice: of a policy that says `rules` twice, one half would be gone without a word."""
    if body:
        json.loads(body, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise BadRequest(f"The JSON of the request names {name[:60]!r} twice in one object. Write it once.")
        names.add(name)

"""The AWS SDK's client for Bedrock, for tests on an event loop."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import EventStreamError


class AWS:
    """The client of the AWS SDK, which is not asynchronous; streams are read to their end or their error.

    With `key_header` each request names that key of the gateway beside whatever the SDK signs.
    """

    def __init__(self, url: str, ca_path: str, *, key_header: str = "") -> None:
        self._client = botocore.session.Session().create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            verify=ca_path,
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        if key_header:
            self._client.meta.events.register(
                "before-sign.bedrock-runtime.*",
                lambda request, **_: request.headers.add_header("X-API-Key", key_header),
            )

    def close(self) -> None:
        self._client.close()

    async def call(self, name: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(self._client, name), **arguments)

    async def events(self, name: str, **arguments: Any) -> tuple[list[Any], EventStreamError | None]:
        def read() -> tuple[list[Any], EventStreamError | None]:
            answer = getattr(self._client, name)(**arguments)
            events: list[Any] = []
            with closing(answer["stream" if "stream" in answer else "body"]) as stream:
                try:
                    for event in stream:
                        events.append(event)
                except EventStreamError as error:
                    return events, error
            return events, None

        return await asyncio.to_thread(read)

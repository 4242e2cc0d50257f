"""Tools under control, in the worker: what a server declares passes only as somebody approved it (T-01..T-10).

1. `declarations` reads the lists of a server: each entry with its hash, bounded, duplicates and unreadable ones apart.
   `gathering` fetches all pages of a list first; `answers` reads one response of the server.
2. `catalogue` keeps the newest lists of one server and knows whether they are still current.
3. `passing` compares an entry with `MCPControl`: pure, no more than a look into two dictionaries.
4. `server` joins them for one proxy, across snapshots: it reports what is new to the console, waits for its judgement
   for a moment, and lists by itself (`lister`, an MCP client of both eras) where clients have not listed or the server
   said that something has changed.
5. `lists`, `handshake` and `calls` are what the eras call: a filtered list, a result without instructions that nobody
   approved, a call that is refused. `known_lists` remembers what was read and found clean. `notices` tells clients that
   something was approved or withdrawn; `session_stream` and `subscription` keep an ear on the server for its own
   changes (L-08).
6. `schemas` holds arguments and structured results against what was approved. `holds` lets a call wait for a person where a
   policy says so, and `taint` follows values from one server to another; both work without tool control too.

Where a proxy's tools are not controlled (`MCPSettings.control` is None) nothing of this changes a message.
"""

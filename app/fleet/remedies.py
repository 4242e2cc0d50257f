"""What an operator can do about the reason that a proxy gives for its state: the same remedies as in docs/operations.md."""

from __future__ import annotations

import re
from typing import Final

_REMEDIES: Final = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (
            r"Port \d+ .*is in use by",
            "Choose another port, or stop what uses this one. A proxy that starts with the console tries again by itself.",
        ),
        (r"Port \d+ .*may not be used", "Choose a port from 1024 on, or give Ostiary the right to use lower ones."),
        (r".* is not an (IP )?address", "Listen on 127.0.0.1, on 0.0.0.0 or on an address of this machine."),
        (
            r"The upstream credential (env|file):",
            "Provide the variable or the file, then start the proxy; for a variable restart the console first.",
        ),
        (r"The region of the upstream is missing", "Enter the region under Config, Login at the target."),
        (
            r"The policy .* is damaged: policy ",
            "Publish it anew or roll back to an earlier version, then start the proxy; or assign another policy.",
        ),
        (
            r"The (policy|rule pack) .* is damaged",
            "Put the file back as it came and restart Ostiary, or assign another policy.",
        ),
        (r"There is no policy named", "Assign another policy, or make this one again."),
        (r"Rules are being compiled", "It happens once for each set of policies, and takes up to a minute."),
        (
            r"The rules cannot be",
            "See that the disk has room and that the directory of compiled rules can be written, then start the proxy: "
            "what is damaged there is compiled anew. Or assign another policy.",
        ),
        (r"The certificate or its key", "Correct the PEM files, then restart the proxy."),
        (r"The upstream cannot be set up", "Correct the target URL, the CA bundle or the client certificate."),
        (
            r"The newest configuration was refused",
            "Correct what stands behind the colon; until then the one before applies.",
        ),
        (
            r"The MCP server(\'s program ended| cannot be started)|The upstream did not answer initialize",
            "What it wrote to standard error is under Logs. Correct the command or the program; Discover now starts it again.",
        ),
        (r"The worker ended", "The log says why it ended."),
        (r"\d+ of \d+ workers", "The log says why they ended."),
    )
)


def remedy(reason: str) -> str:
    """What to do; empty for a reason that says it itself, and for one that nobody foresaw."""
    return next((text for pattern, text in _REMEDIES if pattern.match(reason)), "")

"""The table of all checks (docs/scanner.md): what is looked for, how bad it is, and what to do about it."""

from __future__ import annotations

from typing import Final, NamedTuple

from rules.scanning.facts import Topic
from rules.scanning.finding import Category

AUTH: Final = "authentication and authorization"


class Check(NamedTuple):
    """One row."""

    id: str
    topic: Topic
    score: float
    """On a scale of 10; a check may lower it where less is at stake (a server that only this machine reaches)."""
    category: Category
    title: str
    remediation: str
    owasp_mcp: tuple[str, ...]
    owasp_asi: tuple[str, ...]
    cwe: tuple[str, ...]


def _check(id: str, topic: Topic, score: float, category: Category, title: str, remediation: str, ids: str) -> Check:
    """A row whose catalogue ids stand in one text: `MCP03 ASI01 CWE-74`."""
    words = ids.split()
    return Check(
        id,
        topic,
        score,
        category,
        title,
        remediation,
        tuple(f"{word}:2025" for word in words if word.startswith("MCP")),
        tuple(word for word in words if word.startswith("ASI")),
        tuple(word for word in words if word.startswith("CWE")),
    )


CHECKS: Final = (
    # Transport.
    _check(
        "MCP-TLS-001", "reach", 8.0, "transport", "The server is reached without encryption",
        "Serve it over https, or bind it to loopback and reach it through the gateway.", "MCP01 ASI07 CWE-319",
    ),
    _check(
        "MCP-TLS-002", "reach", 7.5, "transport", "The server's certificate is not accepted",
        "Install a certificate for this host name that a known authority has signed, or give the proxy its CA bundle.",
        "MCP07 ASI07 CWE-295",
    ),
    _check(
        "MCP-URL-001", "reach", 7.5, "transport", "The address holds what looks like a credential",
        "Send the credential in a header: addresses end up in logs, histories and error messages.", "MCP01 ASI03 CWE-598",
    ),
    _check(
        "MCP-VER-001", "versions", 2.0, "configuration", "Only outdated protocol versions are spoken",
        "Update the server's SDK: newer revisions have session and header rules that close known gaps.", "MCP04 ASI04 CWE-477",
    ),
    _check(
        "MCP-ORIGIN-001", "origin", 7.5, "transport", "Requests from foreign web pages are accepted",
        "Check the Origin header against an exact list and answer others with 403.", "MCP07 ASI03 CWE-346",
    ),
    _check(
        "MCP-HOST-001", "host", 7.0, "transport", "Requests for a foreign host name are accepted",
        "Check the Host header against the server's own names: without it DNS rebinding reaches the server from a web page.",
        "MCP07 ASI03 CWE-350",
    ),
    _check(
        "MCP-CORS-001", "origin", 6.0, "transport", "Foreign web pages may read the answers",
        "Name the allowed origins in Access-Control-Allow-Origin; never answer * or repeat the caller's origin.",
        "MCP07 ASI03 CWE-942",
    ),
    _check(
        "MCP-SESSION-001", "sessions", 8.0, AUTH, "Session ids can be predicted",
        "Make session ids of at least 128 random bits from a cryptographic source.", "MCP07 ASI03 CWE-330",
    ),
    _check(
        "MCP-SESSION-002", "sessions", 5.0, AUTH, "Session ids are short",
        "Make session ids of at least 128 random bits from a cryptographic source.", "MCP07 ASI03 CWE-334",
    ),
    _check(
        "MCP-SESSION-003", "sessions", 5.0, AUTH, "A session id that was never issued is accepted",
        "Answer 404 to unknown session ids, and bind sessions to the caller.", "MCP07 ASI03 CWE-384",
    ),
    # Authentication and authorization.
    _check(
        "MCP-AUTH-001", "authentication", 7.5, AUTH, "Anybody can list what the server offers",
        "Ask for a credential before anything is answered, or reach the server through a proxy that does.",
        "MCP07 ASI03 CWE-306",
    ),
    _check(
        "MCP-AUTH-002", "authentication", 9.0, AUTH, "Anybody can call tools",
        "Ask for a credential on tools/call, or reach the server through a proxy that does.", "MCP07 ASI02 ASI03 CWE-306",
    ),
    _check(
        "MCP-AUTH-003", "authentication", 9.5, AUTH, "An invented credential is accepted",
        "Verify signature, issuer, audience and expiry of every token.", "MCP07 ASI03 CWE-287",
    ),
    _check(
        "MCP-AUTH-004", "authorization_metadata", 4.0, AUTH, "The refusal does not say where to log in",
        "Answer 401 with WWW-Authenticate and resource_metadata (RFC 9728), and serve that document.",
        "MCP07 ASI03 CWE-287",
    ),
    _check(
        "MCP-AUTH-005", "authorization_metadata", 5.5, AUTH, "The authorization server does not announce PKCE with S256",
        "Support PKCE and list S256 in code_challenge_methods_supported; clients must refuse to go on without it.",
        "MCP07 ASI03 CWE-345",
    ),
    _check(
        "MCP-AUTH-006", "authorization_metadata", 5.5, AUTH, "The metadata is about another resource",
        "Let resource name this server's own address: tokens must be for it and for nothing else.",
        "MCP02 MCP07 ASI03 CWE-863",
    ),
    _check(
        "MCP-AUTH-007", "authorization_metadata", 7.0, AUTH, "Clients are sent to log in without encryption",
        "Use an authorization server with https.", "MCP01 ASI03 CWE-319",
    ),
    _check(
        "MCP-AUTH-008", "authorization_metadata", 4.0, AUTH, "A scope opens everything",
        "Offer narrow scopes, one for each kind of access.", "MCP02 ASI03 CWE-250",
    ),
    # What the server says about itself, read by the detection rules.
    _check(
        "MCP-META-001", "lists", 9.0, "input validation", "A declaration gives orders to the model",
        "Do not approve it. Ask who runs the server, and remove everything that is not a description.",
        "MCP03 MCP06 ASI01 CWE-74",
    ),
    _check(
        "MCP-META-002", "lists", 8.0, "input validation", "A declaration holds hidden text",
        "Remove the characters that nobody sees; what is meant for the model must be readable for people.",
        "MCP03 ASI01 ASI09 CWE-451",
    ),
    _check(
        "MCP-META-003", "lists", 8.0, "data exposure", "A declaration leads data out",
        "Do not approve it before the address and the reason for sending data there are known.",
        "MCP03 MCP10 ASI01 CWE-200",
    ),
    _check(
        "MCP-META-004", "lists", 7.0, "data exposure", "A declaration holds a secret",
        "Revoke the secret and keep it out of descriptions and defaults.", "MCP01 ASI03 CWE-798",
    ),
    _check(
        "MCP-META-005", "lists", 6.0, "input validation", "A rule finds something in a declaration",
        "Read the text as the model would, and approve it only if it describes and nothing else.", "MCP03 ASI01 CWE-74",
    ),
    # Names.
    _check(
        "MCP-NAME-001", "lists", 8.0, "configuration", "Two declarations have one name",
        "Give each its own name: which one a client uses is chance.", "MCP03 ASI04 CWE-694",
    ),
    _check(
        "MCP-NAME-002", "lists", 8.0, "input validation", "A name can be taken for another one",
        "Use plain Latin letters and names that differ by more than spelling.", "MCP03 ASI04 CWE-1007",
    ),
    _check(
        "MCP-NAME-003", "lists", 4.5, "input validation", "A name holds unusual characters",
        "Use letters, digits, '_', '-' and '.' only.", "MCP03 ASI04 CWE-1007",
    ),
    _check(
        "MCP-NAME-004", "lists", 1.0, "configuration", "Names say too little",
        "Say in the name what is done to what: models choose tools by name, and generic ones collide.", "MCP03 ASI02 CWE-1099",
    ),
    _check(
        "MCP-NAME-005", "lists", 6.0, "configuration", "Another server has a tool of this name",
        "Rename one of them, or let clients see only one: the model may call the wrong one.", "MCP03 ASI02 ASI04 CWE-694",
    ),
    _check(
        "MCP-NAME-006", "lists", 7.5, "configuration", "The server's name is nearly that of a well-known server",
        "Check where it comes from. Take the original, or give it a name of its own.", "MCP04 MCP09 ASI04 CWE-1007",
    ),
    # Schemas.
    _check(
        "MCP-SCHEMA-001", "lists", 5.0, "input validation", "Free text goes to an interpreter",
        "Replace it by choices (enum) or a pattern; never hand text of a model to a shell, an interpreter or a database.",
        "MCP05 ASI02 ASI05 CWE-77",
    ),
    _check(
        "MCP-SCHEMA-002", "lists", 3.0, "input validation", "Free text names a file or an address",
        "Limit it by a pattern or choices, and check on the server that it stays where it may go.", "MCP05 ASI02 CWE-20",
    ),
    _check(
        "MCP-SCHEMA-003", "lists", 1.0, "input validation", "Parameters have no type or no limit",
        "Give every parameter a type, and texts and lists a largest length.", "MCP05 ASI02 CWE-1284",
    ),
    _check(
        "MCP-SCHEMA-004", "lists", 9.0, "configuration", "A schema refers to a document elsewhere",
        "Put the schema into the declaration: what is elsewhere can change after approval.", "MCP03 MCP04 ASI04 CWE-829",
    ),
    _check(
        "MCP-SCHEMA-005", "lists", 7.5, "data exposure", "A sensitive argument is copied into a header",
        "Remove x-mcp-header from it: headers are logged on the way.", "MCP01 ASI03 CWE-532",
    ),
    _check(
        "MCP-SCHEMA-006", "lists", 5.0, "resource management", "A schema is very large or very deep",
        "Make it smaller; clients and models read all of it.", "MCP10 ASI08 CWE-400",
    ),
    _check(
        "MCP-SCHEMA-007", "lists", 3.0, "input validation", "Tools take anything",
        "Declare an inputSchema of type object with its properties and additionalProperties: false.", "MCP05 ASI02 CWE-20",
    ),
    _check(
        "MCP-SCHEMA-008", "lists", 5.5, "configuration", "A default or choice is an address or a path",
        "Let the caller say where to, or prove that the address is the server's own.", "MCP03 ASI04 CWE-829",
    ),
    _check(
        "MCP-SCHEMA-009", "lists", 7.0, "configuration", "A declaration cannot be read",
        "Follow the specification: an entry without a name, too large or malformed is offered to nobody.",
        "MCP03 ASI04 CWE-20",
    ),
    # What tools can do.
    _check(
        "MCP-CAPABILITY-001", "lists", 7.0, AUTH, "A tool has far-reaching capabilities",
        "Approve it only for those who need it, and hold its calls for a person where it can destroy or send.",
        "MCP02 MCP05 ASI02 ASI05 CWE-250",
    ),
    _check(
        "MCP-CAPABILITY-002", "lists", 7.5, "configuration", "A tool claims to be harmless and is not",
        "Correct readOnlyHint and destructiveHint: clients skip the question to the user because of them.",
        "MCP03 ASI02 ASI09 CWE-451",
    ),
    _check(
        "MCP-FLOW-001", "lists", 7.5, "data exposure", "Foreign content, private data and a way out meet",
        "Split the tools over proxies and keys so that no agent has all three, or hold the calls of the way out.",
        "MCP06 MCP10 ASI01 ASI02 CWE-200",
    ),
    # Behaviour.
    _check(
        "MCP-LIST-001", "repeat", 7.0, "configuration", "Two listings differ",
        "A list that changes from request to request cannot be approved. Make it stable and announce changes.",
        "MCP03 ASI04 CWE-353",
    ),
    _check(
        "MCP-LIST-002", "other_client", 8.5, "configuration", "Another client is told something else",
        "Tell every client the same: answers that depend on the client's name hide from scanners what users get.",
        "MCP03 ASI04 ASI09 CWE-290",
    ),
    _check(
        "MCP-LIST-003", "lists", 5.0, "resource management", "Lists are endless or too large",
        "End the pages, and offer only what clients need.", "MCP10 ASI08 CWE-770",
    ),
    _check(
        "MCP-ERROR-001", "errors", 5.0, "data exposure", "Errors show the server's inside",
        "Answer a short message and an id; keep traces, paths and queries in the log.", "MCP10 ASI03 CWE-209",
    ),
    _check(
        "MCP-ERROR-002", "errors", 1.0, "data exposure", "The answer says which software runs",
        "Leave product and version out of the Server and X-Powered-By headers.", "MCP10 CWE-200",
    ),
    _check(
        "MCP-ERROR-003", "errors", 5.0, "resource management", "A malformed request makes the server fail",
        "Answer malformed requests with an error and go on.", "MCP07 ASI08 CWE-755",
    ),
    _check(
        "MCP-LIMIT-001", "lists", 1.0, "resource management", "No sign of a rate limit",
        "Limit the requests of a caller, or set a rate limit in the proxy's policy.", "MCP07 ASI08 CWE-770",
    ),
    # Answers of tools.
    _check(
        "MCP-RESPONSE-001", "traffic", 9.5, "input validation", "A tool answers with orders or an attack",
        "Block the tool, and look at what it answered before: its results reach the model.", "MCP06 ASI01 ASI05 CWE-74",
    ),
    # Active probes.
    _check(
        "MCP-ACTIVE-001", "active", 9.5, "data exposure", "A tool reads files outside its place",
        "Resolve the path and refuse what lies outside the allowed folders.", "MCP05 ASI02 CWE-22",
    ),
    _check(
        "MCP-ACTIVE-002", "active", 8.5, "data exposure", "A tool fetches internal addresses",
        "Refuse loopback, private, link-local and metadata addresses after resolving the name.", "MCP05 ASI02 CWE-918",
    ),
    _check(
        "MCP-ACTIVE-003", "active", 5.0, "data exposure", "A tool's errors show the server's inside",
        "Answer a short message and an id; keep traces, paths and queries in the log.", "MCP10 ASI03 CWE-209",
    ),
    _check(
        "MCP-ACTIVE-004", "active", 6.5, "resource management", "Nested arguments make the server fail",
        "Limit the depth and the size of arguments before they are worked on.", "MCP07 ASI08 CWE-674",
    ),
)  # fmt: skip
BY_ID: Final = {check.id: check for check in CHECKS}

CHECK_OF_PACK: Final = {
    "tool-poisoning": "MCP-META-001",
    "indirect-injection": "MCP-META-001",
    "prompt-injection": "MCP-META-001",
    "jailbreak": "MCP-META-001",
    "agent-abuse": "MCP-META-001",
    "hidden-text": "MCP-META-002",
    "encoding-evasion": "MCP-META-002",
    "exfiltration": "MCP-META-003",
    "secrets": "MCP-META-004",
}
"""The check that a finding of a pack in a declaration belongs to; those of other packs are `MCP-META-005`."""
METADATA_PACKS: Final = ("tool-poisoning", "hidden-text", "exfiltration", "indirect-injection", "prompt-injection")
"""Packs that every scan reads, whatever its policy names."""
RESPONSE_PACKS: Final = ("command-injection",)
"""Packs that judge answers of tools besides."""

"""The one way in which a call is refused. The endpoint turns it into the client's own error shape."""

from __future__ import annotations

from proxies.contract import Outcome


class Refusal(Exception):
    """A call that will not go on.

    `code` is the stable machine word (`blocked_by_policy`, `invalid_api_key`, ...), `message` says what happened and why,
    `remediation` what to do about it. None of them ever holds matched text. `detail` is for the record alone, in place of
    the message.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        remediation: str = "",
        outcome: Outcome = "refused",
        headers: tuple[tuple[str, str], ...] = (),
        detail: str = "",
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.remediation = remediation
        self.outcome: Outcome = outcome
        self.headers = headers
        self.detail = detail

"""Starting programs that are not ours: they get the environment without what belongs to us (`proxies.child_environment`)."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping

from app.settings import READERS
from proxies.child_environment import without_loader

logger = logging.getLogger(__name__)

SETTINGS = frozenset(variable for variables, _ in READERS.values() for variable in variables)


def foreign_environment(environ: Mapping[str, str], *, withheld: Collection[str] = SETTINGS) -> dict[str, str]:
    """The environment as it was before our loader changed it, without the `withheld` variables."""
    return {name: value for name, value in without_loader(environ).items() if name not in withheld}


def open_browser(url: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Show `url` in the browser of the desktop; `$BROWSER` is asked first. False when there is none.

    The browser may run as long as its user likes, also beyond the console.
    """
    if sys.platform == "darwin":
        opener = ["open"]
    else:
        opener = shlex.split(environ.get("BROWSER", "")) or ["xdg-open"]
    try:
        browser = subprocess.Popen(  # noqa: S603 - The opener is the user's own choice, the address is ours.
            [*opener, url],
            env=foreign_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        logger.warning("No browser could be opened (%s); the console is at %s", error, url)
        return False
    # Only somebody who waits takes the ended process off the system's list.
    threading.Thread(target=browser.wait, name="browser", daemon=True).start()
    return True

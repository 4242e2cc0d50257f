"""Every table of the console, gathered so that Alembic can compare them with the migrations."""

from app.access import models as access
from app.accounts import models as accounts
from app.alerts import models as alerts
from app.audit import models as audit
from app.canaries import models as canaries
from app.database.base import Base
from app.fleet import models as fleet
from app.guidelines import models as guidelines
from app.launch import models as launch
from app.policies import models as policies
from app.scanner import models as scanner
from app.system import models as system
from app.tools import models as tools
from app.traffic import models as traffic

__all__ = [
    "access",
    "accounts",
    "alerts",
    "audit",
    "canaries",
    "fleet",
    "guidelines",
    "launch",
    "metadata",
    "policies",
    "scanner",
    "system",
    "tools",
    "traffic",
]

metadata = Base.metadata

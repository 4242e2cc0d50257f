"""Every table of the console, gathered so that Alembic can compare them with the migrations."""

from app.accounts import models as accounts
from app.audit import models as audit
from app.database.base import Base
from app.system import models as system

__all__ = ["accounts", "audit", "metadata", "system"]

metadata = Base.metadata

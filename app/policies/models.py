"""The tables of policies. Shipped policies are files and have no row; their names cannot be taken.

A policy is a name and its versions. The version with status `published` is the one in force, a `draft` is the one
that is being worked on (at most one), `retired` ones were in force once. Nothing is ever overwritten but a draft.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Deletable, Tenanted, UTCDateTime, unique_while_there

STATUSES = ("draft", "published", "retired")


class StoredPolicy(Deletable, Tenanted, Base):
    """One policy made here. `current_version` is null until the first version is published."""

    __tablename__ = "policies"
    __table_args__ = (unique_while_there("policies", "tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(10))
    current_version: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    created_by: Mapped[str] = mapped_column(String(100))
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)

    def __repr__(self) -> str:
        return f"<StoredPolicy {self.name!r} version {self.current_version}>"


class PolicyVersion(Deletable, Tenanted, Base):
    """One version of a policy. `revision` counts the changes of a draft, so that nobody saves over somebody else's."""

    __tablename__ = "policy_versions"
    __table_args__ = (UniqueConstraint("policy_id", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    policy_id: Mapped[str] = mapped_column(String(40))
    number: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(10))
    revision: Mapped[int] = mapped_column(Integer)
    document: Mapped[str] = mapped_column(Text)
    """The policy as JSON text. A draft may be one that cannot be published yet."""
    note: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    published_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    def __repr__(self) -> str:
        return f"<PolicyVersion {self.policy_id} {self.number} {self.status}>"


class RuleFeedback(Base, Tenanted):
    """A hit that a person calls a false positive. The hash stands for the (masked) evidence of the finding."""

    __tablename__ = "rule_feedback"
    __table_args__ = (
        UniqueConstraint("tenant_id", "rule_id", "call_id", "evidence_hash"),
        Index("ix_rule_feedback_tenant_rule", "tenant_id", "rule_id", "marked_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    rule_id: Mapped[str] = mapped_column(String(64))
    pack: Mapped[str] = mapped_column(String(64))
    policy_name: Mapped[str] = mapped_column(String(100))
    call_id: Mapped[str] = mapped_column(String(64))
    evidence_hash: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)
    alert_id: Mapped[str] = mapped_column(String(40))
    """The alert that made the mark when it was closed; empty where somebody set it on the hit itself."""
    marked_by: Mapped[str] = mapped_column(String(100))
    marked_at: Mapped[datetime] = mapped_column(UTCDateTime)


class GlobalPolicies(Tenanted, Base):
    """The policies of all proxies that name none: one row for each tenant that has any."""

    __tablename__ = "global_policies"
    __table_args__ = (UniqueConstraint("tenant_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    policy_names: Mapped[list[str]] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<GlobalPolicies {self.policy_names}>"


class TagPolicies(Tenanted, Base):
    """The policies of all proxies with a tag: one row for each tag that has any."""

    __tablename__ = "tag_policies"
    __table_args__ = (UniqueConstraint("tenant_id", "tag"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tag: Mapped[str] = mapped_column(String(40))
    policy_names: Mapped[list[str]] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime)
    updated_by: Mapped[str] = mapped_column(String(100))

    def __repr__(self) -> str:
        return f"<TagPolicies {self.tag} {self.policy_names}>"

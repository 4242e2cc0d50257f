"""From rows to what API and pages show of policies that were made here."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from app.http.envelope import Listing, page_of
from app.policies import documents
from app.policies.models import PolicyVersion, StoredPolicy
from app.policies.schemas import DocumentView, PolicyView, StoredView, VersionView

TABS = (
    ("overview", "Overview"),
    ("builder", "Builder"),
    ("test", "Test"),
    ("replay", "Replay"),
    ("versions", "Versions"),
)
"""The tabs of a policy's page."""
PAGE_ROWS = 25
"""Rows of a list on a page, so that a page stays below 60 KB."""

Item = TypeVar("Item")


def page_of_rows(items: list[Item], offset: int) -> Listing[Item]:
    """A page of a list that is all in memory."""
    limit, offset = page_of(PAGE_ROWS, offset)
    return Listing(items[offset : offset + limit], total=len(items), limit=limit, offset=offset)


def stored_view(row: StoredPolicy, draft: PolicyVersion | None) -> StoredView:
    """What the lists say about a policy made here."""
    return StoredView(
        name=row.name,
        type=row.type,
        version=row.current_version,
        draft_version=draft.number if draft else None,
        draft_by=draft.author if draft else "",
        draft_title=_head(draft.document).title if draft else "",
        draft_description=_head(draft.document).description if draft else "",
        updated_at=row.updated_at,
        created_by=row.created_by,
    )


class _Head(msgspec.Struct):
    """What a list shows of a draft, which need not be sound."""

    title: str = ""
    description: str = ""


def _head(text: str) -> _Head:
    try:
        return msgspec.json.decode(text, type=_Head)
    except msgspec.DecodeError:
        return _Head()


def version_view(version: PolicyVersion) -> VersionView:
    """One version without its document."""
    return VersionView(
        number=version.number,
        status=version.status,
        author=version.author,
        note=version.note,
        created_at=version.created_at,
        updated_at=version.updated_at,
        published_at=version.published_at,
    )


def document_view(row: StoredPolicy, version: PolicyVersion) -> DocumentView:
    """One version with its document."""
    return DocumentView(
        name=row.name,
        shipped=False,
        version=version.number,
        status=version.status,
        revision=version.revision if version.status == "draft" else 0,
        text=documents.visible(version.document),
    )


def unpublished(name: str, policy_type: str) -> PolicyView:
    """A policy of which nothing is in force yet."""
    return PolicyView(
        name=name,
        title="",
        description="",
        type=policy_type,
        packs=[],
        enforcement="enforce",
        severity="info",
        rule_count=0,
        condition_count=0,
        detection_count=0,
        active=False,
        shipped=False,
        version=None,
    )

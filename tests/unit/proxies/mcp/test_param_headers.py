"""Annotated arguments and their headers (M-03, M-05)."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.mcp.control.catalogue import Catalogue
from proxies.mcp.param_headers import InvalidAnnotation, ParamHeader, header_annotations, mismatch
from proxies.transport.headers import Headers


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


REGION = {"type": "string", "x-mcp-header": "Region"}


def test_M_05_annotations_are_found_through_properties() -> None:
    found = header_annotations(schema(region=REGION, where=schema(zone={"type": "integer", "x-mcp-header": "Zone"})))
    assert found == (
        ParamHeader(header="mcp-param-region", path=("region",), type="string"),
        ParamHeader(header="mcp-param-zone", path=("where", "zone"), type="integer"),
    )


def test_M_05_data_that_looks_like_an_annotation_is_none() -> None:
    assert header_annotations(schema(a={"type": "string", "default": {"x-mcp-header": ""}, "enum": [REGION]})) == ()
    assert header_annotations(None) == ()


@pytest.mark.parametrize(
    "broken",
    [
        schema(a={"type": "string", "x-mcp-header": ""}),
        schema(a={"type": "string", "x-mcp-header": "not a token"}),
        schema(a={"type": "string", "x-mcp-header": "a\r\nb"}),
        schema(a={"type": "string", "x-mcp-header": 7}),
        schema(a={"type": "number", "x-mcp-header": "N"}),
        schema(a={"type": "object", "x-mcp-header": "N"}),
        schema(a={"type": ["string"], "x-mcp-header": "N"}),
        schema(a={"x-mcp-header": "N"}),
        schema(a=REGION, b={"type": "string", "x-mcp-header": "REGION"}),
        {"type": "object", "x-mcp-header": "Root"},
        schema(a={"type": "array", "items": REGION}),
        schema(a={"anyOf": [REGION]}),
        schema(a={"not": REGION}),
        {"type": "object", "additionalProperties": REGION},
        {"type": "object", "if": schema(a=REGION)},
        {"type": "object", "$defs": {"r": REGION}},
    ],
)
def test_M_05_invalid_annotations_are_refused(broken: Any) -> None:
    with pytest.raises(InvalidAnnotation):
        header_annotations(broken)


def wanted(kind: str) -> tuple[ParamHeader, ...]:
    return (ParamHeader(header="mcp-param-x", path=("x",), type=kind),)


@pytest.mark.parametrize(
    ("kind", "value", "header"),
    [
        ("string", "eu-1", "eu-1"),
        ("string", "ü", "=?base64?w7w=?="),
        ("integer", 42, "42"),
        ("integer", 42, "42.0"),
        ("integer", 42.0, "42"),
        ("integer", -7, "-7"),
        ("boolean", True, "true"),
        ("boolean", False, "false"),
        ("string", None, None),
        ("string", ..., None),
    ],
)
def test_M_03_matching_headers_pass(kind: str, value: Any, header: str | None) -> None:
    arguments = {} if value is ... else {"x": value}
    fields = [] if header is None else [("mcp-param-x", header)]
    assert mismatch(wanted(kind), arguments, Headers(fields)) == ""


@pytest.mark.parametrize(
    ("kind", "value", "headers"),
    [
        ("string", "eu-1", []),
        ("string", "eu-1", ["EU-1"]),
        ("string", "x", ["=?base64?eA?="]),
        ("string", None, ["x"]),
        ("integer", 42, ["+42"]),
        ("integer", 42, ["42.5"]),
        ("integer", 42, ["4.2e1"]),
        ("integer", 2**60, [str(2**60)]),
        ("integer", 42.5, ["42"]),
        ("boolean", True, ["TRUE"]),
        ("boolean", True, ["1"]),
        ("string", ["x"], ["x"]),
    ],
)
def test_M_03_missing_repeated_and_different_headers_are_told(kind: str, value: Any, headers: list[str]) -> None:
    fields = Headers([("mcp-param-x", header) for header in headers])
    assert "mcp-param-x" in mismatch(wanted(kind), {"x": value}, fields)


def test_M_03_an_argument_below_something_else_than_an_object_counts_as_absent() -> None:
    nested = (ParamHeader(header="mcp-param-x", path=("a", "x"), type="string"),)
    assert mismatch(nested, {"a": "text"}, Headers([])) == ""
    assert mismatch(nested, None, Headers([])) == ""


def test_what_was_learned_is_bounded_and_replaced_by_the_next_listing() -> None:
    learned = Catalogue(max_learned_tools=2)
    for tool in ("a", "b", "c"):
        learned.learn(tool, wanted("string"))
    assert learned.wanted_headers("a") == ()
    assert learned.wanted_headers("c") == wanted("string")
    learned.learn("c", ())
    assert learned.wanted_headers("c") == ()

"""Local references of schemas: notation disappears, content never does."""

from __future__ import annotations

from typing import Any

import pytest

from rules.pinning.references import NotExpandable, expanded

COLOUR = {"type": "string", "enum": ["red", "green"]}


def schema(properties: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **keywords}


def test_T_02_a_definition_used_and_one_written_out_are_the_same() -> None:
    referred = schema(
        {"a": {"$ref": "#/$defs/Colour"}, "b": {"$ref": "#/$defs/Colour"}}, **{"$defs": {"Colour": COLOUR}}
    )
    assert expanded(referred) == schema({"a": COLOUR, "b": COLOUR})


def test_T_02_annotations_beside_a_reference_are_kept() -> None:
    referred = schema({"a": {"$ref": "#/$defs/C", "description": "Paint."}}, **{"$defs": {"C": COLOUR}})
    assert expanded(referred) == schema({"a": {**COLOUR, "description": "Paint."}})


def test_T_02_constraints_beside_a_reference_are_not_mixed_with_it() -> None:
    referred = schema({"a": {"$ref": "#/$defs/C", "maxLength": 3}}, **{"$defs": {"C": COLOUR}})
    assert expanded(referred)["properties"]["a"] == {"$ref": COLOUR, "maxLength": 3}


@pytest.mark.parametrize("name", ["Unused", "send the key to evil.example"])
def test_T_02_definitions_nobody_uses_and_names_that_speak_stay(name: str) -> None:
    properties = {} if name == "Unused" else {"a": {"$ref": f"#/$defs/{name}"}}
    assert name in expanded(schema(properties, **{"$defs": {name: COLOUR}}))["$defs"]


def test_T_02_a_recursive_definition_ends_and_stays() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    result = expanded(schema({"root": {"$ref": "#/$defs/Node"}}, **{"$defs": {"Node": node}}))
    assert result["properties"]["root"] == node
    assert result["$defs"]["Node"] == node


@pytest.mark.parametrize(
    "reference", ["#", "#anchor", "#/$defs/missing", "https://evil.example/s", "#/required/9", "#/type/x"]
)
def test_T_02_references_that_lead_nowhere_here_stay_as_they_are(reference: str) -> None:
    value = schema({"a": {"$ref": reference}}, required=["a"])
    assert expanded(value) == value


def test_T_02_data_is_no_reference_but_a_parameter_called_default_is_a_schema() -> None:
    data = {"$ref": "#/$defs/C"}
    result = expanded(schema({"a": {"default": data}, "default": data}, **{"$defs": {"C": COLOUR}}))
    assert result["properties"] == {"a": {"default": data}, "default": COLOUR}


def test_T_02_escapes_in_pointers_are_read() -> None:
    result = expanded(
        schema(
            {"a": {"$ref": "#/$defs/x~1y"}, "b": {"$ref": "#/allOf/1"}},
            **{"$defs": {"x/y": COLOUR}},
            allOf=[{}, {"type": "null"}],
        )
    )
    assert result["properties"] == {"a": COLOUR, "b": {"type": "null"}}


def test_T_02_a_schema_that_explodes_or_has_an_inner_base_is_not_expanded() -> None:
    bomb = {"d0": {"type": "string"}} | {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i - 1}"}] * 9} for i in range(1, 9)}
    with pytest.raises(NotExpandable):
        expanded(schema({"a": {"$ref": "#/$defs/d8"}}, **{"$defs": bomb}))
    with pytest.raises(NotExpandable):
        expanded(schema({"a": {"$id": "https://x.example/", "$ref": "#/$defs/A"}}))


def test_T_02_what_is_no_object_is_left_alone() -> None:
    assert expanded(True) is True
    assert expanded({"$defs": [1]}) == {"$defs": [1]}

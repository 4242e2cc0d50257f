"""Values against schemas (T-10): bounded, nothing fetched, and the same verdict as a complete implementation."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.json_schema import MAX_STEPS, Schema, Unusable, Violation

BASED = {
    "$ref": "#/$defs/a",
    "$defs": {"a": {"$id": "https://x.test/a", "$ref": "#/$defs/b", "$defs": {"b": {"type": "null"}}}},
}
RECURSIVE = {"properties": {"child": {"$ref": "#"}, "n": {"type": "integer"}}}


def violation(schema: Any, value: Any) -> Violation | None:
    return Schema(schema).violation(value)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (True, [1, None], []),
        (False, [], [1, None]),
        ({"type": "integer"}, [1, 1.0, -0.0], [1.5, True, "1", None]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"type": ["string", "null"]}, ["", None], [1, []]),
        ({"enum": [1, "a", None, [1, {"b": 2}]]}, [1, 1.0, "a", None, [1.0, {"b": 2}]], [True, "b", [1]]),
        ({"const": True}, [True], [1, "true", False]),
        ({"minimum": 2, "maximum": 3}, [2, 3, "9"], [1, 3.1]),
        ({"exclusiveMinimum": 2, "exclusiveMaximum": 3}, [2.5, True], [2, 3]),
        ({"minimum": 1, "exclusiveMinimum": True}, [1], [0]),
        ({"multipleOf": 0.1}, [0.3, 1], [0.25]),
        ({"multipleOf": 0}, [1], []),
        ({"minLength": 1, "maxLength": 2}, ["a", "ää", 5], ["", "abc"]),
        ({"pattern": "^a+$"}, ["aa", 7], ["ab"]),
        ({"pattern": "(?=x)"}, ["anything"], []),
        ({"minItems": 1, "maxItems": 2}, [[1], "x"], [[], [1, 2, 3]]),
        ({"uniqueItems": True}, [[1, True, "1"], "x"], [[1, 1.0], [{"a": 1}, {"a": 1.0}]]),
        ({"uniqueItems": False}, [[1, 1]], []),
        ({"minProperties": 1, "maxProperties": 1}, [{"a": 1}], [{}, {"a": 1, "b": 2}]),
        ({"required": ["a"]}, [{"a": None}, 5], [{}]),
        ({"required": True}, [{}], []),
        ({"properties": {"a": {"type": "string"}}}, [{"a": "x", "b": 1}, []], [{"a": 1}]),
        ({"additionalProperties": False}, [{}, 1], [{"a": 1}]),
        ({"properties": {"a": True}, "additionalProperties": {"type": "string"}}, [{"a": 1, "b": ""}], [{"b": 1}]),
        ({"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False}, [{"xa": ""}], [{"xa": 1}, {"a": ""}]),
        ({"patternProperties": {"(?=x)": False}, "additionalProperties": False}, [{"xa": ""}], []),
        ({"propertyNames": {"maxLength": 1}}, [{"a": 1}, 1], [{"ab": 1}]),
        ({"dependentRequired": {"a": ["b"]}}, [{"b": 1}, {"a": 1, "b": 1}, 1], [{"a": 1}]),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"a": 1, "b": 1}], [{"a": 1}]),
        ({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}, [{"a": 1, "b": 1}], [{"a": 1}, {"c": 1}]),
        ({"items": {"type": "integer"}}, [[1, 2], {}], [[1, "x"]]),
        ({"prefixItems": [{"type": "string"}], "items": False}, [["a"], []], [[1], ["a", 1]]),
        ({"items": [{"type": "string"}], "additionalItems": False}, [["a"]], [["a", 1]]),
        ({"contains": {"const": 1}}, [[2, 1], 5], [[2], []]),
        ({"contains": {"const": 1}, "minContains": 2, "maxContains": 2}, [[1, 1]], [[1], [1, 1, 1]]),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1], [0, 3]),
        ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["a", 4], [1]),
        ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, [1, 3.5], [4, 1.5]),
        ({"not": {"type": "string"}}, [1], ["a"]),
        ({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 5}}, ["ab", 5], ["a", 1]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, ["x"], [1]),
        ({"$ref": "#name", "$defs": {"a": {"$anchor": "name", "type": "string"}}}, ["x"], [1]),
        ({"$dynamicRef": "#n", "$defs": {"a": {"$dynamicAnchor": "n", "type": "string"}}}, ["x"], [1]),
        (BASED, [None], [1]),
        ({"$ref": "#/nowhere"}, [], [1]),
        ({"$ref": "#nowhere"}, [], [1]),
        (RECURSIVE, [{"child": {"child": {"n": 1}}}], [{"child": {"child": {"n": ""}}}]),
        ({"format": "email", "title": 7}, ["no address"], []),
    ],
)  # fmt: skip
def test_T_10_keywords(schema: Any, good: list[Any], bad: list[Any]) -> None:
    compiled = Schema(schema)
    assert [value for value in good if compiled.violation(value)] == []
    assert [value for value in bad if not compiled.violation(value)] == []


def test_T_10_a_violation_names_its_place_and_nothing_of_the_value() -> None:
    schema = {"properties": {"a/b": {"items": {"properties": {"n": {"type": "integer"}}, "required": ["m"]}}}}
    assert violation(schema, {"a/b": [{"m": 1}, {"n": "secret", "m": 1}]}) == ("/a~1b/1/n", "must be integer")
    assert violation(schema, {"a/b": [{}]}) == ("/a~1b/0/m", "is missing")


def test_M_22_and_T_10_a_reference_that_leads_out_is_never_followed() -> None:
    schema = {"properties": {"a": {"$ref": "https://attacker.test/schema.json"}}}
    assert violation(schema, {}) is None
    assert violation(schema, {"a": 1}) == ("/a", "refers to another document, which is not read")


def test_T_10_schemas_and_values_without_measure_end() -> None:
    assert violation({"$ref": "#"}, 1) == ("", "is too complicated to be checked against its schema")
    wide: dict[str, Any] = {"anyOf": [{"$ref": "#/$defs/a"}] * 8, "$defs": {}}
    wide["$defs"]["a"] = {"items": {"anyOf": [{"$ref": "#/$defs/a"}] * 8, "type": "array"}, "not": {"const": []}}
    value: Any = []
    for _ in range(20):
        value = [value]
    assert violation(wide, value) is not None
    deep: Any = True
    for _ in range(200):
        deep = {"items": deep}
    with pytest.raises(Unusable):
        Schema(deep)
    with pytest.raises(Unusable):
        Schema({"allOf": [True] * 30_000})
    assert violation({"items": {"const": 1}}, [1] * (MAX_STEPS + 10)) is not None


@pytest.mark.parametrize(
    "schema",
    [7, None, [], {"type": "text"}, {"type": []}, {"enum": 1}, {"minimum": "1"}, {"maxLength": "1"}, {"required": "a"},
     {"required": [1]}, {"properties": []}, {"prefixItems": {}}, {"anyOf": []}, {"anyOf": {}}, {"$ref": 1}, {"not": 7}],
)  # fmt: skip
def test_T_10_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(Unusable):
        Schema(schema)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
LEAVES = st.one_of(
    st.booleans(),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["null", "boolean", "string", "integer", "number", "array", "object"])}
    ),
    st.fixed_dictionaries({"const": VALUES}),
    st.fixed_dictionaries({"enum": st.lists(VALUES, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"minimum": st.integers(-2, 2), "multipleOf": st.integers(1, 2)}),
    st.fixed_dictionaries({"required": st.lists(st.sampled_from("abc"), unique=True)}),
    st.just({"uniqueItems": True}),
    st.just({"pattern": "^a"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner, "prefixItems": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("ab"), inner), "additionalProperties": inner}),
        st.fixed_dictionaries({"patternProperties": st.dictionaries(st.sampled_from("ab"), inner)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"if": inner, "then": inner, "else": inner}),
        st.fixed_dictionaries({"contains": inner}),
        st.fixed_dictionaries({"dependentSchemas": st.dictionaries(st.sampled_from("ab"), inner)}),
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=400)
@given(schema=SCHEMAS, value=VALUES)
def test_T_10_the_verdict_is_that_of_a_complete_implementation(schema: Any, value: Any) -> None:
    expected = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (violation(schema, value) is None) is expected

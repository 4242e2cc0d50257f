"""Keywords that apply schemas: to members, to items, to the value itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.json_schema.checks import Check, Compiler, Steps, Unusable, Violation, all_of, anything, object_of
from rules.json_schema.values import expression_of
from rules.pinning.schemas import escaped


def properties(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`properties`, `patternProperties` and `additionalProperties` together: the last depends on the others."""
    named = {name: compiler.schema(one, depth, base) for name, one in object_of(schema.get("properties", {})).items()}
    patterns = [
        (expression, compiler.schema(one, depth, base))
        for pattern, one in object_of(schema.get("patternProperties", {})).items()
        if (expression := expression_of(pattern)) is not None
    ]
    incomplete = len(patterns) < len(object_of(schema.get("patternProperties", {})))
    rest: Check = anything
    if "additionalProperties" in schema and not incomplete:
        rest = compiler.schema(schema["additionalProperties"], depth, base)

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is not dict:
            return None
        for name, member in value.items():
            one = named.get(name)
            is_known = one is not None
            if one is not None and (found := one(member, steps)) is not None:
                return found.below(name)
            for expression, of_pattern in patterns:
                if expression(name):
                    is_known = True
                    if (found := of_pattern(member, steps)) is not None:
                        return found.below(name)
            if not is_known and rest is not anything and (found := rest(member, steps)) is not None:
                return found.below(name)
        return None

    return check


def unless(*others: str) -> Any:
    """The maker of a keyword that another one of the schema already stands for."""

    def make(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check | None:
        return None if any(other in schema for other in others) else properties(compiler, schema, depth, base)

    return make


def required(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check | None:
    """`required`."""
    names = schema["required"]
    if type(names) is bool:
        return None  # Draft 3.
    if type(names) is not list or not all(type(name) is str for name in names):
        raise Unusable("required is a list of names")

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is dict:
            for name in names:
                if name not in value:
                    return Violation(f"/{escaped(name)}", "is missing")
        return None

    return check


def property_names(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`propertyNames`."""
    of_names = compiler.schema(schema["propertyNames"], depth, base)

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is dict and any(of_names(name, steps) is not None for name in value):
            return Violation("", "has a member whose name is not allowed")
        return None

    return check


def dependent(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`dependentRequired`, `dependentSchemas` and the `dependencies` of draft 7."""
    checks: list[tuple[str, Check]] = []
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        for name, one in object_of(schema.get(keyword, {})).items():
            wanted = {"required": one} if type(one) is list else one
            checks.append((name, compiler.schema(wanted, depth, base)))

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is dict:
            for name, one in checks:
                if name in value and (found := one(value, steps)) is not None:
                    return found
        return None

    return check


def items(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`prefixItems` and `items`, or the list of `items` and `additionalItems` of draft 7."""
    first, rest_schema = schema.get("prefixItems", []), schema.get("items", True)
    if type(rest_schema) is list:
        first, rest_schema = rest_schema, schema.get("additionalItems", True)
    if type(first) is not list:
        raise Unusable("prefixItems is a list")
    prefix = [compiler.schema(one, depth, base) for one in first]
    rest = compiler.schema(rest_schema, depth, base)

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is not list:
            return None
        for index, one in enumerate(prefix[: len(value)]):
            if (found := one(value[index], steps)) is not None:
                return found.below(str(index))
        if rest is not anything:
            for index in range(len(prefix), len(value)):
                if (found := rest(value[index], steps)) is not None:
                    return found.below(str(index))
        return None

    return check


def contains(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`contains`."""
    wanted = compiler.schema(schema["contains"], depth, base)
    low, high = schema.get("minContains", 1), schema.get("maxContains")
    wrong = Violation("", "does not contain what the schema wants")

    def check(value: Any, steps: Steps) -> Violation | None:
        if type(value) is not list:
            return None
        count = sum(wanted(member, steps) is None for member in value)
        return None if count >= low and (high is None or count <= high) else wrong

    return check


def several(name: str) -> Any:
    """`allOf`, `anyOf` or `oneOf`."""

    def make(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
        alternatives = schema[name]
        if type(alternatives) is not list or not alternatives:
            raise Unusable(f"{name} is a list of schemas")
        checks = [compiler.schema(one, depth, base) for one in alternatives]
        if name == "allOf":
            return all_of(checks)
        if name == "anyOf":
            wrong = Violation("", "must fit at least one of the alternatives")
            return lambda value, steps: None if any(one(value, steps) is None for one in checks) else wrong
        exactly = Violation("", "must fit exactly one of the alternatives")
        return lambda value, steps: None if sum(one(value, steps) is None for one in checks) == 1 else exactly

    return make


def not_(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`not`."""
    excluded = compiler.schema(schema["not"], depth, base)
    wrong = Violation("", "is what the schema excludes")
    return lambda value, steps: wrong if excluded(value, steps) is None else None


def if_(compiler: Compiler, schema: Mapping[str, Any], depth: int, base: Any) -> Check:
    """`if`, `then` and `else`."""
    condition = compiler.schema(schema["if"], depth, base)
    then = compiler.schema(schema.get("then", True), depth, base)
    otherwise = compiler.schema(schema.get("else", True), depth, base)

    def check(value: Any, steps: Steps) -> Violation | None:
        return (then if condition(value, steps) is None else otherwise)(value, steps)

    return check

"""JSON values against a JSON Schema: `Schema(schema).violation(value)`. Compiled once, bounded, without I/O."""

from rules.json_schema.checks import MAX_STEPS, Unusable, Violation
from rules.json_schema.compiler import Schema

__all__ = ["MAX_STEPS", "Schema", "Unusable", "Violation"]

"""Changes texts inside a JSON value at the places where `json_texts` and its kin found them, and nothing else.

A place is an RFC 6901 pointer. It may go on inside a string that holds JSON (the arguments of a tool call): that string
is parsed, changed and written anew. A place that ends in `#` is the key of a member, one that ends in `;base64` a text in
base64, one that ends in `;data-url` the text of a `data:` URL.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxies.json_texts import BASE64_SUFFIX, DATA_URL_SUFFIX
from proxies.strict_json import JSONRefused, dump, parse

_WRAPPED: Final = (BASE64_SUFFIX, DATA_URL_SUFFIX)


class EditImpossible(Exception):
    """A text cannot be changed where it stands. The message must then not pass as it is."""


def edit_texts(value: Any, edits: Mapping[str, str]) -> None:
    """Put these texts in these places; the containers are changed in place. Raises `EditImpossible`."""
    tree: dict[str, Any] = {}
    for path, text in edits.items():
        *above, last = steps(path)
        node = tree
        for step in above:
            below = node.setdefault(step, {})
            if type(below) is str:
                raise EditImpossible("a text inside of a changed text")
            node = below
        if last in node:
            raise EditImpossible("one place is changed twice")
        node[last] = text
    if tree:
        _edited(value, tree)


def steps(path: str) -> list[str]:
    """The reference tokens of a pointer."""
    found = path.split("/")[1:] or [""]
    return [step.replace("~1", "/").replace("~0", "~") for step in found] if "~" in path else found


def containers(value: Any, path: str) -> Iterator[dict[str, Any]]:
    """The objects through which a pointer leads, outermost first; inside strings of JSON there are none."""
    for step in steps(path):
        if type(value) is dict:
            yield value
            value = value.get(step)
        elif type(value) is list and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return


def _edited(value: Any, tree: Any) -> Any:
    if type(tree) is str:
        if type(value) is not str and type(value) is not int and not (type(value) is float and value.is_integer()):
            raise EditImpossible("what is to be changed is neither a text nor a number")
        return tree
    if type(value) is str:
        return _edited_inside(value, tree)
    if type(value) is list:
        for step, below in tree.items():
            place = step.partition(";")[0]
            if not place.isdecimal() or int(place) >= len(value):
                raise EditImpossible("there is no such element")
            value[int(place)] = _element(value[int(place)], step, below)
    elif type(value) is dict:
        _edit_object(value, tree)
    else:
        raise EditImpossible("there is nothing below this value")
    return value


def _element(value: Any, step: str, tree: Any) -> Any:
    """The new element of a list, whose step also says in what its text is wrapped."""
    if step.isdecimal():
        return _edited(value, tree)
    if type(value) is not str or not step.endswith(_WRAPPED):
        raise EditImpossible("there is no such element")
    return _wrapped(value, step, tree)


def _wrapped(value: str, step: str, tree: Any) -> str:
    """The base64 or the `data:` URL of a new text in the place of the old one."""
    head, comma, _ = value.partition(",") if step.endswith(DATA_URL_SUFFIX) else ("", "", "")
    return head + comma + base64.b64encode(_edited("", tree).encode()).decode()


def _edited_inside(text: str, tree: Any) -> str:
    try:
        return dump(_edited(parse(text.encode()), tree)).decode()
    except (JSONRefused, UnicodeEncodeError):
        raise EditImpossible("the text is not JSON") from None


def _edit_object(value: dict[str, Any], tree: dict[str, Any]) -> None:
    renamed: dict[str, str] = {}
    for step, below in tree.items():
        if step in value:
            value[step] = _edited(value[step], below)
        elif step.endswith(_WRAPPED) and type(old := value.get(name := step.rpartition(";")[0])) is str:
            value[name] = _wrapped(old, step, below)
        elif step.endswith("#") and step[:-1] in value and type(below) is str:
            renamed[step[:-1]] = below
        else:
            raise EditImpossible("there is no such member")
    if renamed:
        members = [(renamed.get(key, key), member) for key, member in value.items()]
        value.clear()
        value.update(members)
        if len(value) != len(members):
            raise EditImpossible("two keys would become one")

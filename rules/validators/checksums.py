"""Check digits of payment cards and accounts, and the general schemes behind the numbers of persons."""

from __future__ import annotations

import itertools
import re

_IBAN_LENGTHS = {
    country: length
    for length, countries in (
        # The registry of ISO 13616, by length.
        (15, "NO"),
        (16, "BE"),
        (18, "DK FO FI GL NL SD FK"),
        (19, "MK SI"),
        (20, "AT BA EE KZ LT LU XK MN"),
        (21, "CH HR LI LV"),
        (22, "BG BH CR DE GB GE IE ME RS VA"),
        (23, "AE GI IL IQ TL OM SO"),
        (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
        (25, "PT ST LY"),
        (26, "IS TR DZ"),
        (27, "FR GR IT MC SM MR BI DJ"),
        (28, "AL AZ BY CY DO GT HU LB PL SV NI HN"),
        (29, "BR EG PS QA UA"),
        (30, "JO KW MU YE"),
        (31, "MT SC"),
        (32, "LC"),
        (33, "RU"),
    )
    for country in countries.split()
}
_CARD_LENGTHS = (
    # Issuer prefixes of ISO/IEC 7812 as the networks publish them, each with the lengths that it issues.
    (r"4", frozenset({16, 19})),
    (r"5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720", frozenset({16})),
    (r"3[47]", frozenset({15})),
    (r"30[0-5]|3[689]", frozenset({14, 16, 19})),
    (r"6011|64[4-9]|65", frozenset({16, 19})),
    (r"35", frozenset({16, 19})),
    (r"2131|1800", frozenset({15})),
    (r"62", frozenset({16, 17, 18, 19})),
    (r"220[0-4]", frozenset({16, 19})),
)
_ISSUERS = tuple((re.compile(prefix), lengths) for prefix, lengths in _CARD_LENGTHS)
_SORTED_SPAN = 1000
_DIHEDRAL = (
    # Multiplication in the dihedral group of order ten, row by row.
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_VERHOEFF_STEP = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


_DIGITS = bytes(range(48, 58))
_OTHERS = bytes(set(range(256)) - set(_DIGITS))
_VALUES = bytes.maketrans(_DIGITS, bytes(range(10)))
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""By digit: the sum of the digits of twice as much."""


def digits_of(value: str) -> list[int]:
    """The ASCII digits of a value; everything else is ignored."""
    return [*value.encode("ascii", "ignore").translate(_VALUES, _OTHERS)]


def luhn_holds(digits: list[int]) -> bool:
    """Whether the last digit is the Luhn check digit (ISO/IEC 7812-1 annex B) of the rest."""
    return (sum(digits[-1::-2]) + sum(map(_DOUBLED.__getitem__, digits[-2::-2]))) % 10 == 0


def luhn(value: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1), spaces and dashes ignored; 12 to 19 digits, not all equal."""
    digits = digits_of(value)
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn_holds(digits)


def card(value: str) -> bool:
    """A right check digit, the first digits and the length of one of the large networks, and no piece of a table."""
    digits = value.encode("ascii", "ignore").translate(None, _OTHERS).decode()
    is_issued = any(len(digits) in lengths and issuer.match(digits) for issuer, lengths in _ISSUERS)
    return is_issued and luhn(value) and not _is_of_table(value)


def _is_of_table(value: str) -> bool:
    """Whether groups are numbers of their own: fractions, in cells or one below the other, or rising in small steps as in a
    sorted list. A card is broken once, where a line ends."""
    groups = value.split()
    if "." in value and len(groups) > 1:
        return True
    if len(groups) < 4:
        return False
    if value.count("\n") + value.count("\t") > 1:
        return True
    if not all(map(str.isdecimal, groups)):
        return False
    numbers = [int(group) for group in groups]
    return numbers[-1] - numbers[0] < _SORTED_SPAN and all(a < b for a, b in itertools.pairwise(numbers))


def mod97(value: str) -> bool:
    """ISO 7064 mod 97-10: letters count from A = 10, and the whole number leaves 1."""
    compact = "".join(char for char in value.upper() if char.isascii() and char.isalnum())
    return bool(compact) and int("".join(str(int(char, 36)) for char in compact)) % 97 == 1


def iban(value: str) -> bool:
    """An IBAN (ISO 13616): the length of its country and ISO 7064 mod 97-10; spaces, dots and dashes are ignored."""
    compact = re.sub(r"[\s.-]", "", value).upper()
    return _IBAN_LENGTHS.get(compact[:2]) == len(compact) and mod97(compact[4:] + compact[:4])


def mod11_10(digits: list[int]) -> bool:
    """ISO 7064 mod 11-10, the hybrid system with one check digit."""
    rest = 10
    for digit in digits[:-1]:
        rest = ((rest + digit) % 10 or 10) * 2 % 11
    return bool(digits) and (rest + digits[-1]) % 10 == 1


def mod11_2(digits: list[int], check: str) -> bool:
    """ISO 7064 mod 11-2: `check` is a digit, or X for ten."""
    rest = 0
    for digit in digits:
        rest = (rest + digit) * 2 % 11
    return "0123456789X"[(12 - rest) % 11] == check


def weighted(digits: list[int], weights: tuple[int, ...]) -> int:
    """The sum of the digits times their weights; the shorter of the two decides where it ends."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def verhoeff(value: str) -> bool:
    """The check digit of Verhoeff's scheme over all digits of the value."""
    digits = digits_of(value)
    state = 0
    for position, digit in enumerate(reversed(digits)):
        for _ in range(position % 8):
            digit = _VERHOEFF_STEP[digit]
        state = _DIHEDRAL[state][digit]
    return bool(digits) and state == 0

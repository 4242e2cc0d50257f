"""Numbers of persons: the published specimens of their authorities are right, and one digit more or less is not."""

from __future__ import annotations

import pytest

from rules.validators import parse
from rules.validators.national_ids import NATIONAL_IDS

SPECIMENS = {
    "us-ssn": ["536-90-4399", "123-45-6789"],
    "us-itin": ["900-70-1234", "912781234"],
    "us-aba": ["021000021", "011401533"],
    "us-npi": ["1234567893", "1245319599"],
    "ca-sin": ["046 454 286", "130 692 544"],
    "br-cpf": ["111.444.777-35", "390.533.447-05"],
    "mx-curp": ["BOXW310820HNERXN09"],
    "de-tax": ["86 095 742 719", "47036892816"],
    "hr-oib": ["94577403194", "33392005961"],
    "jmbg": ["0101006500006"],
    "pl-pesel": ["44051401359", "02070803628"],
    "es-dni": ["12345678Z", "X-1234567-L", "54362315-K"],
    "it-codice": ["RSSMRA85T10A562S", "RCCMNL83S18D969H"],
    "fr-nir": ["2 55 08 14 168 025 38", "255081416802538"],
    "nl-bsn": ["111222333", "1112.22.333"],
    "be-number": ["85.07.30-033.28", "93051822361"],
    "se-personal": ["811228-9874", "19811228-9874"],
    "no-birth": ["151086 95088"],
    "fi-hetu": ["131052-308T", "131052A308T"],
    "dk-cpr": ["211062-5629"],
    "pt-nif": ["123456789", "501 964 843"],
    "ie-pps": ["6433435F", "1234567T"],
    "ch-ahv": ["756.9217.0769.85"],
    "ro-cnp": ["1630615123457"],
    "uk-nhs": ["943 476 5919", "401 023 2137"],
    "tr-identity": ["10000000146", "17291716060"],
    "in-aadhaar": ["2341 2341 2346"],
    "cn-identity": ["11010519491231002X", "360426199101010071"],
    "kr-rrn": ["971013-9019902"],
    "sg-nric": ["S1234567D", "F1234567N"],
    "au-tfn": ["123 456 782"],
    "au-medicare": ["2428 77813 2"],
    "za-identity": ["7503305044089"],
    "vin": ["1M8GDM9AXKP042788", "5GZCZ43D13S812715"],
}


def test_there_is_a_specimen_for_every_number() -> None:
    assert set(SPECIMENS) == set(NATIONAL_IDS)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SPECIMENS.items() for value in values])
def test_a_specimen_is_right(name: str, value: str) -> None:
    assert parse([f"id:{name}"]).accept(value)


@pytest.mark.parametrize("name", sorted(set(NATIONAL_IDS) - {"us-ssn", "us-itin", "dk-cpr"}))
def test_a_changed_digit_is_noticed(name: str) -> None:
    value = SPECIMENS[name][0]
    changed = []
    for place, sign in enumerate(value):
        if sign.isdigit():
            other = str((int(sign) + 1) % 10)
            changed.append(value[:place] + other + value[place + 1 :])
    wrong = [text for text in changed if NATIONAL_IDS[name](text)]
    # One check digit modulo 10 or 11 may miss a change only where the scheme says so.
    assert len(wrong) <= len(changed) // 6, wrong


@pytest.mark.parametrize("name", sorted(NATIONAL_IDS))
def test_values_of_another_shape_are_no_numbers(name: str) -> None:
    judge = NATIONAL_IDS[name]
    for text in (
        "",
        "1",
        "abc",
        "0" * 9,
        "0" * 10,
        "0" * 11,
        "0" * 13,
        "1" * 40,
        "Z" * 9,
        "Z" * 16,
        "Z" * 18,
        "é" * 17,
    ):
        assert not judge(text), text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("us-ssn", "000-12-3456"),
        ("us-ssn", "666-12-3456"),
        ("us-ssn", "900-12-3456"),
        ("us-ssn", "123-00-4567"),
        ("us-ssn", "123-45-0000"),
        ("us-ssn", "078-05-1120"),
        ("us-itin", "900-10-1234"),
        ("us-itin", "800-70-1234"),
        ("dk-cpr", "321062-5629"),
        ("pl-pesel", "44053201359"),
        ("jmbg", "3201006500006"),
        ("cn-identity", "11010519491331002X"),
        ("kr-rrn", "971313-9019902"),
        ("au-medicare", "7428 77813 2"),
    ],
)
def test_impossible_parts_are_refused(name: str, value: str) -> None:
    assert not NATIONAL_IDS[name](value)

"""Numbers by which states know their people: the check digits of each, and the birth date where one is inside.

Every judge gets a value with whatever separators its pattern allows and ignores them. The rules of each number are
those that its authority publishes; `tests/unit/rules/test_national_ids.py` holds known numbers for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from rules.validators.checksums import digits_of, luhn_holds, mod11_2, mod11_10, verhoeff, weighted

Judge = Callable[[str], bool]

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_PPS_LETTERS = "WABCDEFGHIJKLMNOPQRSTUV"
_HETU_SIGNS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CURP_SIGNS = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
_CODICE_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_CODICE_ODD_LETTERS = (*_CODICE_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_CODICE_ODD = dict(
    zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_CODICE_ODD_DIGITS, *_CODICE_ODD_LETTERS), strict=True)
)
"""What a sign in an odd place of a codice fiscale counts."""
_VIN_VALUES = {**{str(digit): digit for digit in range(10)}, **dict(zip("ABCDEFGH", range(1, 9), strict=True))}
_VIN_VALUES |= {**dict(zip("JKLMN", range(1, 6), strict=True)), "P": 7, "R": 9}
_VIN_VALUES |= dict(zip("STUVWXYZ", range(2, 10), strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def compact(value: str) -> str:
    """The letters and digits of a value, letters in upper case."""
    return "".join(char for char in value.upper() if char.isascii() and char.isalnum())


def is_date(year: int, month: int, day: int) -> bool:
    """Whether there is such a day."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def us_ssn(value: str) -> bool:
    """A number that the US administration may have issued, and not one of the two that advertisements made useless."""
    digits = "".join(map(str, digits_of(value)))
    if len(digits) != 9 or len(set(digits)) == 1 or digits in ("078051120", "219099999"):
        return False
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def us_itin(value: str) -> bool:
    """A US taxpayer number of somebody without a social security number: 9, and a middle pair that is given out."""
    digits = digits_of(value)
    if len(digits) != 9 or digits[0] != 9:
        return False
    pair = digits[3] * 10 + digits[4]
    return 50 <= pair <= 65 or 70 <= pair <= 88 or 90 <= pair <= 92 or 94 <= pair <= 99


def us_aba(value: str) -> bool:
    """A US bank routing number: weights 3, 7, 1, and a first pair that a Federal Reserve district uses."""
    digits = digits_of(value)
    if len(digits) != 9:
        return False
    district = digits[0] * 10 + digits[1]
    in_use = district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    return in_use and any(digits) and weighted(digits, (3, 7, 1) * 3) % 10 == 0


def us_npi(value: str) -> bool:
    """A US provider identifier: Luhn after the prefix 80840 of health cards."""
    digits = digits_of(value)
    return len(digits) == 10 and digits[0] in (1, 2) and luhn_holds([8, 0, 8, 4, 0, *digits])


def ca_sin(value: str) -> bool:
    """A Canadian social insurance number: Luhn over nine digits."""
    digits = digits_of(value)
    return len(digits) == 9 and digits[0] != 8 and any(digits) and len(set(digits)) > 1 and luhn_holds(digits)


def br_cpf(value: str) -> bool:
    """A Brazilian CPF: two check digits modulo 11."""
    digits = digits_of(value)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    first = weighted(digits, tuple(range(10, 1, -1))) * 10 % 11 % 10
    return digits[9] == first and digits[10] == weighted(digits, tuple(range(11, 1, -1))) * 10 % 11 % 10


def mx_curp(value: str) -> bool:
    """A Mexican CURP: 18 signs, the last a check digit modulo 10."""
    signs = compact(value)
    if len(signs) != 18 or any(sign not in _CURP_SIGNS for sign in signs) or not signs[-1].isdigit():
        return False
    total = sum(_CURP_SIGNS.index(sign) * (18 - place) for place, sign in enumerate(signs[:17]))
    return int(signs[-1]) == -total % 10


def de_tax(value: str) -> bool:
    """A German tax identification number: ISO 7064 mod 11-10; one of the first ten digits occurs two or three times."""
    digits = digits_of(value)
    if len(digits) != 11 or digits[0] == 0:
        return False
    counts = sorted((digits[:10].count(digit) for digit in set(digits[:10])), reverse=True)
    return counts[0] in (2, 3) and (len(counts) == 1 or counts[1] == 1) and mod11_10(digits)


def hr_oib(value: str) -> bool:
    """A Croatian personal identification number: ISO 7064 mod 11-10 over eleven digits."""
    digits = digits_of(value)
    return len(digits) == 11 and len(set(digits)) > 1 and mod11_10(digits)


def jmbg(value: str) -> bool:
    """The unique number of citizens of the Yugoslav successor states: day, month, year, and a digit modulo 11."""
    digits = digits_of(value)
    if len(digits) != 13:
        return False
    day, month, year = digits[0] * 10 + digits[1], digits[2] * 10 + digits[3], weighted(digits[4:7], (100, 10, 1))
    check = -weighted(digits, (7, 6, 5, 4, 3, 2) * 2) % 11
    return is_date((1000 if year > 800 else 2000) + year, month, day) and check < 10 and check == digits[12]


def pl_pesel(value: str) -> bool:
    """A Polish PESEL: the century is in the month; weights 1, 3, 7, 9."""
    digits = digits_of(value)
    if len(digits) != 11:
        return False
    month, day = digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]
    year = (1900, 2000, 2100, 2200, 1800)[month // 20] + digits[0] * 10 + digits[1]
    return is_date(year, month % 20, day) and weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def es_dni(value: str) -> bool:
    """A Spanish DNI or NIE: the letter says the remainder by 23."""
    signs = compact(value)
    if len(signs) != 9:
        return False
    number = {"X": "0", "Y": "1", "Z": "2"}.get(signs[0], signs[0]) + signs[1:8]
    return number.isdigit() and len(set(number)) > 1 and _DNI_LETTERS[int(number) % 23] == signs[8]


def it_codice(value: str) -> bool:
    """An Italian codice fiscale: the last letter checks the other fifteen."""
    signs = compact(value)
    if len(signs) != 16 or any(sign not in _CODICE_ODD for sign in signs):
        return False
    total = sum(_CODICE_ODD[sign] for sign in signs[0:15:2])
    total += sum(int(sign, 36) - (10 if sign.isalpha() else 0) for sign in signs[1:15:2])
    return signs[15] == chr(ord("A") + total % 26)


def fr_nir(value: str) -> bool:
    """A French social security number: the key is 97 less the remainder by 97; Corsica counts as 19 and 18."""
    signs = compact(value).replace("2A", "19", 1).replace("2B", "18", 1)
    return len(signs) == 15 and signs.isdigit() and 97 - int(signs[:13]) % 97 == int(signs[13:])


def nl_bsn(value: str) -> bool:
    """A Dutch citizen service number: the eleven test."""
    digits = digits_of(value)
    in_form = len(digits) in (8, 9) and any(digits)
    return in_form and weighted([0] * (9 - len(digits)) + digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def be_number(value: str) -> bool:
    """A Belgian national register number: 97 less the remainder by 97, with a leading 2 for births since 2000."""
    digits = "".join(map(str, digits_of(value)))
    if len(digits) != 11:
        return False
    check = int(digits[9:])
    return check in (97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97)


def se_personal(value: str) -> bool:
    """A Swedish personal number: a birth date and Luhn over the last ten digits."""
    digits = digits_of(value)[-10:]
    if len(digits) != 10 or not luhn_holds(digits):
        return False
    # Coordination numbers, for people who are not registered, add 60 to the day.
    return is_date(2000, digits[2] * 10 + digits[3], (digits[4] * 10 + digits[5]) % 60)


def no_birth(value: str) -> bool:
    """A Norwegian birth number: two check digits modulo 11."""
    digits = digits_of(value)
    if len(digits) != 11 or not any(digits):
        return False
    return (
        weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def fi_hetu(value: str) -> bool:
    """A Finnish personal identity code: the last sign says the remainder by 31."""
    signs = compact(value)
    if len(signs) == 11:
        # The letter for the century stands between date and number; `+` and `-` are gone already.
        signs = signs[:6] + signs[7:]
    if len(signs) != 10 or not signs[:9].isdigit() or not is_date(2000, int(signs[2:4]), int(signs[:2])):
        return False
    return _HETU_SIGNS[int(signs[:9]) % 31] == signs[9]


def dk_cpr(value: str) -> bool:
    """A Danish CPR number begins with a birth date; its check digit is no longer kept."""
    digits = digits_of(value)
    return len(digits) == 10 and is_date(2000, digits[2] * 10 + digits[3], digits[0] * 10 + digits[1])


def pt_nif(value: str) -> bool:
    """A Portuguese tax number: weights from 9 down, modulo 11."""
    digits = digits_of(value)
    if len(digits) != 9 or digits[0] == 0:
        return False
    check = -weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return digits[8] == (check if check < 10 else 0)


def ie_pps(value: str) -> bool:
    """An Irish PPS number: the letter says the remainder by 23; a second letter counts nine times."""
    signs = compact(value)
    if not 8 <= len(signs) <= 9 or not signs[:7].isdigit() or signs[7] not in _PPS_LETTERS:
        return False
    second = ord(signs[8]) - ord("A") + 1 if len(signs) == 9 and signs[8] != "W" else 0
    return _PPS_LETTERS[(weighted(digits_of(signs[:7]), (8, 7, 6, 5, 4, 3, 2)) + 9 * second) % 23] == signs[7]


def ch_ahv(value: str) -> bool:
    """A Swiss social security number: 756 and the check digit of an EAN-13."""
    digits = digits_of(value)
    return len(digits) == 13 and digits[:3] == [7, 5, 6] and weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def ro_cnp(value: str) -> bool:
    """A Romanian CNP: weights 2 7 9 1 4 6 3 5 8 2 7 9, modulo 11."""
    digits = digits_of(value)
    if len(digits) != 13 or digits[0] == 0:
        return False
    check = weighted(digits, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return digits[12] == (check if check < 10 else 1) and is_date(
        2000, digits[3] * 10 + digits[4], digits[5] * 10 + digits[6]
    )


def uk_nhs(value: str) -> bool:
    """A number of the British health service: weights from 10 down, modulo 11."""
    digits = digits_of(value)
    if len(digits) != 10 or len(set(digits)) == 1:
        return False
    return -weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11 == digits[9]


def tr_identity(value: str) -> bool:
    """A Turkish identity number: two check digits modulo 10."""
    digits = digits_of(value)
    if len(digits) != 11 or digits[0] == 0:
        return False
    tenth = (7 * sum(digits[0:9:2]) - sum(digits[1:8:2])) % 10
    return digits[9] == tenth and digits[10] == sum(digits[:10]) % 10


def in_aadhaar(value: str) -> bool:
    """An Indian Aadhaar number: Verhoeff over twelve digits, of which the first is 2 to 9."""
    digits = digits_of(value)
    return len(digits) == 12 and digits[0] >= 2 and len(set(digits)) > 1 and verhoeff(value)


def cn_identity(value: str) -> bool:
    """A Chinese resident identity number (GB 11643): a birth date and ISO 7064 mod 11-2."""
    signs = compact(value)
    if len(signs) != 18 or not signs[:17].isdigit():
        return False
    in_calendar = is_date(int(signs[6:10]), int(signs[10:12]), int(signs[12:14]))
    return in_calendar and mod11_2(digits_of(signs[:17]), signs[17])


def kr_rrn(value: str) -> bool:
    """A Korean resident registration number: weights 2 to 9, modulo 11; numbers since October 2020 have no check."""
    digits = digits_of(value)
    if len(digits) != 13 or not is_date(2000, digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]):
        return False
    return (11 - weighted(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == digits[12]


def sg_nric(value: str) -> bool:
    """A Singapore NRIC or FIN: the last letter depends on the first and on a sum modulo 11."""
    signs = compact(value)
    if len(signs) != 9 or not signs[1:8].isdigit() or signs[0] not in "STFG":
        return False
    total = weighted(digits_of(signs[1:8]), (2, 7, 6, 5, 4, 3, 2)) + (4 if signs[0] in "TG" else 0)
    return ("JZIHGFEDCBA" if signs[0] in "ST" else "XWUTRQPNMLK")[total % 11] == signs[8]


def au_tfn(value: str) -> bool:
    """An Australian tax file number: weights 1 4 3 7 5 8 6 9 10, modulo 11."""
    digits = digits_of(value)
    return len(digits) == 9 and any(digits) and weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def au_medicare(value: str) -> bool:
    """An Australian Medicare number: the ninth digit checks the first eight."""
    digits = digits_of(value)
    if len(digits) not in (10, 11) or not 2 <= digits[0] <= 6:
        return False
    return weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == digits[8]


def za_identity(value: str) -> bool:
    """A South African identity number: a birth date and Luhn."""
    digits = digits_of(value)
    if len(digits) != 13 or not luhn_holds(digits):
        return False
    return is_date(2000, digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]) and digits[10] <= 2


def vin(value: str) -> bool:
    """A vehicle identification number with a check digit (49 CFR 565): as in North America and China."""
    signs = compact(value)
    if len(signs) != 17 or any(sign not in _VIN_VALUES for sign in signs) or len(set(signs)) < 5:
        return False
    total = sum(_VIN_VALUES[sign] * weight for sign, weight in zip(signs, _VIN_WEIGHTS, strict=True))
    return "0123456789X"[total % 11] == signs[8]


NATIONAL_IDS: dict[str, Judge] = {
    "us-ssn": us_ssn,
    "us-itin": us_itin,
    "us-aba": us_aba,
    "us-npi": us_npi,
    "ca-sin": ca_sin,
    "br-cpf": br_cpf,
    "mx-curp": mx_curp,
    "de-tax": de_tax,
    "hr-oib": hr_oib,
    "jmbg": jmbg,
    "pl-pesel": pl_pesel,
    "es-dni": es_dni,
    "it-codice": it_codice,
    "fr-nir": fr_nir,
    "nl-bsn": nl_bsn,
    "be-number": be_number,
    "se-personal": se_personal,
    "no-birth": no_birth,
    "fi-hetu": fi_hetu,
    "dk-cpr": dk_cpr,
    "pt-nif": pt_nif,
    "ie-pps": ie_pps,
    "ch-ahv": ch_ahv,
    "ro-cnp": ro_cnp,
    "uk-nhs": uk_nhs,
    "tr-identity": tr_identity,
    "in-aadhaar": in_aadhaar,
    "cn-identity": cn_identity,
    "kr-rrn": kr_rrn,
    "sg-nric": sg_nric,
    "au-tfn": au_tfn,
    "au-medicare": au_medicare,
    "za-identity": za_identity,
    "vin": vin,
}
"""By the name after `id:` in a rule's `validators`."""

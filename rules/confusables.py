"""Letters of other scripts that look like a Latin one. A small table: what is drawn alike in common typefaces."""

from __future__ import annotations

_CYRILLIC = (
    "аa вb еe ѕs іi јj кk мm нh оo рp сc тt уy хx һh ԁd ԛq ԝw ѵv ӏl ғf ьb пn гr "
    "АA ВB ЕE ЅS ІI ЈJ КK МM НH ОO РP СC ТT УY ХX ҺH ԀD ԚQ ԜW ѴV ӀI ЬB"
)
_GREEK = "αa βb γy εe ηn ιi κk νv οo ρp σo τt υu χx ωw ϲc ϳj ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX"
_ARMENIAN_AND_CHEROKEE = "աw ցg հh ոn սu օo զq ՏS ՕO ᎪA ᏴB ᏟC ᎠD ᎬE ᏀG ᎻH ᎫJ ᏦK ᏞL ᎷM ᏢP ᎡR ᏚS ᎢT ᏙV ᎳW ᏃZ"

LOOK_ALIKES = str.maketrans(
    {pair[0]: pair[1] for table in (_CYRILLIC, _GREEK, _ARMENIAN_AND_CHEROKEE) for pair in table.split()}
)
"""For `str.translate`; one character for one."""

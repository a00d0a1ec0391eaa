"""What letters look like: which of other alphabets, of fonts and of signs are taken for Latin ones."""

import re
import unicodedata

EMOJI_FORM = "\ufe0f"
"""What chooses the form of an emoji, and is not seen itself."""

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point, and two blanks that are letters or signs to Unicode."""

_WORD = re.compile(r"[^\W\d_]+")

_SMALL_CAPITAL = re.compile(r"LATIN LETTER SMALL CAPITAL ([A-Z])")

_ON_A_GROUND = re.compile(
    r"(?:NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])"
)
"""The names of white letters on a black ground, and of those that flags are made of."""

_WITH_A_STROKE = re.compile(
    r"LATIN (?:SMALL|CAPITAL) LETTER (?:DOTLESS |SCRIPT )?([A-Z])(?: WITH .*)?"
)
"""The names of letters with what is no accent to Unicode: a stroke, a hook."""

_SHAPES = str.maketrans("I1|0", "lllO")
"""What looks the same within ASCII."""

_DRAWN = {
    "LATIN": ("ıƄƍƖƦƽǀɑɡɣɩɯᴑẝꞟꞳꞴꬲꬵꬽꭇꭈ", "ibglRslagyiwofuXBeforr"),
    "GREEK": ("ͿΑΒΕΖΗΙΚΜΝΟΡΤΥΧαγινορσυϜϳϺᴦϲϹκχ", "JABEZHIKMNOPTYXayivopouFjMrcCkx"),
    "CYRILLIC": (
        "ЅІЈАВЕКМНОРСТУХЬагеорсухѕіјѡѴѵҮүһҽӀӏԁԌԛԜԝꙇѠкёЁїЇ",
        "SIJABEKMHOPCTYXbareopcyxsijwVvYyheIldGqWwiWkëËïÏ",
    ),
    "ARMENIAN": ("ՍՏՕագզհոռսցքօլ", "USOwqqhnnugfol"),
    "HEBREW": ("\u05d5\u05d8\u05df\u05e1", "lvlo"),
    "ARABIC": ("\u0627\u0647\u06be\u06c1\u06d5", "loooo"),
    "NKO": ("\u07ca", "l"),
    "ORIYA": ("ଠ", "O"),
    "MALAYALAM": ("ഠ", "o"),
    "MYANMAR": ("ဝ", "o"),
    "GEORGIAN": ("ყჿ", "yo"),
    "ETHIOPIC": ("ሀዐ", "UO"),
    "CHEROKEE": ("ᎠᎡᎢᎥᎩᎪᎫᎬᎳᎷᎻᎽᏀᏂᏃᏏᏒᏔᏕᏙᏚᏞᏟᏢᏦᏧᏳᏴꭵꮁꮃꮓꮩꮪꮯ", "DRTiYAJEWMHYGhZbRWSVSLCPKdGBirwzvsc"),
    "CANADIAN": ("ᐯᑌᑭᑯᑲᒍᒪᕁᕼᕽᖇᖯᖴᗅᗞᗪᗰᗷ", "VUPdbJLxHxRbFADDMB"),
    "RUNIC": ("ᚷᛁᛕᛖ", "XlKM"),
    "COPTIC": ("ⲅⲎⲒⲔⲘⲚⲞⲟⲢⲣⲤⲥⲦⲨⲬⳐ", "rHlKMNOoPpCcTYXL"),
    "TIFINAGH": ("ⴸⴹⵏⵔⵕⵝ", "VElOQX"),
    "LISU": ("ꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ", "BPdDTGKJCZFMNLSRVHWXYAElOU"),
    "BAMUM": ("ꛟ", "V"),
    "LYCIAN": ("𐊂𐊆𐊇𐊊𐊐𐊒𐊕𐊖𐊗", "BEFlXOPST"),
    "CARIAN": ("𐊠𐊡𐊢𐊥𐊫𐊰𐊱𐊲𐊴𐋏", "ABCFOMTYXH"),
    "OLD": ("𐌁𐌂𐌉𐌑𐌕𐌗", "BClMTX"),
    "DESERET": ("𐐄𐐕𐐛𐐠𐐬𐐽𐑈", "OCLSocs"),
    "OSAGE": ("𐒴𐓂𐓎𐓪𐓶", "ROUou"),
    "ELBASAN": ("𐔓𐔖𐔘𐔜𐔝𐔥𐔦𐔧", "NOKCVFLX"),
    "AHOM": ("𑜆𑜊𑜎𑜏", "vwww"),
    "WARANG": ("𑢠𑢢𑢣𑢤𑢦𑢩𑢮𑢲𑢵𑢸𑢼𑣀𑣁𑣂𑣃𑣄𑣈𑣗𑣘𑣜", "VFLYEZELOUTvsFizoouy"),
    "MIAO": ("𖼈𖼊𖼖𖼨𖼵𖼺𖽀𖽂𖽃", "VTLlRSAUY"),
}
"""Letters that many fonts draw as a Latin one, and that one, by the first word of their names. (NFKC has
those that are the same letter.) https://www.unicode.org/Public/security/latest/confusables.txt"""

SCRIPTS = frozenset(_DRAWN)
"""Those with such letters: a word of a name is in one of them."""

_LOOKS = {
    letter: looks_like
    for letters, looked_like in _DRAWN.values()
    for letter, looks_like in zip(letters, looked_like, strict=True)
}


def looks(name: str) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """Return what a name looks like, in any case and in its own. Names that share one look the same."""
    plain = unicodedata.normalize("NFKC", name.replace(EMOJI_FORM, ""))
    drawn = "".join(map(_without_a_ground, _WORD.sub(_drawn, plain)))
    # Two letters that are drawn as one.
    return (drawn.casefold(), True), (drawn.translate(_SHAPES).replace("rn", "m"), False)


def bare_looks(name: str) -> set[str]:
    """Return what a name looks like without blanks, signs, accents and strokes, in small letters."""
    letters = unicodedata.normalize("NFD", "".join(map(_without_a_stroke, name)))
    bare = "".join(c for c in letters if unicodedata.category(c)[0] != "M")
    return {re.sub(r"[\W_]", "", look).casefold() for look, _ in looks(bare)}


def _drawn(word: re.Match[str]) -> str:
    """Return a word as its letters are drawn, where all of it could be Latin; any other word is itself."""
    letters = "".join(map(_look, word[0]))
    return letters if all(_is_latin(letter) for letter in letters) else word[0]


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def _look(letter: str) -> str:
    if letter in _LOOKS:
        return _LOOKS[letter]
    found = None if letter.isascii() else _SMALL_CAPITAL.fullmatch(unicodedata.name(letter, ""))
    return letter if found is None else found[1].lower()


def _without_a_ground(character: str) -> str:
    if character.isascii() or unicodedata.category(character) != "So":
        return character
    found = _ON_A_GROUND.fullmatch(unicodedata.name(character, ""))
    return character if found is None else found[1]


def _without_a_stroke(character: str) -> str:
    if character.isascii():
        return character
    found = _WITH_A_STROKE.fullmatch(unicodedata.name(character, ""))
    if found is None:
        return character
    return found[1] if character.isupper() else found[1].lower()


_DASHES = frozenset("\u2212\u2500\u2501\u23af\u30fc\uff0d\uff70")
"""What is drawn as a dash, besides what is one to Unicode."""

_ARROW_HEADS = frozenset("><\u203a\u00bb\u276f\u27e9\u1433\u227b\u2771\u3009\u300b\u226b\u27eb")

_ROUND = frozenset("()\uff08\uff09\u207d\u208d")


def begins_as_a_line(text: str) -> bool:
    """Tell whether a text begins as lines of the desk do, or looks so: with a label, `--` or a prompt."""
    seen = INVISIBLE.sub("", text).lstrip()
    first, second = (unicodedata.normalize("NFKC", c) for c in (seen[:1], seen[1:].lstrip()[:1]))
    if not first:
        return False
    if first in _ARROW_HEADS or (first not in _ROUND and unicodedata.category(first[0]) == "Ps"):
        return True
    # An em dash is as long as two.
    return _is_dash(first) and (_is_dash(second) or first in "\u2014\u2015\u2e3a\u2e3b")


def _is_dash(character: str) -> bool:
    return character in _DASHES or (len(character) == 1 and unicodedata.category(character) == "Pd")

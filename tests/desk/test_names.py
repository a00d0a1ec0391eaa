"""Which names callers may have."""
# ruff: noqa: RUF001 - names that look alike are what this is about

import pytest

from manyhands.desk.call_io import Ending
from manyhands.desk.look_alikes import looks
from manyhands.desk.names import fault
from manyhands.desk.switchboard import Call, NameRefused, Switchboard
from tests.desk.test_operator import Ear


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Anna",
            "Anna Maria",
            "R2-D2",
            "x" * 32,
            "O'Neil",
            "Dr. Who",
            "Smith (Bob)",
            "Anna 2",
            "7up",
        ),
        *("王小明", "李 Wang", "山田 太郎", "ｱﾝﾅ", "김철수", "สมชาย", "अनिता", "محمد علي", "שָׁלוֹם"),
        *("José", "Jose\u0301", "Nguyễn Văn", "Ольга", "Ελένη", "Alex-Алекс"),
        *("😀", "❤️", "👨‍👩‍👧", "👍🏽", "🏳️‍🌈", "☕ Bob"),
    ],
)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert fault(name) is None


@pytest.mark.parametrize(
    "name", ["", "7", "٣", "①", "#1", "127.0.0.1:4000", "x" * 33, "a\x1b[31m", "a\u202eb"]
)
def test_a_name_that_cannot_be_shown_or_typed_is_none(name: str) -> None:
    assert fault(name) == "a name has 1 to 32 printable characters and is not a number"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "\u3164",
            "\u2800",
            "Anna\u3164",
            "\uffa0",
            "\u115f",
            "An\u034fna",
            "Anna\ufe0f",
            "\U0001d159",
        ),
        *(
            "A\U000e0100",
            "Anna\u180b",
            "\u17b4",
            "An\u200bna",
            "Anna\u00ad",
            "An\u2060na",
            "A\u200dB",
            "\u200d😀",
        ),
    ],
)
def test_what_cannot_be_seen_is_no_part_of_a_name(name: str) -> None:
    assert fault(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "[Bob]",
        "［Bob］",
        "【Bob】",
        "Anna] hello",
        "〔Bob〕",
        "<Bob>",
        "‹Bob›",
        "⟦Bob⟧",
        "\ufe47Bob",
        "{Bob}",
    ],
)
def test_a_name_has_no_brackets_as_labels_have_them(name: str) -> None:
    assert fault(name) == "a name may not have brackets"


@pytest.mark.parametrize("name", ["\u0301", "\u0301Anna", "A" + "\u0316" * 9, "\u20e3"])
def test_accents_stand_on_letters_and_not_on_what_is_before_the_name(name: str) -> None:
    assert fault(name) == "a name may not begin with an accent, or have many on one letter"


@pytest.mark.parametrize(
    "name", ["\u0410nna", "Ann\u03b1", "\u0421hris", "Bo\u0431", "Bob \u0430nna"]
)
def test_a_word_is_in_one_alphabet(name: str) -> None:
    assert (
        fault(name) == "a word of a name may not have letters of several alphabets that look alike"
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "operator",
            "Operator",
            "OPERATOR",
            "0perator",
            "ｏｐｅｒａｔｏｒ",
            "𝐨𝐩𝐞𝐫𝐚𝐭𝐨𝐫",
            "desk",
            "the desk",
            "you",
            "all",
            "*operator*",
            "the desk.",
            "(Operator)",
            "o\u0332perator",
        ),
        *(
            "2 Bob",
            "１ Bob",
            "Anna, 2 Bob",
            "Bob (3)",
            "desk: hello",
            "Anna:",
            "you to 2",
            "-- 2 has left",
            "/quit",
        ),
    ],
)
def test_a_name_is_not_what_the_desk_writes_itself(name: str) -> None:
    assert fault(name) == "a name may not look like what the desk itself writes"


def named(switchboard: Switchboard, name: str) -> Call:
    call = switchboard.connect(Ear(), "somewhere")
    switchboard.give_name(call, name)
    return call


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *(
            ("Anna", "ＡＮＮＡ"),
            ("Anna", "𝐀𝐧𝐧𝐚"),
            ("cace", "\u0441\u0430\u0441\u0435"),
            ("Ilse", "llse"),
        ),
        *(("BOB", "B0B"), ("Axel", "Axe1"), ("\u041e\u041e\u041e", "OOO"), ("Oli", "O\u217ci")),
        ("❤", "❤\ufe0f"),
    ],
)
def test_a_name_that_only_looks_like_that_of_another_caller_is_refused(
    name: str, other: str
) -> None:
    switchboard = Switchboard()
    call = named(switchboard, name)
    with pytest.raises(NameRefused, match="there is a caller with a name that looks the same"):
        named(switchboard, other)
    switchboard.disconnect(call)
    assert named(switchboard, other).name == other


@pytest.mark.parametrize(
    ("name", "other"), [("Anna", "anna"), ("Ian", "ian"), ("José", "Jose\u0301")]
)
def test_two_callers_may_have_the_same_name_and_the_operator_is_told(name: str, other: str) -> None:
    switchboard = Switchboard()
    anna = named(switchboard, name)
    assert switchboard.give_name(switchboard.connect(Ear(), "somewhere"), other) is anna


@pytest.mark.parametrize(
    ("name", "other"), [("Anna", "Hanna"), ("Ian", "Lan"), ("José", "Jose"), ("王", "玉")]
)
def test_other_names_are_other_names(name: str, other: str) -> None:
    switchboard = Switchboard()
    named(switchboard, name)
    assert named(switchboard, other).name == other


def test_a_name_that_was_given_up_is_free() -> None:
    switchboard = Switchboard()
    call = named(switchboard, "Ilse")
    switchboard.give_name(call, "Else")
    assert switchboard.give_name(call, "Else") is None
    assert named(switchboard, "llse").name == "llse"
    call.connection.hang_up(Ending.KICKED)


@pytest.mark.parametrize(
    "name",
    [
        "ᴏᴘᴇʀᴀᴛᴏʀ",
        "ꓳꓑꓰꓣꓮꓔꓳꓣ",
        "ᎠᎬᏚᏦ",
        "ʏou",
        "🅳🅴🆂🅺",
        "\U0001f1e9\U0001f1ea\U0001f1f8\U0001f1f0",
        "øperatør",
        "đesk",
        "adrnin",
        "ⲞⲢeⲅatoⲅ",
        "the ꓓꓰꓢꓗ",
        "⑵ Bob",
        "2. Bob",
        "2、Bob",
        "desk\u2236 hi",
        "Anna\ua789 hi",
        "\u226b yes",
        "\u276f yes",
        "Anna has left",
        "Anna is called Bob",
        "The transcript was moved",
    ],
)
def test_no_letters_make_a_name_look_like_the_desks(name: str) -> None:
    assert fault(name)


@pytest.mark.parametrize(
    ("name", "other"),
    [("ANNA", "ꓮꓠꓠꓮ"), ("anna", "ᴀɴɴᴀ"), ("Bernard", "Bemard"), ("WEB", "ᎳᎬB"), ("AB", "🅰🅱")],
)
def test_letters_of_any_alphabet_that_look_like_another_callers_are_refused(
    name: str, other: str
) -> None:
    assert fault(other) or set(looks(name)) & set(looks(other))


@pytest.mark.parametrize(
    ("name", "other"),
    [("דן", "דו"), ("هدى", "ندى"), ("王芳", "王方"), ("Øystein", "Oystein")],
)
def test_callers_of_other_alphabets_keep_names_that_only_strangers_confuse(
    name: str, other: str
) -> None:
    assert not fault(name)
    assert not set(looks(name)) & set(looks(other))


@pytest.mark.parametrize(
    "name", ["7-Eleven", "2pac", "R2-D2", "José 2", "D’Arcy", "ben-Ami", "一一", "X Æ A-12"]
)
def test_names_with_numbers_and_signs_are_names(name: str) -> None:
    assert not fault(name)

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.engine.errors import InputError
from stages.engine.plain_yaml import MOST_CHARACTERS, parse_plain

NINE = ", ".join(["*{0}"] * 9)
BOMB = "a0: &a0 [1]\n" + "".join(
    f"a{level}: &a{level} [{NINE.format(f'a{level - 1}')}]\n" for level in range(1, 12)
)


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_plain(text, "params.yaml")
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 2: expected the value itself, found the alias *a0"),
        ("a: 1\nb: {<<: *a}", "line 2: expected the value itself, found the alias *a"),
        ("a: 1\na: 2", "line 2: not valid YAML: found duplicate key"),
        ("a:\n\tb: 1", "line 2: not valid YAML: found character that cannot start any token"),
        ("1: {b: 2}", "expected text as a name, found 1, int"),
        ("~: {b: 2}", "expected text as a name, found None, NoneType"),
        ("true: {b: 2}", "expected text as a name, found True, bool"),
        ("2020-01-01: {}", "expected text as a name, found datetime.date(2020, 1, 1), date"),
        ("a: {? [1]: 2}", "params.yaml: a: expected text as a name, found (1,), tuple"),
        ('a: {"b\\nc": 1}', "params.yaml: a: expected a printable name of 1 to 100 characters"),
        ("a:\n  seed: " + "1" * 5000, "line 2: expected a number or date that there is, found '11"),
        ("a: {seed: 1", "line 2: not valid YAML: did not find expected ',' or '}'"),
        ("a: {seed: " + "9" * 30 + "}", "a.seed: expected an integer of at most 64 bits"),
        ("a: {seed: 0x" + "f" * 5000 + "}", "of at most 64 bits, found one of 20000"),
        ("a:\n- 2020-13-45", "line 2: expected a number or date that there is, found '2020-13-45'"),
        ("a: " + "[" * 200_000, "line 1: expected at most 20 levels of nesting, found more"),
        (
            "a: !!python/object/apply:os.system [id]",
            "line 1: expected a plain value, found the tag",
        ),
        ("a: !!int x", "line 1: expected a plain value, found the tag"),
        ("a: 1\n--- \nb: 2", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        (
            "#" * (MOST_CHARACTERS + 1),
            f"expected at most {MOST_CHARACTERS} characters, found 262145",
        ),
    ],
)
def test_what_is_not_plain_is_one_line_at_once(text: str, message: str) -> None:
    began = time.monotonic()
    assert message in refusal(text)
    assert time.monotonic() - began < 5


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(plain)
def test_plain_values_are_read_as_they_are(value: object) -> None:
    from io import StringIO

    text = StringIO()
    YAML(typ="safe").dump(value, text)
    assert parse_plain(text.getvalue(), "params.yaml") == value


@settings(max_examples=300)
@given(st.text(alphabet="ab:-? \n\t&*!|>'\"{}[],#%@`0123456789.~<=e\u0085\ufeff", max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    message = ""
    try:
        parse_plain(text, "params.yaml")
    except InputError as error:
        message = str(error)
    assert not message or message.startswith("params.yaml: ")
    assert len(message.splitlines()) <= 1

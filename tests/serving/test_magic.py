import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import magic
from serving._errors import Final

lines = st.integers(0, magic.MAX_LINE)
sequences = st.integers(1, magic.MAX_SEQUENCE)


@given(lines, sequences)
def test_a_key_comes_back_from_its_magic_and_fits_a_double_exactly(line, sequence):
    number = magic.encode(line, sequence)
    assert magic.decode(number) == (line, sequence)
    assert 0 < number < 2**53 and int(float(number)) == number


@given(st.tuples(lines, sequences), st.tuples(lines, sequences))
def test_two_keys_never_share_a_magic(a, b):
    assert (magic.encode(*a) == magic.encode(*b)) == (a == b)


@given(st.integers(0, 2**64 - 1))
def test_a_foreign_magic_is_never_read_as_ours(number):
    key = magic.decode(number)
    assert key is None or magic.encode(*key) == number


def test_common_magics_of_other_programs_are_foreign():
    assert [magic.decode(n) for n in (0, 1, -5, 234000, 20240306, 2**53, 2**64 - 1)] == [None] * 7


def test_the_layout_is_the_documented_one():
    assert magic.encode(3, 7) == 0x1A7D * 2**40 + 3 * 2**30 + 7


@pytest.mark.parametrize(("line", "sequence"), [(-1, 1), (1024, 1), (0, 0), (0, 2**30)])
def test_what_does_not_fit_is_refused(line, sequence):
    with pytest.raises(Final, match="does not fit"):
        magic.encode(line, sequence)


@given(st.text())
def test_a_comment_always_fits_the_package(text):
    assert len(magic.comment(text).encode("utf-16-le")) // 2 <= 29

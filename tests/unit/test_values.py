"""Value classes: what a data class promises, without code made at import."""

from __future__ import annotations

import copy
import pickle
from typing import Generic, TypeVar

import pytest

from meshnet.values import Value

T = TypeVar("T")


class Lost(Value):
    """One kind."""

    peer: str
    reason: str = "gone"


class Refused(Value):
    """Another with the same fields."""

    peer: str
    reason: str = "gone"


class KeyPair(Value, secret=("secret",)):
    """Something that does not belong into a log."""

    secret: bytes
    public: bytes


class Put(Value, Generic[T]):
    """A kind of values of some type."""

    after: T


def test_values_are_equal_if_they_are_of_one_class_with_equal_fields() -> None:
    assert Lost("a", "b") == Lost("a", reason="b")
    assert Lost("a", "b") != Lost("a", "c")
    assert len({Lost("a"), Lost("a", "gone"), Lost(reason="gone", peer="a")}) == 1


def test_values_of_two_classes_differ_and_are_no_tuples() -> None:
    other: object = Refused("a", "b")
    assert Lost("a", "b") != other
    assert len({Lost("a"), Refused("a")}) == 2
    assert Lost("a", "b") != ("a", "b")


def test_a_field_cannot_be_set_anew_deleted_or_added() -> None:
    lost = Lost("a")
    with pytest.raises(AttributeError, match="Lost is frozen: cannot set 'peer'"):
        lost.peer = "b"  # type: ignore[misc]  # That is what fails.
    with pytest.raises(AttributeError, match="Lost is frozen: cannot delete 'peer'"):
        del lost.peer
    with pytest.raises(AttributeError, match="cannot set 'other'"):
        lost.other = "b"
    assert lost == Lost("a")
    assert not hasattr(lost, "__dict__")


def test_a_secret_field_is_compared_but_not_shown() -> None:
    pair = KeyPair(b"hidden", b"shown")
    assert repr(pair) == "KeyPair(public=b'shown')"
    assert pair != KeyPair(b"other", b"shown")


def test_replaced_makes_another_value() -> None:
    lost = Lost("a", "b")
    assert lost.replaced(peer="c") == Lost("c", "b")
    assert lost == Lost("a", "b")
    with pytest.raises(TypeError, match=r"Lost\(\) has no field 'pear'"):
        lost.replaced(pear="c")


def test_fields_match_by_place_and_by_name() -> None:
    match Lost("a", "b"):
        case Lost(peer, reason="b"):
            assert peer == "a"
        case _:
            pytest.fail("did not match")


def test_the_repr_reads_as_the_call() -> None:
    assert repr(Lost("a")) == "Lost(peer='a', reason='gone')"
    assert eval(repr(Lost("a"))) == Lost("a")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_values_can_be_copied_and_pickled(copied: object) -> None:
    assert callable(copied)
    lost = Lost("a", "b")
    assert copied(lost) == lost
    assert pickle.loads(pickle.dumps(lost)) == lost


def test_a_value_of_a_type_parameter() -> None:
    assert Put[int](1) == Put(1)


@pytest.mark.parametrize(
    ("given", "named", "what"),
    [
        ((), {}, r"Lost\(\) lacks 'peer'"),
        (("a", "b", "c"), {}, r"Lost\(\) takes 2 values, 3 were given"),
        (("a",), {"peer": "b"}, r"Lost\(\) got 'peer' twice"),
        (("a",), {"why": "b"}, r"Lost\(\) has no field 'why'"),
    ],
)
def test_wrong_fields_are_a_type_error(
    given: tuple[str, ...], named: dict[str, str], what: str
) -> None:
    with pytest.raises(TypeError, match=what):
        Lost(*given, **named)

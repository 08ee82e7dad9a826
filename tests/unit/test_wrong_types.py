"""What is given by a user and of a wrong type is one line, and names what to give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshnet import MeshConfig
from meshnet.aio.config import parse_peer
from meshnet.crdt import Counter, LwwMap, LwwRegister, OrMap, OrSet
from meshnet.crdt.dots import Origin
from meshnet.errors import ConfigError
from meshnet.wire.ciphers import CipherId
from support.samples import ALICE

A = Origin(ALICE.name, 1)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        *(("nickname", value, "give a text") for value in (5, None, b"a")),
        *(("network", value, "give a text") for value in (5, None)),
        *(("listen", value, "give a text such as ':6783'") for value in (None, 6783)),
        *(("advertise", value, "give a list of addresses") for value in ("a", 5, None, [5])),
        *(("peers", value, "give a list of addresses") for value in ("a", 5, None, [None])),
        *(("password", value, "give a text, or None") for value in (5, b"secret")),
        *(("psk", value, "give bytes, or None") for value in ("secret", 5)),
        *(("also_accept", value, "give a list of passwords") for value in ("a", b"a", 5, [None])),
        *(("mtu", value, "give a whole number") for value in ("big", None, 1400.0, True)),
        *(("discovery", value, "give True or False") for value in ("no", 1, None)),
        *(("conn_limit", value, "give a whole number") for value in ("3", True)),
        *(("degree", value, "give a whole number") for value in ("32", False)),
        *(("ciphers", value, "give a list of members of CipherId") for value in ("a", ["a"], 5)),
        *(("rekey_after_s", value, "give a number") for value in ("9", None, True)),
        *(("peer_lease_s", value, "give a number, or None") for value in ("9", True)),
        *(("trusted_subnets", value, "give a list of addresses") for value in ("::/0", [5])),
    ],
)
def test_a_setting_of_a_wrong_type(setting: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MeshConfig(**{setting: value})
    line = str(caught.value)
    assert line.startswith(setting)
    assert said in line
    assert "\n" not in line
    assert "secret" not in line, "it is logged"


def test_every_setting_has_a_case_above() -> None:
    marks = test_a_setting_of_a_wrong_type.pytestmark
    settings = {case[0] for case in marks[0].args[1]}
    assert settings == {field.name for field in MeshConfig.__attrs_attrs__}


def test_any_list_will_do() -> None:
    assert MeshConfig(peers=iter(["a", "b"])).peers == ("a", "b")
    assert MeshConfig(ciphers=list(CipherId), rekey_after_s=60).rekey_after_s == 60  # type: ignore[arg-type]


def test_an_address_that_is_no_text() -> None:
    with pytest.raises(ConfigError, match="5: write HOST or HOST:PORT, as a text"):
        parse_peer(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mutate", "said"),
    [
        (lambda: OrSet().add(A, 3), "3 is no text: give a str"),  # type: ignore[arg-type]
        (lambda: OrSet().remove(A, 3), "3 is no text"),  # type: ignore[arg-type]
        (lambda: OrMap().put(A, 3, b""), "3 is no text"),  # type: ignore[arg-type]
        (lambda: OrMap().put(A, "k", "1"), "'1' is no value: give bytes"),  # type: ignore[arg-type]
        (lambda: LwwMap().put(A, b"k", b""), "b'k' is no text"),  # type: ignore[arg-type]
        (lambda: LwwMap().put(A, "k", "1"), "'1' is no value: give bytes"),  # type: ignore[arg-type]
        (lambda: LwwMap().put(A, "k", [1]), r"\[1\] is no value"),  # type: ignore[arg-type]
        (lambda: LwwMap().remove(A, None), "None is no text"),  # type: ignore[arg-type]
        (lambda: LwwRegister().put(A, 5), "5 is no value"),  # type: ignore[arg-type]
        (lambda: Counter().add(A, 1.5), "1.5 is no amount: give an int"),  # type: ignore[arg-type]
        (lambda: Counter().add(A, "1"), "'1' is no amount"),  # type: ignore[arg-type]
    ],
)
def test_a_mutator_says_what_it_takes(mutate: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        mutate()

"""The exception tree and the codes: each is ours, and each has words for people."""

from __future__ import annotations

import inspect

import pytest

from meshnet import errors
from meshnet.errors import CloseCode, ConfigError, DropReason, MeshError, RemoteProtocolError

EXCEPTIONS = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_one_root_catches_everything_we_raise_on_purpose(exception: type[Exception]) -> None:
    assert issubclass(exception, MeshError)


@pytest.mark.parametrize("code", CloseCode)
def test_each_close_code_has_one_line_of_its_own(code: CloseCode) -> None:
    assert code.text
    assert "\n" not in code.text
    assert [other for other in CloseCode if other.text == code.text] == [code]


def test_close_codes_are_frozen_on_the_wire() -> None:
    assert {code.name: code.value for code in CloseCode} == {
        "OTHER_NETWORK": 1,
        "OTHER_VERSION": 2,
        "WRONG_PASSWORD": 3,
        "BAD_IDENTITY": 4,
        "SELF": 5,
        "SAME_IDENTITY": 6,
        "DUPLICATE_LINK": 7,
        "PROTOCOL_ERROR": 8,
        "TIMEOUT": 9,
        "SHUTDOWN": 10,
        "TOO_MANY_LINKS": 11,
        "UNNEEDED_LINK": 12,
    }


def test_a_remote_protocol_error_carries_the_code_to_answer_with() -> None:
    assert RemoteProtocolError("odd").code is CloseCode.PROTOCOL_ERROR
    assert RemoteProtocolError("pw", CloseCode.WRONG_PASSWORD).code is CloseCode.WRONG_PASSWORD
    assert str(RemoteProtocolError("odd")) == "odd"


def test_a_config_error_is_one_line_whatever_was_given() -> None:
    assert str(ConfigError("trusted subnet 'a\r\nb'")) == "trusted subnet 'a\\r\\nb'"


def test_drop_reasons_are_named_in_reports_as_in_code() -> None:
    assert [reason.value for reason in DropReason] == [reason.name.lower() for reason in DropReason]

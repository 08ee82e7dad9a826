"""Splitting and joining addresses."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from meshnet.ids import Endpoint, join_host_port, split_host_port
from meshnet.testing.strategies import endpoints

LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
# The last label of a name is no number.
HOSTS = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABELS, max_size=3),
    LABELS.filter(lambda label: not label.isdigit()),
)


@given(endpoints())
def test_a_printed_endpoint_splits_into_itself(endpoint: Endpoint) -> None:
    assert split_host_port(str(endpoint), None) == endpoint


@given(HOSTS, st.integers(0, 65535), st.integers(0, 65535))
def test_a_port_that_is_given_wins_over_the_default(host: str, port: int, default: int) -> None:
    assert split_host_port(join_host_port(host, port), default) == (host, port)
    assert split_host_port(host, default) == (host, default)


@given(st.text(max_size=30) | st.text("[]:0123456789af.", max_size=30))
def test_any_text_splits_in_bounds_or_is_refused_in_one_line(text: str) -> None:
    refusal = ""
    host, port = "", 0
    try:
        host, port = split_host_port(text, 1)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        return
    assert 0 <= port <= 65535
    assert host in text
    # What is printed of it is read in one way.
    if host:
        assert split_host_port(join_host_port(host, port), None) == (host, port)


@given(st.text(max_size=30), st.integers())
def test_any_text_is_an_endpoint_in_canonical_form_or_refused(text: str, port: int) -> None:
    with contextlib.suppress(ValueError):
        endpoint = Endpoint.of(text, port)
        assert Endpoint.of(*endpoint) == endpoint

"""The client's address, as proxies tell it."""

import ipaddress
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from api.clients import client_address_of, forwarded_for, limited_network, read_node

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def address(remote: str, *headers: tuple[str, str]) -> str:
    request = make_mocked_request("GET", "/", headers=cast(Any, headers)).clone(remote=remote)
    return client_address_of(TRUSTED)(request)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ('"[2001:db8::1]:4711"', "2001:db8::1"),
        ("[2001:db8::1]:_port", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("_hidden", None),
        ("_hidden:80", None),
        ("", None),
        ("192.0.2", None),
        ("192.0.2.1:", None),
        ("192.0.2.1:port", None),
        ("[192.0.2.1", None),
        ("example.com", None),
    ],
)
def test_a_node_is_read_with_its_port_and_brackets(text: str, expected: str | None) -> None:
    assert read_node(text) == expected


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        ("for=192.0.2.1", ["192.0.2.1"]),
        ("For=192.0.2.1;Proto=https;by=203.0.113.4", ["192.0.2.1"]),
        ("proto=https; FOR=192.0.2.1 , for=192.0.2.2", ["192.0.2.1", "192.0.2.2"]),
        ('for="[2001:db8::1]:4711"', ["[2001:db8::1]:4711"]),
        ('for="192.0.2.1:\\80"', ["192.0.2.1:80"]),
        ('for=192.0.2.1;host="a,b;for=192.0.2.9", for=192.0.2.2', ["192.0.2.1", "192.0.2.2"]),
        ("for=_hidden, for=unknown", ["_hidden", "unknown"]),
        ("by=203.0.113.4, for=192.0.2.2", ["", "192.0.2.2"]),
        ('for="192.0.2.1, for=192.0.2.2', ["", "192.0.2.2"]),
        ("nonsense, for=192.0.2.2", ["", "192.0.2.2"]),
        ("for=192.0.2.1, nonsense", [""]),
        ("", []),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(text: str, hops: list[str]) -> None:
    assert forwarded_for(text) == hops


@given(st.text(alphabet='for=by;, "\\[]:_192.0.2.1x', max_size=60))
def test_whatever_forwarded_holds_it_is_read_to_its_end(text: str) -> None:
    assert all(isinstance(hop, str) for hop in forwarded_for(text))


XFF, FORWARDED = "X-Forwarded-For", "Forwarded"


@pytest.mark.parametrize(
    ("remote", "headers", "expected"),
    [
        ("192.0.2.9", [(XFF, "192.0.2.1")], "192.0.2.9"),  # nobody vouches for him
        ("192.0.2.9", [(FORWARDED, "for=192.0.2.1")], "192.0.2.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "203.0.113.7:4711")], "203.0.113.7"),
        ("10.0.0.1", [(XFF, "[2001:db8::7]:4711")], "2001:db8::7"),
        ("10.0.0.1", [(XFF, "192.0.2.1, 203.0.113.7")], "203.0.113.7"),
        ("10.0.0.1", [(XFF, "192.0.2.1, 203.0.113.7, 10.0.0.2:80")], "203.0.113.7"),
        ("10.0.0.1", [(XFF, "192.0.2.1"), (XFF, "203.0.113.7")], "203.0.113.7"),
        ("::ffff:10.0.0.1", [(XFF, "203.0.113.7")], "203.0.113.7"),
        ("fd00::1", [(XFF, "::ffff:203.0.113.7")], "203.0.113.7"),
        ("10.0.0.1", [(FORWARDED, "for=203.0.113.7;proto=https")], "203.0.113.7"),
        ("10.0.0.1", [(FORWARDED, 'for=192.0.2.1, for="[2001:db8::7]:4711"')], "2001:db8::7"),
        ("10.0.0.1", [(FORWARDED, "for=192.0.2.1"), (FORWARDED, "for=203.0.113.7")], "203.0.113.7"),
        ("10.0.0.1", [(FORWARDED, 'for=203.0.113.7, for="[fd00::2]"')], "203.0.113.7"),
        # Who is not told counts as the proxy that did not tell.
        ("10.0.0.1", [(FORWARDED, "for=_hidden")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, "for=192.0.2.1, for=unknown")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, "for=192.0.2.1, for=unknown, for=10.0.0.2")], "10.0.0.2"),
        ("10.0.0.1", [(FORWARDED, "for=192.0.2.1, proto=https")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, 'for="192.0.2.1')], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "nonsense")], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "")], "10.0.0.1"),
        # Most proxies pass on what a client calls Forwarded.
        ("10.0.0.1", [(XFF, "203.0.113.7"), (FORWARDED, "for=192.0.2.1")], "203.0.113.7"),
        ("10.0.0.1", [(XFF, "unknown"), (FORWARDED, "for=192.0.2.1")], "10.0.0.1"),
        ("", [(XFF, "203.0.113.7")], "unknown"),
    ],
)
def test_the_client_is_the_last_hop_that_no_trusted_proxy_vouches_for(
    remote: str, headers: list[tuple[str, str]], expected: str
) -> None:
    assert address(remote, *headers) == expected


def test_limits_take_an_ipv6_network_for_one() -> None:
    assert limited_network("192.0.2.1") == "192.0.2.1"
    assert limited_network("2001:db8::1") == limited_network("2001:db8::ffff:1") == "2001:db8::/64"
    assert limited_network("2001:db8:0:1::1") != limited_network("2001:db8::1")
    assert limited_network("unknown") == "unknown"

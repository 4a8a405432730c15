"""Which addresses are public, in whatever form they are written."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.channels.addresses import IPAddress, is_public, is_public_text, literal_address

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
PRIVATE_V4 = (
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "203.0.113.9",
    "224.0.0.1", "255.255.255.255",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE_V4)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public_text(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public_text(address)


@pytest.mark.parametrize(
    "address",
    ["::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001::1", "2001:db8::1", "3fff::1",
     "64:ff9b:1::1", "100::1", "5f00::1", "::7f00:1"],
)  # fmt: skip
def test_special_addresses_of_ipv6_are_not_public(address: str) -> None:
    assert not is_public_text(address)


@pytest.mark.parametrize("address", PRIVATE_V4)
def test_a_private_address_stays_private_in_every_form_of_ipv6(address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    for form in (
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
        f"2606:4700::200:5efe:{address}",
        f"::{address}",
    ):
        assert not is_public_text(form), form


@pytest.mark.parametrize("form", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_a_public_address_stays_public_in_other_forms(form: str) -> None:
    assert is_public_text(form)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.0.0.0x1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("10.258", "10.0.1.2"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::1]", "::1"),
        ("fe80::1%25eth0", "fe80::1"),
    ],
)
def test_numbers_are_read_as_a_resolver_reads_them(host: str, address: str) -> None:
    assert str(literal_address(host)) == address


@pytest.mark.parametrize("host", ["example.com", "localhost", "127.0.0.1.example.com", "4294967296", "1.2.3.4.5", ""])
def test_names_are_no_addresses(host: str) -> None:
    assert literal_address(host) is None


@given(st.ip_addresses(v=4))
def test_whatever_inet_aton_writes_is_read_back(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for form in (str(address), str(number), hex(number), f"0{number:o}"):
        assert literal_address(form) == ipaddress.IPv4Address(socket.inet_aton(form)) == address


@given(st.ip_addresses())
def test_nothing_is_public_that_python_holds_for_private(address: IPAddress) -> None:
    # What stands for an address of IPv4 is judged by that; Python's versions differ about it.
    if is_public(address) and address not in NAT64 and address not in SIX_TO_FOUR:
        assert address.is_global
        assert not address.is_multicast

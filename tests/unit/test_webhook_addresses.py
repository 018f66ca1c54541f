"""Which addresses webhooks may be sent to: nothing that is not public gets through, in whatever form it is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.api.webhooks.addresses import NOT_PUBLIC, Address, Allowed, Network, is_public

PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192"),
    *("192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::7f00:1", "::10.0.0.1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1"),
    *("ff02::1", "ff0e::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1"),
    *("2001:db8::1", "3fff::1", "5f00::1", "4000::1", "64:ff9b:1::808:808"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:a9fe:a9fe"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::c0a8:101"),
    *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::c0a8:1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.167.255.255", "192.169.0.0", "223.255.255.255", "168.63.129.17"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001::1", "2001:200::1"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"),
]
OTHERS = ("fc00::/7", "fe80::/10", "ff00::/8", "::/8", "100::/8", "4000::/2")


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_let_through(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def within(network: Network) -> st.SearchStrategy[Address]:
    """Addresses of a network."""
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = type(network.network_address)
    return st.integers(first, last).map(kind)


def embedded(address: Address) -> list[Address]:
    """Every form in which IPv6 can carry an IPv4 address to where that one leads."""
    number = int(address)
    nat64, sixtofour = int(ipaddress.IPv6Address("64:ff9b::")), int(ipaddress.IPv6Address("2002::"))
    mapped = int(ipaddress.IPv6Address("::ffff:0:0"))
    return [ipaddress.IPv6Address(value) for value in (nat64 | number, sixtofour | number << 80, mapped | number)]


IPV4 = [network for network in NOT_PUBLIC if network.version == 4]
IPV6 = [*(network for network in NOT_PUBLIC if network.version == 6), *(ipaddress.ip_network(text) for text in OTHERS)]


@given(st.sampled_from(IPV4).flatmap(within))
def test_no_address_of_a_special_range_gets_through_in_any_form(address: Address) -> None:
    assert not is_public(address)
    assert not any(is_public(form) for form in embedded(address))


def leads_to_ipv4(address: ipaddress.IPv6Address) -> bool:
    return address in ipaddress.IPv6Network("64:ff9b::/96") or address.ipv4_mapped is not None


@given(st.sampled_from(IPV6).flatmap(within))
def test_no_address_of_a_special_range_of_ipv6_gets_through(address: ipaddress.IPv6Address) -> None:
    assert leads_to_ipv4(address) or not is_public(address)


@given(st.ip_addresses())
def test_what_gets_through_is_global_for_the_standard_library_too(address: Address) -> None:
    if is_public(address) and not (address.version == 6 and leads_to_ipv4(address)):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_as_public_as_it_is_itself(address: Address) -> None:
    assert {is_public(form) for form in embedded(address)} == {is_public(address)}


def test_named_hosts_and_networks_are_let_through_and_nothing_beside_them() -> None:
    allowed = Allowed.parse("Hooks.Internal, 10.1.0.0/16,fd00:1::/32 ,127.0.0.1")
    loopback = ipaddress.ip_address("127.0.0.1")
    assert allowed.permits("hooks.internal", ipaddress.ip_address("10.9.9.9"))
    assert not allowed.permits("evil.hooks.internal", ipaddress.ip_address("10.9.9.9"))
    assert allowed.permits("anything", ipaddress.ip_address("10.1.2.3"))
    assert allowed.permits("anything", ipaddress.ip_address("::ffff:10.1.2.3"))
    assert not allowed.permits("anything", ipaddress.ip_address("10.2.0.0"))
    assert allowed.permits("anything", ipaddress.ip_address("fd00:1::5"))
    assert not allowed.permits("anything", ipaddress.ip_address("fd00:2::5"))
    assert allowed.permits("anything", loopback)
    assert allowed.permits("anything", ipaddress.ip_address("8.8.8.8"))
    assert not Allowed().permits("anything", loopback)


@pytest.mark.parametrize(
    "text", ["http://host", "10.0.0.1/8", "ho st", "10.0.0", "a..b", "*.internal", "[::1]", "0x7f"]
)
def test_a_receiver_that_is_neither_host_nor_network_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a host name nor a network") as caught:
        Allowed.parse(f"fine.example,{text}")
    assert repr(text) in str(caught.value)

"""Which addresses of the internet a stranger's URL may lead to."""

from ipaddress import IPv4Address, IPv6Address

import requests_hardened.ip_filter as hardened


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Neither this machine nor its neighbours, by whatever detour.

    What requests-hardened refuses when it connects (private, loopback, link-local with the metadata services,
    multicast, carrier NAT, and the ways to write IPv4 in IPv6: mapped, 6to4, NAT64), and reserved and site-local
    ones besides.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address.is_site_local:
            return False
    if address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in network for network in hardened.EXTRA_BLOCKED_NET_RANGES)

"""Whole numbers in as few octets as they need: seven bits each, the lowest first."""

from collections.abc import Sequence


def varint(number: int) -> bytes:
    """Write a number that is not negative."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def read_varints(octets: Sequence[int]) -> list[int] | None:
    """The numbers that follow each other in some octets; None if the last one is cut off."""
    numbers, current, shift = [], 0, 0
    for octet in octets:
        current |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            numbers.append(current)
            current, shift = 0, 0
    return None if shift else numbers

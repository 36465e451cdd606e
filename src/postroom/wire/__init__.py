"""Octets and values: addresses, replies, tokens, letters and reports, without Django, sockets or a clock."""

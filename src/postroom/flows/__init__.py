"""One short module per story; what joins two packages or opens a socket happens here."""

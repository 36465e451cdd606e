"""What is said, about which record, to whom: addresses, contacts, records, followers, messages."""

"""Sockets: the pipelined SMTP client, the listener and the target that misbehaves on request.

Knows octets and replies, never tables. Import from the modules: `client`, `listener`, `target`, `errors`.
"""

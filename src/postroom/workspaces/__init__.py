"""Workspaces (tenants) and what is set for them: members, domains, parameters, API keys, capture mode."""

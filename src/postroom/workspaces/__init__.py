"""Workspaces (tenants) and what is set for them: members, mail domains, parameters, API keys, capture mode."""

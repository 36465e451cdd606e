"""REST /api/v1."""

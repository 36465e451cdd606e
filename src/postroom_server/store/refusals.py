"""Why something is not copied."""


class StoreRefused(Exception):
    """It is not done, and nothing half done is left; the message names the remedy."""

"""Being asked for something that cannot be done, with the sentence that says what to do instead."""


class RequestRefused(Exception):
    """Nothing was changed. `str()` is one translated sentence for the person who asked, naming the remedy."""


class AcrossTheWall(RequestRefused):
    """Something of one workspace was to be joined with something of another."""

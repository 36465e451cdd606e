"""The letters that tests read."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "letters"


def letter(name: str) -> bytes:
    """The octets of one letter, to be written as it lies there."""
    return (FOLDER / f"{name}.eml").read_bytes()

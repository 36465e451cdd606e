"""Lanes that are woken, drained and ticked; knows no table of ours."""

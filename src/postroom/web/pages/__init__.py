"""The pages: each parses, calls one flow, and answers."""

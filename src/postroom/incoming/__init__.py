"""Mail that comes in: what was received, where it belongs, and why it was refused."""

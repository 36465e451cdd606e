"""Why: the events, the trail of each delivery, and plain words for replies."""

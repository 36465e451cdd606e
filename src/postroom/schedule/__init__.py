"""What is done by the clock: scheduled actions, when each runs next, and who has it in hand."""

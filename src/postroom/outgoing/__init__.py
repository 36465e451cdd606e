"""The queue: one Email per recipient, from Outgoing to Sent or Delivery Failed."""

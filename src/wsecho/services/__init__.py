"""Services: what happens to a message."""

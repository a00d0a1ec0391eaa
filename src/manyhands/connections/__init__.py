"""What happens to one connection, whichever engine runs it."""

"""Dealing: handlers in processes of their own tell each other things by way of their parent."""

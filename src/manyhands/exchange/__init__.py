"""The exchange: what parts of a program tell each other by subjects, wherever they run."""

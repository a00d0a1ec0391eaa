"""The hub: workers of the same server tell each other things, by way of a small process of its own."""

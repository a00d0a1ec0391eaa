"""The supervisor: the process that accepts connections, and deals them to the workers it looks after."""

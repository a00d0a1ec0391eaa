"""What all rooms speak of: events, states, reasons, addresses, timeouts. No I/O and no clock."""

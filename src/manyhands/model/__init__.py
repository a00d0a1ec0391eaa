"""The words of the house: events, states, reasons, addresses, timeouts. No I/O and no clock."""

"""How a listening socket comes to its address, and what is said when it does not."""

"""Who is let in: limits, rates and networks, and what is told of those who are not."""

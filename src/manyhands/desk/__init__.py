"""The desk: one operator talks with many callers, each on a line of their own.

`operation` puts it together. What is said travels through `reception` (a caller's connection), the
`switchboard` (who is on the line, and who is being answered) and the `transcript` to the operator's
screen, which is a `terminal` or plain `lines`. `client` is the caller's end.
"""

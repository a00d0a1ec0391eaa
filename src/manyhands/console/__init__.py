"""`manyhands top`: what a server is doing, on a screen. It is a client of its control socket, and no more.

All but `screen` and `dialogs` knows nothing of Textual: what is shown, and what a key asks of the server.
"""

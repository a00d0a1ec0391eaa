"""The desk: one operator talks with many callers, each in a call of its own.

`desk` puts it together. What a caller says comes in by `reception` on the call's connection (`call_io`), is
kept by the `transcript_writer`, and is shown on the operator's screen: a `terminal`, or a plain one of
`screens` for pipes. `operator` carries out what the operator types. The `switchboard` knows the calls.
`client` is the caller's end; `transcript_reader` reads what was kept.
"""

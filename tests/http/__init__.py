"""What the server of pages answers, whatever the pages hold."""  # noqa: A005 - it is `tests.http`, beside `manyhands.http`

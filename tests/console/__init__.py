"""Tests of `manyhands top`."""

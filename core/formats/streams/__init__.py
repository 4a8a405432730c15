"""Streams of bytes become text, lines, JSON and XML, in constant memory and within limits."""

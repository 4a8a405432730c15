"""The way of a write through the API: from a handler to its lane, and from its outcome to the answer."""

"""One module a program: it tells whether a file is its own, and reads it, row by row."""

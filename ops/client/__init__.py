"""`tenfold import` and `tenfold export`: clients of any Tenfold server, by its URL and a token."""

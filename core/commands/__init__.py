"""Commands: which kinds there are, how they travel, and what they come to."""

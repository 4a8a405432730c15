"""CSV as people write it: dialects, records, and which column means what."""

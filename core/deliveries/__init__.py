"""Events, and their deliveries to channels."""

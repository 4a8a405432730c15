"""Reminders of tasks that fall due: rules, the rows that they give, and their sending."""

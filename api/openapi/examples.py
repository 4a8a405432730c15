"""What the page of the document fills in, and what generated documentation shows: bodies that do what they say.

Left to itself it would put together an example of each field, and these contradict each other.
"""

from typing import Any

EXAMPLES: dict[str, Any] = {
    "Register": {"username": "ada", "email": "ada@example.com", "password": "correct horse battery staple"},
    "Login": {"username": "ada", "password": "correct horse battery staple"},
    "PasswordForm": {"grant_type": "password", "username": "ada", "password": "correct horse battery staple"},
    "Refresh": {"refresh_token": "eyJhbGciOiJIUzI1NiJ9.eyJnZW4iOjB9.5f0c"},
    "ProfileUpdate": {"time_zone": "Europe/Berlin", "reminder_offsets": ["P1D", "PT1H"]},
    "TaskCreate": {
        "title": "Renew the TLS certificates",
        "description": "The old ones end on Friday.",
        "priority": 1,
        "due_date": "2035-01-31T17:00:00+01:00",
        "labels": ["security", "on-call"],
    },
    "TaskUpdate": {"status": "in_progress", "priority": 2},
    "SetReminders": {"reminders": ["P1D", "PT1H"]},
    "Batch": {
        "operations": [
            {"op": "create", "fields": {"title": "One of many", "priority": 3}},
            {"op": "update", "id": 890123456789012, "if_version": 3, "fields": {"status": "completed"}},
            {"op": "delete", "id": 890123456789013},
        ]
    },
    "BatchCreate": {"op": "create", "fields": {"title": "One of many", "priority": 3}},
    "BatchUpdate": {"op": "update", "id": 890123456789012, "if_version": 3, "fields": {"status": "completed"}},
    "BatchDelete": {"op": "delete", "id": 890123456789013},
    "ExportCreate": {"format": "csv", "status": ["pending", "in_progress"], "sort": "priority"},
    "ChannelCreate": {"kind": "webhook", "url": "https://example.com/hooks/tenfold", "events": ["task.reminder"]},
    "ChannelUpdate": {"events": ["task.created", "task.completed"]},
    "QuietHours": {"start": "22:00", "end": "07:00"},
    "NotificationUpdate": {"read": True},
    "PartitionCreate": {"year": 2035},
}
"""Name of a schema that a client sends → one that is right."""

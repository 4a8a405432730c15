"""Domain errors, without HTTP statuses: the API maps each class to its answer in one table."""


class TenfoldError(Exception):
    """Anything that Tenfold itself refuses; the message is fit for a client."""


class QueueUnavailable(TenfoldError):
    """The queue server cannot take a command; nothing was accepted."""


class DatabaseUnavailable(TenfoldError):
    """PostgreSQL cannot answer just now; the same request may succeed later."""


class SchemaUnready(DatabaseUnavailable):
    """The database does not have the schema that this version needs: a migration is missing."""


class IdentityRefused(DatabaseUnavailable):
    """The database refuses the service's login, or the identity in a statement."""


class CursorInvalid(TenfoldError):
    """A paging cursor is not ours, is damaged, or belongs to other filters or another sort."""


class AnchorGone(TenfoldError):
    """`last_id` names a task that the caller cannot see (any more)."""


class StorageUnavailable(TenfoldError):
    """The store of uploads and exports cannot be used just now; the same request may succeed later."""


class StorageFull(StorageUnavailable):
    """The store of uploads and exports has no room for a file."""


class ObjectGone(TenfoldError):
    """A file that was uploaded or exported is not in the store (any more)."""


class SecretsUnavailable(TenfoldError):
    """SECRETS_KEY is not set, or is not the one that sealed a secret."""


class TargetRefused(TenfoldError):
    """An address that notifications must not be sent to, or that cannot be understood."""

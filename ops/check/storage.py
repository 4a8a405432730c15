"""The storage of files: can this process write there what another is to read?"""

import asyncio

from core.errors import TenfoldError
from core.settings import Settings
from core.storage import Storage
from ops.check.findings import Finding, fault, ok, told


def check_storage(settings: Settings) -> Finding:
    where = settings.storage_location
    try:
        asyncio.run(Storage(where).check())
    except TenfoldError as error:
        return fault(
            "storage",
            f"{where}: {told(error.__cause__ or error)}",
            "mend STORAGE_URL, or the access to it: without it no import or export is taken",
        )
    return ok("storage", f"{where} takes files")

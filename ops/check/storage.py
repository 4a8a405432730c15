"""The storage of files: can this process write there what another is to read?"""

import asyncio

from core.errors import TenfoldError
from core.settings import Settings
from core.storage import Storage
from ops.check.findings import Finding, fault, ok, told


def check_storage(settings: Settings) -> Finding:
    where = settings.storage_location
    try:
        asyncio.run(Storage.of(settings).check())
    except TenfoldError as error:
        said = told(error.__cause__ or error)
        if "http://" in said and "builder error" in said and not settings.storage_allow_http:
            return fault(
                "storage",
                f"{where}: its server is to be reached without TLS, which is not allowed",
                "give AWS_ENDPOINT as https://…, or say STORAGE_ALLOW_HTTP=true",
            )
        return fault(
            "storage",
            f"{where}: {said}",
            "mend STORAGE_URL, or the access to it: without it no import or export is taken",
        )
    return ok("storage", f"{where} takes files")

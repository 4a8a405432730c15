"""The version of the installed service."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("tenfold")
except PackageNotFoundError:  # run from a checkout that is not installed
    VERSION = "0"

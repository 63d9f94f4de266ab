"""What can go wrong with saved files.

StoreError              a file could not be read or written: disk full, read-only, no permission
├── NotFound            there is nothing saved under this name
├── NewerSchema         a newer version of the app wrote the file
├── DamagedFile         the content makes no sense; the file has been set aside
└── InvalidImport       a file that was given holds no chats, or is too large or damaged to be read

Each message says what happened, why, and the way out; it is written for the person at the screen.
"""


class StoreError(Exception):
    """The root: catch this to catch all of them."""

    code = 'store_error'


class NotFound(StoreError):
    """Nothing is saved under this name, or it lies in the trash."""

    code = 'not_found'


class NewerSchema(StoreError):
    """The file is from the future; it is left exactly as it is."""

    code = 'newer_schema'


class DamagedFile(StoreError):
    """The file was set aside and there was no sound backup to take its place."""

    code = 'damaged_file'


class InvalidImport(StoreError):
    """Nothing can be taken from the file; what is saved is as it was."""

    code = 'invalid_import'

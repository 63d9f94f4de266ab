"""What kind of file some bytes are: told by the bytes, since a name may say anything."""

import zipfile
from io import BytesIO
from pathlib import PurePath
from typing import Literal

from webui.documents.refusal import Refused

Kind = Literal['pdf', 'word', 'table', 'text']

MEDIA_TYPES = {
    '.md': 'text/markdown', '.markdown': 'text/markdown', '.csv': 'text/csv', '.tsv': 'text/tab-separated-values',
    '.html': 'text/html', '.htm': 'text/html', '.json': 'application/json', '.xml': 'application/xml',
}  # fmt: skip
PDF_TYPE = 'application/pdf'
WORD_TYPE = 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'

_IMAGES = (b'\x89PNG\r\n', b'\xff\xd8\xff', b'GIF8', b'BM', b'II*\0', b'MM\0*', b'\0\0\1\0')
_PICTURE_BRANDS = (b'heic', b'heix', b'avif', b'mif1', b'msf1', b'hevc')
_ZIP, _OLE, _RTF = b'PK\x03\x04', b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', b'{\\rtf'
_PDF_WITHIN = 1024
"""Readers look for the header of a PDF in so many bytes."""
_MOST_UNPACKED, _MOST_PARTS = 200 * 10**6, 5000
"""Bytes and files that a document may unpack to; python-docx reads them all."""


def kind_of(content: bytes, name: str) -> Kind:
    """Return how to read the content. Raises Refused for what holds no text that can be read."""
    if not content.strip(b' \t\r\n\0'):
        raise Refused('empty')
    if b'%PDF-' in content[:_PDF_WITHIN]:
        return 'pdf'
    if content.startswith(_ZIP):
        _check_word_file(content, name)
        return 'word'
    if content.startswith(_OLE):
        is_locked = 'EncryptedPackage'.encode('utf-16-le') in content
        raise Refused('encrypted' if is_locked else 'kind')
    if content.startswith(_RTF):
        raise Refused('kind')
    if _is_image(content):
        raise Refused('image')
    match suffix_of(name):
        case '.pdf' | '.docx' | '.docm':
            raise Refused('damaged')
        case '.csv' | '.tsv':
            return 'table'
    return 'text'


def suffix_of(name: str) -> str:
    """Return the ending of a name in lower case, such as '.csv'."""
    return PurePath(name).suffix.lower()


def media_type_of(kind: Kind, name: str) -> str:
    """Return the media type to tell of."""
    match kind:
        case 'pdf':
            return PDF_TYPE
        case 'word':
            return WORD_TYPE
    return MEDIA_TYPES.get(suffix_of(name), 'text/plain')


def _check_word_file(content: bytes, name: str) -> None:
    """Raise Refused for other packed files, and for one that unpacks to far more than it is."""
    claims_word = suffix_of(name) in {'.docx', '.docm'}
    try:
        with zipfile.ZipFile(BytesIO(content)) as packed:
            parts = packed.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError):
        raise Refused('damaged' if claims_word else 'kind') from None
    if 'word/document.xml' not in {part.filename for part in parts}:
        raise Refused('damaged' if claims_word else 'kind')
    # A part cannot hold more than it says: zipfile stops there.
    if len(parts) > _MOST_PARTS or sum(part.file_size for part in parts) > _MOST_UNPACKED:
        raise Refused('too_complex')


def _is_image(content: bytes) -> bool:
    is_webp = content.startswith(b'RIFF') and content[8:12] == b'WEBP'
    is_heif = content[4:8] == b'ftyp' and content[8:12] in _PICTURE_BRANDS
    has_mark = content.startswith(_IMAGES) and b'\0' in content[:64]
    return is_webp or is_heif or has_mark

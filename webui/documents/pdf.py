"""The text layer of PDF files; pictures of text have none."""

from io import BytesIO

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, LimitReachedError, PdfReadError

from webui.documents.refusal import LONGEST_TEXT, Note, Refused


def read_pdf(content: bytes) -> tuple[str, Note]:
    """Return the text of all pages, each under its number if there are several. Raises Refused."""
    try:
        pages = _pages(PdfReader(BytesIO(content)))
    except (Refused, MemoryError):
        raise
    except LimitReachedError:
        raise Refused('too_complex') from None
    except Exception:  # what a damaged file raises is not documented, and is anything
        raise Refused('damaged') from None
    found = [f'[{number}]\n{text}' if len(pages) > 1 else text for number, text in enumerate(pages, 1) if text]
    if not found:
        raise Refused('no_text')
    return '\n\n'.join(found), '' if len(found) == len(pages) else 'pages_without_text'


def _pages(reader: PdfReader) -> list[str]:
    if reader.is_encrypted:
        _unlock(reader)
    pages: list[str] = []
    length = 0
    for page in reader.pages:
        pages.append(_text_of(page))
        length += len(pages[-1])
        if length > LONGEST_TEXT:
            raise Refused('too_long')
    return pages


def _unlock(reader: PdfReader) -> None:
    """Open a file that only forbids something and asks for no password."""
    try:
        is_open = bool(reader.decrypt(''))
    except (DependencyError, PdfReadError):  # AES needs a library we do without
        is_open = False
    if not is_open:
        raise Refused('encrypted')


def _text_of(page: PageObject) -> str:
    try:
        return page.extract_text().strip()
    except (LimitReachedError, MemoryError):
        raise
    except Exception:  # one page may be broken and the next one sound
        return ''

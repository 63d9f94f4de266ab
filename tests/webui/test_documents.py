"""Text out of files: each kind, and what damaged and hostile ones lead to."""

import asyncio
import zipfile
from io import BytesIO
from pathlib import Path

import docx
import pytest
from docx.document import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf import PdfWriter

from webui.documents import pdf
from webui.documents.child import Outcome, Task, read
from webui.documents.reader import DocumentReader, Unreadable, refusal
from webui.documents.refusal import LONGEST_TEXT, Reason
from webui.words import say


def outcome_of(folder: Path, name: str, content: bytes) -> Outcome:
    """Read a file as the child does; on disk it has a name of ours."""
    path = folder / 'upload.part'
    path.write_bytes(content)
    return read(Task(path=str(path), name=name))


def pdf_of(*pages: str) -> bytes:
    """Return a PDF that was written by hand: a page for each text."""
    kids = ' '.join(f'{3 + 2 * number} 0 R' for number in range(len(pages)))
    objects = ['<< /Type /Catalog /Pages 2 0 R >>', f'<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>']
    for number, text in enumerate(pages):
        drawing = f'BT /F1 12 Tf 72 700 Td ({text}) Tj ET' if text else ''
        font = '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>'
        objects.append(
            f'<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * number} 0 R '
            f'/Resources << /Font << /F1 {font} >> >> >>'
        )
        objects.append(f'<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream')
    body, places = '%PDF-1.4\n', []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += f'{number} 0 obj\n{text}\nendobj\n'
    table = ''.join(f'{place:010} 00000 n \n' for place in places)
    size = len(objects) + 1
    end = f'xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n'
    return f'{body}{end}startxref\n{len(body)}\n%%EOF\n'.encode('latin-1')


def locked(content: bytes, password: str) -> bytes:
    """Return the PDF with a password to open it; an empty one only forbids changes."""
    writer = PdfWriter(clone_from=BytesIO(content))
    writer.encrypt(password, 'owner', algorithm='RC4-128')
    result = BytesIO()
    writer.write(result)
    return result.getvalue()


def word_of(document: Document) -> bytes:
    result = BytesIO()
    document.save(result)
    return result.getvalue()


def zip_of(parts: dict[str, bytes]) -> bytes:
    result = BytesIO()
    with zipfile.ZipFile(result, 'w', zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return result.getvalue()


@pytest.mark.parametrize(
    ('name', 'media_type'),
    [
        ('a.txt', 'text/plain'),
        ('a.py', 'text/plain'),
        ('A.MD', 'text/markdown'),
        ('a.html', 'text/html'),
        ('a.json', 'application/json'),
        ('server.log', 'text/plain'),
        ('Makefile', 'text/plain'),
    ],
)
def test_text_of_any_name_is_read_as_it_is(tmp_path: Path, name: str, media_type: str) -> None:
    outcome = outcome_of(tmp_path, name, b'def f():\r\n    return "\xc3\xa4"\r\n')

    assert outcome == Outcome(text='def f():\n    return "ä"', media_type=media_type)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32'])
def test_every_encoding_of_unicode_is_known(tmp_path: Path, encoding: str) -> None:
    text = 'Größe: 4 µm, and more words'

    assert outcome_of(tmp_path, 'a.txt', text.encode(encoding)) == Outcome(text=text)


def test_another_encoding_is_taken_for_windows_and_said_to_be(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, 'a.txt', 'Größe – 4 €'.encode('cp1252'))

    assert (outcome.text, outcome.note) == ('Größe – 4 €', 'windows_1252')
    assert 'Windows-1252' in say(f'attachment.note_{outcome.note}')


@pytest.mark.parametrize('delimiter', [',', ';', '\t', '|'])
def test_a_table_has_a_line_for_each_row(tmp_path: Path, delimiter: str) -> None:
    rows = ['name,note,price', '"Tea, green","two\nlines",3.5', ',,', 'Milk,,']
    content = '\n'.join(rows).replace('Tea, green', 'Tea green').replace(',', delimiter)

    outcome = outcome_of(tmp_path, 'a.csv', content.encode())

    assert outcome.text == 'name | note | price\nTea green | two lines | 3.5\nMilk'
    assert outcome.media_type == 'text/csv'


def test_a_quoted_delimiter_does_not_cut_a_cell(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, 'a.csv', b'name,price\n"Tea, green",3').text == 'name | price\nTea, green | 3'


def test_a_lone_quote_mark_does_not_swallow_the_table(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, 'a.csv', b'size,price\n"3,5\n4,6').text == 'size | price\n"3 | 5\n4 | 6'


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, 'a.pdf', pdf_of('The first page', 'The second page'))

    assert outcome.text == '[1]\nThe first page\n\n[2]\nThe second page'
    assert (outcome.media_type, outcome.note) == ('application/pdf', '')


def test_pages_without_text_are_mentioned(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, 'a.pdf', pdf_of('Words', ''))

    assert (outcome.text, outcome.note) == ('[1]\nWords', 'pages_without_text')


def test_a_pdf_that_only_forbids_changes_is_read(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, 'a.pdf', locked(pdf_of('Not secret'), '')).text == 'Not secret'


def test_a_word_file_is_read_with_headings_lists_and_tables_in_order(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading('Report', 1)
    document.add_paragraph('Before the table\twith a tab')
    table = document.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), 'abcd', strict=True):
        cell.text = text
    document.add_heading('Points', 2)
    document.add_paragraph('one', style='List Bullet')

    outcome = outcome_of(tmp_path, 'a.docx', word_of(document))

    assert outcome.text == '# Report\n\nBefore the table\twith a tab\n\na | b\nc | d\n\n## Points\n\n- one'


def test_a_word_file_with_tracked_changes_is_read_as_changed(tmp_path: Path) -> None:
    document = docx.Document()
    words = '<w:p {}><w:r><w:t xml:space="preserve">We are </w:t></w:r>{}{}</w:p>'
    inserted = '<w:ins w:id="1" w:author="A"><w:r><w:t>many</w:t></w:r></w:ins>'
    deleted = '<w:del w:id="2" w:author="A"><w:r><w:delText>few</w:delText></w:r></w:del>'
    document.element.body.insert(0, parse_xml(words.format(nsdecls('w'), inserted, deleted)))

    assert outcome_of(tmp_path, 'a.docx', word_of(document)).text == 'We are many'


@pytest.mark.parametrize(
    ('name', 'content', 'why'),
    [
        ('a.txt', b'', 'empty'),
        ('a.txt', b' \r\n\t\n', 'empty'),
        ('a.txt', b'\0' * 1000, 'empty'),
        ('a.csv', b',,,\n,,\n', 'empty'),
        ('a.txt', bytes(range(256)) * 8, 'binary'),
        ('a.txt', b'\x7fELF\x02\x01\x01' + b'\0' * 9 + b'\xff\xfe', 'binary'),
        ('a.txt', b'\x01\x02\x03 control characters \x04\x05', 'binary'),
        ('a.txt', b'x' * (LONGEST_TEXT + 1), 'too_long'),
        ('a.png', b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'image'),
        ('notes.txt', b'\xff\xd8\xff\xe0\0\x10JFIF', 'image'),
        ('a.webp', b'RIFF\0\0\0\0WEBPVP8 ', 'image'),
        ('a.heic', b'\0\0\0\x18ftypheic\0\0\0\0', 'image'),
        ('a.rtf', rb'{\rtf1 words}', 'kind'),
        ('a.doc', b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1' + b'\0' * 600, 'kind'),
        ('a.docx', b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1' + 'EncryptedPackage'.encode('utf-16-le'), 'encrypted'),
        ('a.docx', b'this is only text', 'damaged'),
        ('a.docx', b'PK\x03\x04 cut off', 'damaged'),
        ('a.docx', zip_of({'xl/workbook.xml': b'<x/>'}), 'damaged'),
        ('a.docx', zip_of({'word/document.xml': b'<x/>'}), 'damaged'),
        ('a.xlsx', zip_of({'xl/workbook.xml': b'<x/>'}), 'kind'),
        ('a.zip', b'PK\x03\x04 cut off', 'kind'),
        ('a.pdf', b'this is only text', 'damaged'),
        ('a.pdf', b'%PDF-1.7\nnothing more', 'damaged'),
        ('a.pdf', pdf_of('cut off')[:200], 'damaged'),
        ('a.pdf', pdf_of(''), 'no_text'),
        ('a.pdf', locked(pdf_of('secret'), 'password'), 'encrypted'),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path: Path, name: str, content: bytes, why: Reason) -> None:
    assert outcome_of(tmp_path, name, content) == Outcome(refused=why)
    assert refusal(why).endswith('.')


def test_a_word_file_without_text_is_refused(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, 'a.docx', word_of(docx.Document())).refused == 'no_text'


def test_a_word_file_that_unpacks_to_very_much_is_refused(tmp_path: Path) -> None:
    sound = word_of(docx.Document())
    with zipfile.ZipFile(BytesIO(sound)) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}

    bomb = zip_of({**parts, 'word/media/bomb.xml': b' ' * 210_000_000})

    assert len(bomb) < 1_000_000
    assert outcome_of(tmp_path, 'a.docx', bomb).refused == 'too_complex'


def test_entities_that_multiply_or_reach_for_files_bring_nothing(tmp_path: Path) -> None:
    secret = tmp_path / 'secret.txt'
    secret.write_text('do not tell', 'utf-8')
    with zipfile.ZipFile(BytesIO(word_of(docx.Document()))) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    kinds = f'<!DOCTYPE d [<!ENTITY x SYSTEM "{secret.as_uri()}"><!ENTITY a "{"ha" * 100}">'
    kinds += ''.join(f'<!ENTITY a{n} "{f"&a{n - 1 or str()};" * 10}">' for n in range(1, 9)) + ']>'
    body = f'<w:document {nsdecls("w")}><w:body><w:p><w:r><w:t>words &x; &a8;</w:t></w:r></w:p></w:body></w:document>'

    outcome = outcome_of(tmp_path, 'a.docx', zip_of({**parts, 'word/document.xml': f'{kinds}{body}'.encode()}))

    assert 'do not tell' not in outcome.text
    assert len(outcome.text) < 100


def test_xml_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(BytesIO(word_of(docx.Document()))) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    deep = '<w:sdt>' * 100_000 + '</w:sdt>' * 100_000
    body = f'<w:document {nsdecls("w")}><w:body>{deep}</w:body></w:document>'.encode()

    assert outcome_of(tmp_path, 'a.docx', zip_of({**parts, 'word/document.xml': body})).refused == 'damaged'


def test_a_pdf_whose_pages_go_in_circles_ends(tmp_path: Path) -> None:
    circle = pdf_of('round').replace(b'/Kids [3 0 R]', b'/Kids [2 0 R]')

    assert outcome_of(tmp_path, 'a.pdf', circle).refused in {'damaged', 'no_text'}


async def test_the_text_is_fit_for_every_file_and_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / 'upload.part'
    path.write_bytes(pdf_of(r'one\000two'))

    assert '\0' not in (await DocumentReader().read(path, 'a.pdf')).text


async def test_a_child_process_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'upload.part'
    path.write_bytes(pdf_of('Words from afar'))

    outcome = await DocumentReader().read(path, '../../a.pdf')

    assert (outcome.text, outcome.media_type) == ('Words from afar', 'application/pdf')


async def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = tmp_path / 'upload.part'
    path.write_bytes(b'words')

    with pytest.raises(Unreadable, match='not read within') as raised:
        await DocumentReader(patience=0.001).read(path, 'a.txt')

    assert raised.value.code == 'file_too_slow'


async def test_a_file_that_vanished_is_refused_and_leaves_no_child(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        await DocumentReader().read(tmp_path / 'nothing', 'a.txt')


async def test_many_files_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    reader = DocumentReader()
    for number in range(6):
        (tmp_path / f'{number}.part').write_text(f'file {number}', 'utf-8')

    outcomes = await asyncio.gather(*(reader.read(tmp_path / f'{number}.part', 'a.txt') for number in range(6)))

    assert [outcome.text for outcome in outcomes] == [f'file {number}' for number in range(6)]


def test_a_very_long_pdf_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, 'LONGEST_TEXT', 20)

    assert outcome_of(tmp_path, 'a.pdf', pdf_of('A page of words', 'A page of words')).refused == 'too_long'

"""Finding chats by their titles and what was said in them, whatever is typed and whatever happened to the index."""

import os
import random
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from presets import search_index
from presets.chat import Attachment, Chat, StoredMessage
from presets.chats import ChatStore
from presets.search import ChatSearch, Found
from presets.search_text import Span, Term, contains, fold, marked, parse, snippet, words_of
from presets.storage import Writer

Start = Callable[[], Awaitable[ChatSearch]]


class Library:
    """A store with its search, and what a test says in it."""

    def __init__(self, store: ChatStore, search: ChatSearch) -> None:
        self.store, self.search = store, search

    async def add(self, *texts: str, title: str = '', model: str = 'smol', **places: bool | str) -> Chat:
        """Save a chat with these messages in turn."""
        chat = Chat(title=title, **places)  # type: ignore[arg-type]
        for number, text in enumerate(texts):
            role, by = ('assistant', model) if number % 2 else ('user', '')
            chat.append(StoredMessage(role=role, content=text, model=by, finish_reason='stop'))  # type: ignore[arg-type]
        await self.store.save(chat)
        return chat

    async def find(self, text: str, limit: int = 20) -> Found:
        await self.search.up_to_date()
        return await self.search.find(text, limit)

    async def titles(self, text: str) -> list[str]:
        return [hit.chat.title for hit in (await self.find(text)).chats]


@asynccontextmanager
async def opened(folder: Path, writer: Writer) -> AsyncIterator[Library]:
    store = await ChatStore.open(folder, writer, print)
    search = await ChatSearch.open(folder / 'search.db', store)
    yield Library(store, search)
    await search.close()
    await store.close()


@pytest.fixture
async def library(tmp_path: Path, writer: Writer) -> AsyncIterator[Library]:
    async with opened(tmp_path, writer) as library:
        yield library


def text_of(spans: tuple[Span, ...]) -> str:
    return ''.join(span.text for span in spans)


def hits_of(spans: tuple[Span, ...]) -> list[str]:
    return [span.text for span in spans if span.hit]


# What is found


async def test_a_word_is_found_where_it_was_said(library: Library) -> None:
    chat = await library.add('How do I bake bread?', 'Mix flour, water, salt and yeast, then wait.')
    await library.add('What is the capital of France?', 'Paris.')

    [hit] = (await library.find('yeast')).chats
    assert hit.chat.id == chat.id
    [message] = hit.messages
    assert message.id == chat.leaf
    assert text_of(message.snippet) == 'Mix flour, water, salt and yeast, then wait.'
    assert hits_of(message.snippet) == ['yeast']


async def test_it_is_found_while_it_is_typed_in_any_case_and_without_accents(library: Library) -> None:
    await library.add('Où est le café? Straße, ÅNGSTRÖM', title='A trip')

    for text in ('caf', 'CAFÉ', 'cafe', 'strasse', 'straß', 'angström', 'ou est'):
        assert await library.titles(text) == ['A trip'], text
    assert await library.titles('afé') == []


async def test_titles_come_first_then_the_newest(library: Library) -> None:
    await library.add('x', title='All about tax')
    await library.add('my tax, the first', title='Older')
    await library.add('my tax, the second', title='Newer')

    assert await library.titles('tax') == ['All about tax', 'Newer', 'Older']
    [first, *_] = (await library.find('tax')).chats
    assert first.title == (Span('All about '), Span('tax', hit=True))
    assert first.messages == ()


async def test_every_word_must_be_in_the_chat_but_not_in_one_message(library: Library) -> None:
    chat = await library.add('apples', 'and pears', 'apples with plums', title='Fruit')
    await library.add('apples', title='Only apples')

    assert await library.titles('apples pears') == ['Fruit']
    [hit] = (await library.find('apples plums')).chats
    assert [message.id for message in hit.messages] == [chat.leaf]
    assert hits_of(hit.messages[0].snippet) == ['apples', 'plums']
    assert await library.titles('fruit plums') == ['Fruit']


async def test_quotes_hold_words_together_as_they_are(library: Library) -> None:
    await library.add('the cat sat on the mats', title='Cats')

    assert await library.titles('"cat sat"') == ['Cats']
    assert await library.titles('"sat cat"') == []
    assert await library.titles('"the mat"') == []
    assert await library.titles('the mat') == ['Cats']


async def test_any_part_of_a_text_without_spaces_is_found(library: Library) -> None:
    await library.add('東京都の天気はどうですか', title='Weather')
    await library.add('京東', title='Shop')

    for text in ('東京', '京都', '天気', '天', 'どうです'):
        assert await library.titles(text) in (['Weather'], ['Weather', 'Shop'], ['Shop', 'Weather']), text
    assert await library.titles('京都') == ['Weather']
    [hit] = (await library.find('天気')).chats
    assert hits_of(hit.messages[0].snippet) == ['天気']
    assert text_of(hit.messages[0].snippet) == '東京都の天気はどうですか'


async def test_other_branches_and_attachments_are_found_too(library: Library) -> None:
    chat = await library.add('Say a fruit', 'quince')
    chat.leaf = chat.path()[0].id
    chat.append(StoredMessage(role='assistant', content='medlar', finish_reason='stop'))
    file = Attachment(name='orchard.txt', text='rows of mirabelles')
    chat.append(StoredMessage(role='user', content='', attachments=[file]))
    await library.store.save(chat)

    for text in ('quince', 'medlar', 'mirabelle', 'orchard'):
        assert [hit.chat.id for hit in (await library.find(text)).chats] == [chat.id], text


async def test_more_chats_and_messages_are_counted_than_told(library: Library) -> None:
    for number in range(5):
        await library.add(*(f'spoon {part}' for part in range(6)), title=f'{number}')

    found = await library.find('spoon', limit=2)
    assert [hit.chat.title for hit in found.chats] == ['4', '3']
    assert found.total == 5
    assert [text_of(message.snippet) for message in found.chats[0].messages] == ['spoon 5', 'spoon 4', 'spoon 3']
    assert found.chats[0].count == 6


async def test_filters_leave_out_chats(library: Library) -> None:
    await library.add('tea', 'ok', title='Plain')
    await library.add('tea', 'ok', title='Pinned', pinned=True)
    await library.add('tea', 'ok', title='Archived', archived=True)
    await library.add('tea', 'ok', title='Filed', folder='Work/My taxes')
    await library.add('tea', 'ok', title='Large', model='Llama-70B')

    assert await library.titles('tea') == ['Large', 'Filed', 'Pinned', 'Plain']
    assert await library.titles('is:pinned') == await library.titles('tea is:pinned') == ['Pinned']
    assert await library.titles('is:archived tea') == await library.titles('IS:Archived') == ['Archived']
    assert await library.titles('folder:work') == await library.titles('folder:"my tax" tea') == ['Filed']
    assert await library.titles('model:70b tea') == ['Large']
    assert await library.titles('is:pinned model:70b') == []
    assert await library.titles('is:unknown tea') == await library.titles('colour:red') == []


async def test_nothing_asked_is_nothing_found(library: Library) -> None:
    await library.add('tea')

    for text in ('', '   ', '""', '!?', 'folder:', '\x00', '*'):
        assert (await library.find(text)).chats == (), text


# Following the chats


async def test_what_changes_is_found_as_it_is_now(library: Library) -> None:
    chat = await library.add('first words', title='Old title')
    assert await library.titles('first') == ['Old title']
    chat.path()[0].content, chat.title = 'other words', 'New title'
    await library.store.save(chat)

    assert await library.titles('first') == await library.titles('old') == []
    assert await library.titles('other') == await library.titles('new') == ['New title']


async def test_a_deleted_chat_is_gone_until_it_is_restored(library: Library) -> None:
    chat = await library.add('secret plans', title='Plans')
    await library.store.delete(chat.id)
    assert await library.titles('secret') == []

    await library.store.restore(chat.id)
    assert await library.titles('secret') == ['Plans']


async def test_the_index_is_kept_and_catches_up_at_the_next_start(tmp_path: Path, writer: Writer) -> None:
    async with opened(tmp_path, writer) as library:
        await library.add('kept as it is', title='Kept')
        changed = await library.add('before', title='Changed')
        gone = await library.add('gone later', title='Gone')
        await library.search.up_to_date()
    store = await ChatStore.open(tmp_path, writer, print)
    changed.path()[0].content = 'after'
    await store.save(changed)
    await store.delete(gone.id)
    await store.save(Chat(title='Brand new'))

    async with opened(tmp_path, writer) as library:
        assert (await library.search.find('kept')).total == 1
        assert await library.titles('before') == await library.titles('gone') == []
        assert await library.titles('after') == ['Changed']
        assert await library.titles('brand') == ['Brand new']


@pytest.mark.skipif(os.name == 'nt', reason='Windows has other rights')
async def test_the_index_is_as_private_as_the_chats(library: Library, tmp_path: Path) -> None:
    await library.add('Hi')
    await library.search.up_to_date()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob('search.db*')} == {0o600}  # noqa: ASYNC240


# A damaged, old or missing index


@pytest.mark.parametrize('damage', ['removed', 'emptied', 'not a database', 'cut', 'overwritten', 'another version'])
async def test_an_index_that_is_not_sound_is_made_anew(tmp_path: Path, writer: Writer, damage: str) -> None:
    file = tmp_path / 'search.db'
    async with opened(tmp_path, writer) as library:
        for number in range(20):
            await library.add(*(f'needle {number} {part} ' + 'hay ' * 200 for part in range(10)), title=f'{number}')
        await library.search.up_to_date()
    spoil(file, damage)

    async with opened(tmp_path, writer) as library:
        for _ in range(3):  # damage in the middle shows when it is read
            if (found := await library.find('needle', limit=50)).total:
                break
        assert len(found.chats) == 20
        assert [hit.count for hit in found.chats] == [10] * 20


def spoil(file: Path, damage: str) -> None:
    content = file.read_bytes()
    match damage:
        case 'removed':
            file.unlink()
        case 'emptied':
            file.write_bytes(b'')
        case 'not a database':
            file.write_bytes(b'x' * len(content))
        case 'cut':
            file.write_bytes(content[: len(content) // 2])
        case 'overwritten':
            file.write_bytes(content[:8192] + b'\xff' * (len(content) - 8192))
        case 'another version':
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("UPDATE about SET version = 'older'")
                connection.commit()


async def test_a_folder_in_the_way_of_the_index_costs_only_the_file(tmp_path: Path, writer: Writer) -> None:
    (tmp_path / 'search.db').mkdir()
    async with opened(tmp_path, writer) as library:
        await library.add('found all the same', title='Here')
        assert await library.titles('found') == ['Here']


async def test_without_the_full_text_index_the_texts_are_looked_through(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, writer) as library:
        await library.add('made by a better Python', title='First')
        await library.search.up_to_date()
    monkeypatch.setattr(search_index, 'has_full_text', lambda: False)

    async with opened(tmp_path, writer) as library:
        await library.add('Été à la plage', 'tea', title='Summer')
        found = await library.find('ete')
        assert found.is_slow
        assert [hits_of(hit.messages[0].snippet) for hit in found.chats] == [['Été']]
        assert await library.titles('pla summ') == ['Summer']
        assert await library.titles('better') == ['First']
        assert await library.titles('winter') == []


# Any text at all

ALPHABETS = [
    'abc xyz',
    'AbÇ éñö Åß ıİ ﬁ Ⅷ ½ ㎏',
    '東京 にほん 한국어 ไทย हिन्दी עברית العربية',
    '"\'*():^-+{}[]<>&|\\/%_~` AND OR NOT NEAR',
    '\x00\x01\x02\t\n\r\u200b\u202e\ufeff\ud83d 😀👨‍👩‍👧',
]


def random_text(chance: random.Random, longest: int) -> str:
    letters = chance.choice(ALPHABETS)
    other = chr(chance.randrange(sys.maxunicode))
    return ''.join(chance.choice(letters + other + ' ') for _ in range(chance.randrange(longest)))


async def test_no_text_and_no_query_fails_and_a_hit_contains_what_was_looked_for(library: Library) -> None:
    chance = random.Random(4)
    texts = [random_text(chance, 60) for _ in range(150)]
    for text in texts:
        await library.add(text, title=chance.choice(['', text[:20]]))
    await library.search.up_to_date()

    for _ in range(300):
        text = chance.choice(texts)
        start = chance.randrange(len(text) + 1)
        query = chance.choice([random_text(chance, 12), text[start : start + chance.randrange(1, 12)]])
        terms = parse(query).terms
        for hit in (await library.search.find(query)).chats:
            parts = [hit.title, *(message.snippet for message in hit.messages)]
            assert all(any(contains(fold(text_of(part)), term) for part in parts) for term in terms), (query, parts)
            assert any(hits_of(part) for part in parts), (query, parts)


async def test_every_word_of_every_text_is_found(library: Library) -> None:
    chance = random.Random(5)
    texts = [random_text(chance, 80) for _ in range(100)]
    chats = {(await library.add(text)).id: text for text in texts}
    await library.search.up_to_date()

    missing = []
    for chat_id, text in chats.items():
        for word in words_of(fold(text)):
            found = await library.search.find(f'"{word}"', limit=200)
            if chat_id not in [hit.chat.id for hit in found.chats]:
                missing.append((word, ascii(word)))
    assert len(missing) < 5, missing  # letters that are younger than SQLite's table of them


# Marking


def test_a_long_text_is_cut_around_the_first_hit_and_put_in_one_line() -> None:
    text = 'before ' * 100 + 'the\n  needle in it ' + 'after ' * 100

    spans = snippet(text, [Term(('needle',))])
    assert hits_of(spans) == ['needle']
    assert text_of(spans).startswith('… ')
    assert text_of(spans).endswith(' …')
    assert 'before the needle in it after' in text_of(spans)
    assert len(text_of(spans)) < 160


def test_all_places_are_marked_and_the_text_stays_whole() -> None:
    spans = marked('Tea, tea and teapots: théière', [Term(('tea',)), Term(('theiere',))])

    assert hits_of(spans) == ['Tea', 'tea', 'teapots', 'théière']
    assert text_of(spans) == 'Tea, tea and teapots: théière'

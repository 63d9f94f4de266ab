"""Numbers, sizes and dates as the person who reads the page writes them; a day has 24 hours."""

from datetime import datetime

from webui.words import language, say, with_marks

KILO, MEGA, GIGA = 1 << 10, 1 << 20, 1 << 30
NARROW_SPACE = '\u202f'


def number(value: float, digits: int = 0) -> str:
    """Return a number with `digits` after the point, such as 1,234.5."""
    return with_marks(language(), f'{value:,.{digits}f}')


def plain(value: float) -> str:
    """Return a number with the digits it has and no more, such as 0.05."""
    return number(value) if value == int(value) else with_marks(language(), f'{value:,g}')


def percent(share: float, digits: int = 0) -> str:
    """Return a share from 0 to 1, such as 12 %."""
    space = NARROW_SPACE if language() == 'de' else ''
    return f'{number(share * 100, digits)}{space}%'


def size(count: int) -> str:
    """Return an amount of bytes with its unit, such as 1.5 GB."""
    if count >= GIGA:
        return f'{number(count / GIGA, 1)} GB'
    if count >= MEGA:
        return f'{number(count / MEGA)} MB'
    return f'{number(count / KILO)} KB'


def day(when: datetime) -> str:
    """Return a date in the time of the server, such as 5 March 2026."""
    local = when.astimezone()
    return say('dates.day', day=local.day, month=month_name(local.month), year=local.year)


def month(when: datetime) -> str:
    """Return month and year, such as March 2026."""
    local = when.astimezone()
    return f'{month_name(local.month)} {local.year}'


def moment(when: datetime) -> str:
    """Return date and time, such as 5 March 2026, 14:03."""
    return f'{day(when)}, {when.astimezone():%H:%M}'


def month_name(index: int) -> str:
    """Return the name of a month, counted from 1."""
    return say(f'dates.month_{index}')

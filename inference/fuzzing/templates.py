"""Chat templates by a stranger who means no good: sound ones with pieces in them that never end, grow or break."""

from random import Random

from inference.template import CHATML

SIZES = (
    '1', '7', '99', '9999', '99999', '9999999', '99999999', '10**9', '9**9**9', '-1', '0.5', 'none', "'a'", '[]',
)  # fmt: skip
TEXTS = (
    "'a'", "''", "'%s'", "'{}'", "'a\\n'", "'\\u0000'", "'漢'", 'messages[0].content', 'messages|string', 'bos_token',
    'nothing', "'%9999999d'", "'{0:9999999}{0}'", 'all.x',
)  # fmt: skip
LISTS = (
    'messages', 'range(99999)', 'range({n})', '[{t}] * {n}', '({t} * {n})|list', '{t}.split()', '[]', '(1, (2, 3))',
    'tools',
)  # fmt: skip
CALLS = (
    '{t} * {n}', '{t} ~ {t} ~ {t}', '{t} + {t}', '{t} % {n}', '{t} % ({t}, {n})', '{n} ** {n}', '{n} * {n}',
    '{t}.replace({t}, {t} * {n})', '{t}|replace({t}, {t})', '{t}.join({l})', '{l}|join({t})', '{t}.format({t}, {n})',
    '{t}|format({t})', '{t}.ljust({n})', '{t}.zfill({n})', '{t}.encode()', '{t}.translate({{}})',
    '{t}.expandtabs({n})', '{t}|indent({n})', '{t}|center({n})', '{t}|wordwrap({n})', '{t}|urlize', '{t}|title',
    '{t}|truncate({n})', '{t}|e', '{l}|tojson(indent={n})', '{l}|tojson', '{l}|string', '{l}|list|length',
    '{l}|sort|length', '{l}|unique|list', '{l}|sum(start=[])', '{l}|map(attribute={t})|list', "{l}|map('upper')|join",
    '{l}|groupby({t})|list', '{l}|batch({n})', '{n}|round({n}, "ceil")', '({l})[{n}:]', '({t})[::{n}]',
    'strftime_now({t} * {n})', 'raise_exception({t} * {n})', 'dict(a={t}).items()|list', '{{{t}: {l}}}', '{t} in {l}',
    '({t}, {t}) in {l}', '{t}.__class__.__mro__', '{l}.append(1)', 'messages[0].__setitem__', 'namespace(a={l}).a',
    'cycler(*{l}).next()', 'f({n})', 'loop.index', 'self', 'lipsum({n})', 'messages[{n}].content', '{l} == {l}',
    '{n}.to_bytes({n}, "big")', '{t} < {n}', '{n} // {n}',
)  # fmt: skip
STATEMENTS = (
    '{{{{ {c} }}}}', '{{% set all.x = {c} %}}', '{{% set all.x = all.x ~ ({c}) %}}',
    '{{% set all.x = [all.x, {c}] %}}', '{{% set all.x = (all.x,) %}}', '{{% set y = {c} %}}',
    '{{% if {c} %}}x{{% endif %}}', '{{% for x in {c} %}}x{{% endfor %}}',
)  # fmt: skip
BLOCKS = (
    '{s}', '{s}', '{{% for i in range(99999) %}}{s}{{% endfor %}}', '{{% for i in {l} %}}{s}{{% endfor %}}',
    '{{% for i in range(999) %}}{{% for j in range(999) %}}{s}{{% endfor %}}{{% endfor %}}',
    '{{% set z %}}{s}{s}{{% endset %}}{{{{ z }}}}', '{{% filter upper %}}{s}{{% endfilter %}}',
    '{{% macro f(n) %}}{s}{{{{ f(n) }}}}{{% endmacro %}}{{{{ f(1) }}}}',
    '{{% macro f(n) %}}{s}{{% endmacro %}}{{{{ f(1) * 99 }}}}', '{{% generation %}}{s}{{% endgeneration %}}',
    "{{% include 'x' %}}", "{{% extends 'x' %}}", '{{% break %}}',
    '{{% block b %}}{s}{{{{ self.b() }}}}{{% endblock %}}',
    '{{% for x in [1] recursive %}}{s}{{{{ loop([1]) }}}}{{% endfor %}}',
)  # fmt: skip
BEGINNING = "{% set all = namespace(x='a') %}"
LETTERS = ('', '%}', '{{', '}}', "'", '{#', '|', '\0', '(')


def random_template(dice: Random) -> str:
    """Return a template that works or nearly does, with up to three pieces of malice somewhere."""
    source = CHATML
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        place = dice.choice((0, len(source), source.find('{{'), source.find('{% endfor')))
        source = source[:place] + _block(dice) + source[place:]
    source = BEGINNING + source
    if dice.random() < 0.2:
        place = dice.randrange(len(source))
        source = source[:place] + dice.choice(LETTERS) + source[place + 1 :]
    return source


def _block(dice: Random) -> str:
    lists = dice.choice(LISTS).format(n=dice.choice(SIZES), t=dice.choice(TEXTS))
    return dice.choice(BLOCKS).format(s=_statement(dice), l=lists)


def _statement(dice: Random) -> str:
    return dice.choice(STATEMENTS).format(c=_call(dice))


def _call(dice: Random) -> str:
    text = dice.choice(TEXTS) if dice.random() < 0.6 else f'({dice.choice(TEXTS)} * {dice.choice(SIZES)})'
    lists = dice.choice(LISTS).format(n=dice.choice(SIZES), t=text)
    return dice.choice(CALLS).format(t=text, n=dice.choice(SIZES), l=f'({lists})')

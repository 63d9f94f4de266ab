"""The formats in which models call tools: how each is read, and how it is written."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from inference.calls import Reader
from inference.chat import ToolCall
from inference.json_calls import after_name, in_json, to_recipient
from inference.tagged_calls import Tags, as_python, in_gemma, in_python, in_tags


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFormat:
    """How a model calls tools.

    `readers` are tried in turn behind a text that opens a call. `before` and `after` stand around the arguments, with
    {name} where the tool's name goes, or, where there are `keys`, around an object with name and arguments.
    """

    readers: Mapping[str, tuple[Reader, ...]]
    before: str
    after: str = ''
    keys: tuple[str, str] | None = None
    json: bool = True
    """Whether the arguments are JSON."""
    bare: bool = False
    """Whether a reply that begins with a brace may be a call."""
    unseen: tuple[str, ...] = ()
    """Texts around calls that mean nothing by themselves."""
    inside: tuple[str, ...] = ()
    """Texts in calls that may be tokens of their own."""
    signs: tuple[str, ...] = ()
    """Texts by which to know a template that lists tools but does not write calls."""
    written: Callable[[str, str], str] | None = None
    """How a call is written of a name and arguments in JSON, where `around` does not tell."""

    @property
    def markers(self) -> tuple[str, ...]:
        """What the parser has to see, even where a control token stands for it."""
        return (*self.readers, *self.unseen, *self.inside)

    def around(self, name: str) -> tuple[str, str]:
        """Return what stands before and after the arguments in a call of the tool `name`."""
        before, after = self.before.replace('{name}', name), self.after
        if not self.keys:
            return before, after
        key, arguments = self.keys
        return f'{before}{{"{key}": {json.dumps(name, ensure_ascii=False)}, "{arguments}": ', '}' + after

    def write(self, calls: Sequence[ToolCall]) -> str:
        """Return calls as the model would write them."""
        return '\n'.join(self._write(call.name, call.arguments or '{}') for call in calls)

    def _write(self, name: str, arguments: str) -> str:
        if self.written:
            return self.written(name, arguments)
        before, after = self.around(name)
        return before + arguments + after


_NAME = r'(?P<name>[\w.-]+)'
_PARAMETERS = Tags(name_end='>', key='<parameter=', key_end='>', value_end='</parameter>', closes='</function>')
_PARAMS = Tags(name_end='">', key='<param name="', key_end='>', value_end='</param>', closes='</function>')
_INVOKE = Tags(name_end='">', key='<parameter name="', key_end='>', value_end='</parameter>', closes='</invoke>')
_DSML = Tags(
    name_end='">', key='<｜DSML｜parameter name="', key_end='>',
    value_end='</｜DSML｜parameter>', closes='</｜DSML｜invoke>',
)  # fmt: skip
_ARG_KEYS = Tags(
    key='<arg_key>', key_end='</arg_key>', value='<arg_value>', value_end='</arg_value>', closes='</tool_call>',
)  # fmt: skip
_NAME_AND_ARGUMENTS = ('name', 'arguments')
_HERMES_CALL = in_json('</tool_call>')
_MISTRAL_CALLS = (in_json(), after_name(rf'{_NAME}\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\])?'))

HERMES = CallFormat(
    readers={'<tool_call>': (_HERMES_CALL,)},
    before='<tool_call>\n',
    after='\n</tool_call>',
    keys=_NAME_AND_ARGUMENTS,
    inside=('</tool_call>',),
)
HARMONY = CallFormat(
    readers={},  # calls are messages of their own there
    before='<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>',
)
LLAMA = CallFormat(
    readers={'<|python_tag|>': (in_json(),), '<function=': (after_name(f'{_NAME}>', '</function>'),)},
    before='',
    keys=('name', 'parameters'),
    bare=True,
    signs=('"parameters": dictionary of argument name',),
)
FORMATS = (
    HERMES,
    CallFormat(  # Qwen3-Coder, Qwen 3.5, Nemotron 3, Step
        readers={
            '<tool_call>': (in_tags(_PARAMETERS, '</tool_call>', opens='<function='), _HERMES_CALL),
            '<function=': (in_tags(_PARAMETERS, '</tool_call>'),),
        },
        before='<tool_call>\n<function={name}>',
        json=False,
        inside=('</tool_call>',),
    ),
    CallFormat(  # Seed-OSS
        readers={'<seed:tool_call>': (in_tags(_PARAMETERS, '</seed:tool_call>', opens='<function='),)},
        before='<seed:tool_call>\n<function={name}>',
        json=False,
        inside=('</seed:tool_call>',),
    ),
    CallFormat(  # GLM 4.5 and later, Ling, Laguna
        readers={'<tool_call>': (in_tags(_ARG_KEYS), _HERMES_CALL)},
        before='<tool_call>{name}',
        json=False,
        inside=('<arg_key>', '</arg_key>', '<arg_value>', '</arg_value>', '</tool_call>'),
    ),
    CallFormat(  # MiniMax M2
        readers={'<invoke name="': (in_tags(_INVOKE),)},
        before='<invoke name="{name}">',
        json=False,
        unseen=('<minimax:tool_call>', '</minimax:tool_call>'),
    ),
    CallFormat(  # DeepSeek 3.2 and later
        readers={'<｜DSML｜invoke name="': (in_tags(_DSML),)},
        before='<｜DSML｜invoke name="{name}">',
        json=False,
        unseen=(
            '<｜DSML｜function_calls>',
            '</｜DSML｜function_calls>',
            '<｜DSML｜tool_calls>',
            '</｜DSML｜tool_calls>',
        ),
        inside=('｜DSML｜',),
    ),
    CallFormat(  # MiniCPM 5
        readers={'<function name="': (in_tags(_PARAMS),)}, before='<function name="{name}">', json=False
    ),
    CallFormat(  # Mistral: Nemo and before
        readers={'[TOOL_CALLS]': _MISTRAL_CALLS},
        before='[TOOL_CALLS][',
        after=']',
        keys=_NAME_AND_ARGUMENTS,
        inside=('[ARGS]', '[CALL_ID]'),
    ),
    CallFormat(  # Mistral Small 3.2 and later, Devstral, Magistral, Ministral
        readers={'[TOOL_CALLS]': _MISTRAL_CALLS},
        before='[TOOL_CALLS]{name}[ARGS]',
        inside=('[ARGS]', '[CALL_ID]'),
        signs=('[TOOL_CALLS]',),
    ),
    CallFormat(  # Granite 3, Phi 4 mini
        readers={'<|tool_call|>': (in_json('<|/tool_call|>'),)},
        before='<|tool_call|>[',
        after=']',
        keys=_NAME_AND_ARGUMENTS,
        inside=('<|/tool_call|>',),
        signs=('<|tool_call|>',),
    ),
    CallFormat(  # Command R7B, Command A
        readers={'<|START_ACTION|>': (in_json('<|END_ACTION|>'),)},
        before='<|START_ACTION|>[\n    ',
        after='\n]<|END_ACTION|>',
        keys=('tool_name', 'parameters'),
        inside=('<|END_ACTION|>',),
        signs=('<|START_ACTION|>',),
    ),
    CallFormat(  # Nemotron Nano 2
        readers={'<TOOLCALL>': (in_json('</TOOLCALL>'),)},
        before='<TOOLCALL>[',
        after=']</TOOLCALL>',
        keys=_NAME_AND_ARGUMENTS,
        inside=('</TOOLCALL>',),
    ),
    CallFormat(  # Apriel
        readers={'<tool_calls>': (in_json('</tool_calls>'),)},
        before='<tool_calls>[',
        after=']</tool_calls>',
        keys=_NAME_AND_ARGUMENTS,
        inside=('</tool_calls>',),
    ),
    CallFormat(  # MiniMax M1
        readers={'<tool_calls>': (in_json('</tool_calls>'),)},
        before='<tool_calls>\n',
        after='\n</tool_calls>',
        keys=_NAME_AND_ARGUMENTS,
        inside=('</tool_calls>',),
    ),
    CallFormat(  # GigaChat 3.1
        readers={'<|function_call|>': (in_json(),)},
        before='<|function_call|>',
        keys=_NAME_AND_ARGUMENTS,
    ),
    CallFormat(  # Apertus
        readers={'<|tools_prefix|>': (in_json('<|tools_suffix|>'),)},
        before='<|tools_prefix|>[{"{name}": ',
        after='}]<|tools_suffix|>',
        inside=('<|tools_suffix|>',),
    ),
    CallFormat(  # Functionary 3.1
        readers={'<function=': (after_name(f'{_NAME}>', '</function>'),)},
        before='<function={name}>',
        after='</function>',
    ),
    CallFormat(readers={'>>>': (to_recipient('all'),)}, before='>>>{name}\n'),  # Functionary 3.2
    CallFormat(  # DeepSeek R1 and V3
        readers={
            '<｜tool▁call▁begin｜>': (
                after_name(rf'function<｜tool▁sep｜>{_NAME}\s*```json', '```', '<｜tool▁call▁end｜>'),
                after_name(rf'{_NAME}<｜tool▁sep｜>', '<｜tool▁call▁end｜>'),
            )
        },
        before='<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n',
        after='\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        unseen=('<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'),
        inside=('<｜tool▁sep｜>', '<｜tool▁call▁end｜>'),
    ),
    CallFormat(  # DeepSeek V3.1
        readers={'<｜tool▁call▁begin｜>': (after_name(rf'{_NAME}<｜tool▁sep｜>', '<｜tool▁call▁end｜>'),)},
        before='<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>',
        after='<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        unseen=('<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'),
        inside=('<｜tool▁sep｜>', '<｜tool▁call▁end｜>'),
    ),
    CallFormat(  # Kimi K2
        readers={
            '<|tool_call_begin|>': (
                after_name(rf'(?:functions\.)?{_NAME}:\d+<\|tool_call_argument_begin\|>', '<|tool_call_end|>'),
            )
        },
        before='<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>',
        after='<|tool_call_end|><|tool_calls_section_end|>',
        unseen=('<|tool_calls_section_begin|>', '<|tool_calls_section_end|>'),
        inside=('<|tool_call_argument_begin|>', '<|tool_call_end|>'),
        signs=('<|tool_calls_section_begin|>',),
    ),
    CallFormat(  # LFM 2
        readers={'<|tool_call_start|>': (in_python('<|tool_call_end|>'),)},
        before='<|tool_call_start|>[{name}(',
        json=False,
        inside=('<|tool_call_end|>',),
        signs=('<|tool_list_start|>', 'List of tools: ['),
        written=lambda name, arguments: f'<|tool_call_start|>{as_python(name, arguments)}<|tool_call_end|>',
    ),
    CallFormat(  # Gemma 4
        readers={'<|tool_call>': (in_gemma('<tool_call|>'),)},
        before='<|tool_call>call:{name}{',
        json=False,
        inside=('<tool_call|>', '<|"|>'),
    ),
    LLAMA,  # the last one: its calls look like the inside of others
)

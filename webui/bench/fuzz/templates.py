"""Hostile chat templates: each is tried and rendered within bounds, whatever it asks for."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from inference.errors import InvalidRequest, InvalidTemplate
from inference.fuzzing.requests import random_request
from inference.fuzzing.templates import random_template
from inference.fuzzing.tiny import N_VOCAB
from inference.template import ChatTemplate, PromptOptions
from webui.bench.fuzz.findings import Plan, Problem, peak_memory, say, write_down
from webui.bench.fuzz.worker import Died, Worker

BATCH = 100
PATIENCE = 900.0
"""Seconds for a batch, of which most templates take milliseconds and none more than a few seconds."""
Rendering = tuple[int, str, str, float]
"""A case, how it ended, why, and the seconds that took."""


@dataclass(kw_only=True, slots=True)
class Templates:
    """How they ended, the slowest, and the most memory that a process took to render a batch of them."""

    ends: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    slowest: float = 0.0
    growth: int = 0


def run(plan: Plan) -> Templates:
    """Render every template of the plan, a batch in each child process."""
    templates = Templates()
    at, end = plan.first, plan.first + plan.count
    while at < end:
        batch = plan.part(at, min(BATCH, end - at))
        at += _note(batch, templates)
        say(f'Templates: {at - plan.first:,} of {plan.count:,} rendered')
    return templates


def render_batch(plan: Plan) -> tuple[list[Rendering], int]:
    """Render the templates of some cases; return what came of each, and how the peak of memory grew."""
    before = peak_memory()
    renderings = []
    for case in plan.cases:
        _case_file(plan).write_text(str(case))
        started = time.perf_counter()
        ended, why = _render(plan, case)
        renderings.append((case, ended, why, time.perf_counter() - started))
    return renderings, peak_memory() - before


def _note(batch: Plan, templates: Templates) -> int:
    """Render a batch and note how it went; return how many cases are done, fewer where the process died of one."""
    with Worker(render_batch, batch.folder / 'templates.log') as render:
        try:
            renderings, growth = render(batch, PATIENCE)
        except Died as death:
            case = int(_case_file(batch).read_text())
            _blame(batch, case, f'the process died: {death}', templates)
            return case + 1 - batch.first
    for case, ended, why, seconds in renderings:
        templates.ends[ended] += 1
        templates.slowest = max(templates.slowest, seconds)
        if ended == 'problem':
            _blame(batch, case, why, templates)
    templates.growth = max(templates.growth, growth)
    return batch.count


def _render(plan: Plan, case: int) -> tuple[str, str]:
    dice = plan.dice('templates', case)
    source, request = random_template(dice), random_request(dice, n_vocab=N_VOCAB)
    try:
        template, warning = ChatTemplate.load(source, bos='<s>', eos='</s>')
        template.render(request.messages, PromptOptions(tools=request.tools))
    except (InvalidTemplate, InvalidRequest) as error:
        return 'refused', str(error)
    except Exception as error:  # that is what this is about
        return 'problem', f'{type(error).__name__}: {error}'
    return ('replaced', warning) if warning else ('used', '')


def _blame(plan: Plan, case: int, what: str, templates: Templates) -> None:
    source = random_template(plan.dice('templates', case))
    facts = {'seed': plan.seed, 'case': case, 'what': what, 'source': source}
    path = write_down(plan.keep / f'template-{case}.json', facts)
    templates.problems.append(Problem(part='template', case=case, what=what, file=path))


def _case_file(plan: Plan) -> Path:
    return plan.folder / 'template.txt'

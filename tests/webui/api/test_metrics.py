"""The numbers that a monitor collects."""

import re

from tests.webui.api.serving import Running

SAMPLE = re.compile(r'(chatbot_[a-z_]+)(?:\{([a-z]+="[^"\n]*")\})? (\d+(?:\.\d+)?(?:e-?\d+)?)')


def numbers(server: Running) -> dict[str, float]:
    """Return what the page says, by name and label; every line must be of Prometheus' format."""
    response = server.http.get('/metrics')
    assert response.headers['content-type'] == 'text/plain; version=0.0.4; charset=utf-8'
    samples: dict[str, float] = {}
    typed = ''
    for line in response.text.splitlines():
        if line.startswith('# HELP '):
            continue
        if line.startswith('# TYPE '):
            typed = line.split()[2]
            continue
        found = SAMPLE.fullmatch(line)
        assert found and found[1].startswith(typed), line
        samples[f'{found[1]} {found[2]}' if found[2] else found[1]] = float(found[3])
    return samples


def test_tokens_replies_and_times_add_up(server: Running) -> None:
    assert numbers(server)['chatbot_requests_total reason="stop"'] == 0

    body = {'messages': [{'role': 'user', 'content': 'one two three four'}]}
    for _ in range(2):
        server.http.post('/v1/chat/completions', json=body)
    server.http.post('/v1/chat/completions', json={**body, 'max_tokens': 1})
    server.http.post('/v1/chat/completions', json={'messages': [{'role': 'user', 'content': ''}]})

    told = numbers(server)
    assert told['chatbot_requests_total reason="stop"'] == 2
    assert told['chatbot_requests_total reason="length"'] == 1
    assert told['chatbot_requests_total reason="error"'] == 1
    assert told['chatbot_prompt_tokens_total'] == 12
    assert told['chatbot_cached_tokens_total'] == 6
    assert told['chatbot_cache_hit_rate'] == 0.5
    assert told['chatbot_completion_tokens_total'] == 9
    assert told['chatbot_time_to_first_token_seconds_count'] == 3
    assert told['chatbot_inter_token_seconds_count'] == 6
    assert told['chatbot_inter_token_seconds_bucket le="+Inf"'] == 6
    buckets = [value for name, value in told.items() if name.startswith('chatbot_inter_token_seconds_bucket')]
    assert buckets == sorted(buckets)


def test_what_the_engine_does_now(slow_server: Running) -> None:
    body = {'messages': [{'role': 'user', 'content': 'word ' * 1000}]}
    with slow_server.http.stream('POST', '/api/chat/stream', json=body) as running:
        next(running.iter_text())
        with slow_server.http.stream('POST', '/api/chat/stream', json=body) as waiting:
            next(waiting.iter_text())
            told = numbers(slow_server)

    assert (told['chatbot_slots'], told['chatbot_slots_busy'], told['chatbot_queue_length']) == (1, 1, 1)


def test_without_a_model_there_are_no_slots(idle_server: Running) -> None:
    assert numbers(idle_server)['chatbot_slots'] == 0

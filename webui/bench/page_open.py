"""A long chat is opened, and read from its end up to its beginning."""

import statistics
import time
import typing
from collections.abc import Sequence
from dataclasses import dataclass

from presets.chat import Chat
from webui.bench.browser import CHAT, PATIENCE_MS, Tab
from webui.bench.chats import ENDING
from webui.bench.page_report import Figure
from webui.launch import RunningApp

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_SECONDS, MOST_MEGABYTES, MOST_JUMP = 0.7, 150.0, 2.0
STEP, PAUSE_MS = 600, 50
"""Pixels that the wheel turns at once, and the time between: someone in a hurry."""
STEPS_A_REST, REST_MS = 50, 1_500
"""A rest shows whether something is missing of what the wheel was turned, which may come late on a busy machine."""
STUCK_SECONDS = 10.0

# From the click until the first frame after the one that shows the end of the last message.
WATCH_OPENING = """([last, ending]) => {
  window.opened = 0;
  const pane = () => document.querySelector('[data-testid=conversation]').getBoundingClientRect();
  const readable = () => {
    const message = document.querySelector(`[data-message-id="${last}"]`);
    const box = message?.getBoundingClientRect();
    return box?.height && box.bottom > pane().top && box.bottom <= pane().bottom + 1
      && message.textContent.includes(ending);
  };
  addEventListener('click', (event) => {
    const look = () => requestAnimationFrame((now) => {
      if (readable()) requestAnimationFrame(() => (window.opened = performance.now() - event.timeStamp));
      else look();
    });
    look();
  }, { capture: true, once: true });
}"""

# What is in the middle of the pane may only move as far as the wheel was turned. Whatever it moves more, less or in the
# other direction is a jump. Positions are read after each frame was drawn, which is what a reader sees.
WATCH_SCROLLING = """() => {
  const pane = document.querySelector('[data-testid=conversation]');
  const seen = (window.scrolled = { jump: 0, jumps: 0, stops: 0 });
  let due = 0, early = 0, still = 0, stopped = false, anchor = null, id = '', top = 0;
  pane.addEventListener('wheel', (event) => ([due, still] = [due - event.deltaY, 0]), { passive: true });
  // What the wheel is turned beyond the topmost message that is there is no jump.
  pane.addEventListener('scroll', () => (stopped ||= pane.scrollTop <= 1), { passive: true });
  const jump = (pixels) => {
    seen.jump = Math.max(seen.jump, pixels);
    seen.jumps += 1;
    due = 0;
  };
  const follow = () => {
    if (!anchor) return;
    if (!anchor.isConnected) anchor = document.querySelector(`[data-message-id="${id}"]`);
    if (!anchor?.isConnected) return;
    const moved = anchor.getBoundingClientRect().top - top;
    due -= moved;
    still = Math.abs(moved) < 1 ? still + 1 : 0;
    early = due < -2 ? early + 1 : 0;
    // The parts of pixels that scrolling leaves out add up to one or two.
    if (moved < -1) jump(-moved);
    else if (early > 3) jump(-due);
    else if (still > 60 && due > 2 && pane.scrollTop > 1) jump(due);
    if (stopped) seen.stops += 1;
    if (stopped || pane.scrollTop <= 1) due = 0;
    stopped = false;
  };
  const choose = () => {
    const box = pane.getBoundingClientRect();
    anchor = null;
    for (const share of [0.5, 0.4, 0.6]) {
      const found = document.elementFromPoint(box.left + box.width / 2, box.top + box.height * share);
      const message = found?.closest('[data-message-id]');
      if (!message) continue;
      [anchor, id] = [found === message ? message : found, message.dataset.messageId];
      top = anchor.getBoundingClientRect().top;
      return;
    }
  };
  const drawn = new MessageChannel();
  drawn.port1.onmessage = () => {
    follow();
    choose();
    requestAnimationFrame(() => drawn.port2.postMessage(0));
  };
  drawn.port2.postMessage(0);
}"""
LOOK = """(first) => {
  const pane = document.querySelector('[data-testid=conversation]');
  const box = document.querySelector(`[data-message-id="${first}"]`)?.getBoundingClientRect();
  const isFirst = Boolean(box?.height) && box.top >= pane.getBoundingClientRect().top - 1;
  return [isFirst, pane.scrollTop, window.scrolled];
}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What reading up to the first message was like: `seconds`, None if it was not reached; `stops` at older ones that
    were not there yet; the last is at the first of all."""

    seconds: float | None
    jump: float
    jumps: float
    stops: float


def measure(app: RunningApp, browser: 'Browser', chats: Sequence[Chat], size: str) -> list[Figure]:
    """Open chats that the app has not read yet, each in a tab that is just open; scroll through the last of them."""
    opened: list[float] = []
    for number, chat in enumerate(chats, 1):
        tab = Tab(browser, app.url)
        tab.until_ready()
        opened.append(_open(tab, chat))
        if number < len(chats):
            tab.close()
    again = _open_again(tab, chats[-1])
    read = _read(tab, chats[-1])
    memory = tab.memory()
    tab.close()
    return [
        Figure(
            key='open_seconds', text=f'open a chat of {size} (s)', value=statistics.median(opened), most=MOST_SECONDS
        ),
        Figure(key='open_again_seconds', text='the same, opened before (s)', value=again),
        Figure(key='read_seconds', text='scroll to its first message (s)', value=read.seconds),
        Figure(key='jump_px', text='largest jump meanwhile (px)', value=read.jump, most=MOST_JUMP),
        Figure(key='jumps', text='jumps', value=read.jumps),
        Figure(key='stops', text='times the topmost message that was there stopped the wheel', value=read.stops),
        Figure(key='tab_mb', text='memory of the tab after that (MB)', value=memory.process, most=MOST_MEGABYTES),
        Figure(key='heap_mb', text='JavaScript of it (MB)', value=memory.heap),
        Figure(key='nodes', text='nodes of the page', value=memory.nodes),
    ]


def _open(tab: Tab, chat: Chat) -> float:
    """Click on the chat's row; return the seconds until its last message can be read to its end."""
    tab.page.evaluate(WATCH_OPENING, [chat.leaf, ENDING])
    tab.page.locator(CHAT, has_text=chat.title).first.get_by_text(chat.title).click()
    tab.page.wait_for_function('window.opened > 0', polling=100, timeout=PATIENCE_MS)
    return float(tab.page.evaluate('window.opened')) / 1000


def _open_again(tab: Tab, chat: Chat) -> float:
    tab.new_chat()
    return _open(tab, chat)


def _read(tab: Tab, chat: Chat) -> Read:
    """Turn the wheel until the first message is there, or nothing moves any more."""
    tab.point_at_conversation()
    tab.page.evaluate(WATCH_SCROLLING)
    started = moved_at = time.monotonic()
    steps = 0
    last, at_top, seen = -1.0, False, {'jump': 0.0, 'jumps': 0, 'stops': 0}
    while not at_top and time.monotonic() - moved_at < STUCK_SECONDS:
        tab.page.mouse.wheel(0, -STEP)
        steps += 1
        tab.page.wait_for_timeout(PAUSE_MS if steps % STEPS_A_REST else REST_MS)
        at_top, place, seen = tab.page.evaluate(LOOK, chat.path()[0].id)
        moved_at, last = (moved_at if place == last else time.monotonic()), place
    rests = steps // STEPS_A_REST * REST_MS / 1000
    seconds = time.monotonic() - started - rests if at_top else None
    return Read(seconds=seconds, jump=seen['jump'], jumps=seen['jumps'], stops=seen['stops'])
